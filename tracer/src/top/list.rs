//! A list with a selected row that stays in sight, and stays selected when the order changes.

/// Where a list stands. The rows themselves are elsewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct List {
    /// How many rows there are.
    len: usize,
    selected: usize,
    /// The first row in sight.
    offset: usize,
    /// Rows in sight.
    height: usize,
}

impl List {
    /// Index of the selected row; 0 where there is none.
    pub fn selected(&self) -> usize {
        self.selected
    }

    /// Index of the first row in sight.
    pub fn offset(&self) -> usize {
        self.offset
    }

    /// How many rows there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// There are so many rows now, and this one is selected; without it the one at the same place.
    pub fn refresh(&mut self, len: usize, selected: Option<usize>) {
        self.len = len;
        self.select(selected.unwrap_or(self.selected));
    }

    /// Selects a row, or the nearest one that there is.
    pub fn select(&mut self, index: usize) {
        self.selected = index.min(self.len.saturating_sub(1));
        self.keep_in_sight();
    }

    /// Moves the selection, at most to an end.
    pub fn step(&mut self, by: isize) {
        self.select(self.selected.saturating_add_signed(by));
    }

    /// So many rows are in sight.
    pub fn fit(&mut self, height: usize) {
        self.height = height;
        self.keep_in_sight();
    }

    /// Rows in sight.
    pub fn height(&self) -> usize {
        self.height
    }

    /// Rows that a page has.
    pub fn page(&self) -> isize {
        isize::try_from(self.height.saturating_sub(1).max(1)).unwrap_or(1)
    }

    fn keep_in_sight(&mut self) {
        let height = self.height.max(1);
        self.offset = self
            .offset
            .min(self.selected)
            .max((self.selected + 1).saturating_sub(height))
            .min(self.len.saturating_sub(height));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_selected_row_is_in_sight() {
        let mut list = List::default();
        list.fit(4);
        list.refresh(10, None);
        list.step(5);
        assert_eq!((list.selected(), list.offset()), (5, 2));
        list.step(isize::MAX);
        assert_eq!((list.selected(), list.offset()), (9, 6));
        list.step(-2);
        assert_eq!((list.selected(), list.offset()), (7, 6));
        list.fit(8);
        assert_eq!((list.selected(), list.offset()), (7, 2));
        list.refresh(3, None);
        assert_eq!((list.selected(), list.offset()), (2, 0));
        list.refresh(0, Some(5));
        assert_eq!((list.selected(), list.offset()), (0, 0));
        list.step(isize::MIN);
        assert_eq!(list.selected(), 0);
    }
}
