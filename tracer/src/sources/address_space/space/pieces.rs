//! Pieces by address: sorted, without overlap, alike neighbours joined.

use std::collections::BTreeMap;
use std::ops::Range;

use super::piece::Piece;

/// The pieces of one address space.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pieces {
    by_start: BTreeMap<u64, Piece>,
}

impl Pieces {
    /// All pieces, by ascending address.
    pub fn iter(&self) -> impl Iterator<Item = &Piece> {
        self.by_start.values()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.by_start.len()
    }

    /// Whether nothing is mapped.
    pub fn is_empty(&self) -> bool {
        self.by_start.is_empty()
    }

    /// The pieces that lie in `range` or reach into it, by ascending address.
    pub fn overlapping(&self, range: &Range<u64>) -> impl Iterator<Item = &Piece> {
        let from = self.reaching_into(range.start).unwrap_or(range.start);
        // A range that ends before it begins holds nothing.
        self.by_start
            .range(from..range.end.max(from))
            .map(|(_, piece)| piece)
    }

    /// The piece at an address.
    pub fn at(&self, address: u64) -> Option<&Piece> {
        let (_, piece) = self.by_start.range(..=address).next_back()?;
        (address < piece.end).then_some(piece)
    }

    /// The parts of `range` where nothing is, by ascending address.
    pub fn gaps(&self, range: &Range<u64>) -> Vec<Range<u64>> {
        let mut gaps = Vec::new();
        let mut free_from = range.start;
        for piece in self.overlapping(range) {
            if piece.start > free_from {
                gaps.push(free_from..piece.start);
            }
            free_from = free_from.max(piece.end);
        }
        if free_from < range.end {
            gaps.push(free_from..range.end);
        }
        gaps
    }

    /// Takes out what lies in `range` and came there no later than `until_ns`.
    pub fn take(&mut self, range: &Range<u64>, until_ns: u64) -> Vec<Piece> {
        let is_taken = |piece: &&Piece| piece.placed_ns <= until_ns;
        let taken: Vec<Piece> = self.overlapping(range).filter(is_taken).copied().collect();
        for piece in &taken {
            self.by_start.remove(&piece.start);
            for rest in [piece.start..range.start, range.end..piece.end] {
                if rest.start < rest.end {
                    let rest = piece.part(&rest);
                    self.by_start.insert(rest.start, rest);
                }
            }
        }
        taken.iter().map(|piece| piece.part(range)).collect()
    }

    /// Adds a piece where nothing is, and joins it with neighbours that are alike.
    pub fn insert(&mut self, mut piece: Piece) {
        debug_assert!(!piece.is_empty() && self.overlapping(&piece.range()).next().is_none());
        if let Some(next) = self.by_start.get(&piece.end).copied()
            && piece.goes_on_in(&next)
        {
            self.by_start.remove(&next.start);
            piece.end = next.end;
        }
        if let Some((_, before)) = self.by_start.range_mut(..piece.start).next_back()
            && before.goes_on_in(&piece)
        {
            before.end = piece.end;
            return;
        }
        self.by_start.insert(piece.start, piece);
    }

    /// Changes what lies in `range` and came there no later than `until_ns`.
    pub fn change(&mut self, range: &Range<u64>, until_ns: u64, change: impl Fn(&mut Piece)) {
        for mut piece in self.take(range, until_ns) {
            change(&mut piece);
            self.insert(piece);
        }
    }

    /// Start of a piece that begins before `address` and reaches beyond it.
    fn reaching_into(&self, address: u64) -> Option<u64> {
        let (start, piece) = self.by_start.range(..address).next_back()?;
        (piece.end > address).then_some(*start)
    }
}
