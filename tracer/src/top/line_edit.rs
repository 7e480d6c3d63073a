//! One line that is typed in.

use crossterm::event::{KeyCode, KeyEvent, KeyModifiers};

/// Most letters of a line.
const MOST: usize = 500;

/// A line, and where its cursor is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LineEdit {
    letters: Vec<char>,
    cursor: usize,
}

/// What a key does to the line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edited {
    /// It may be another one now.
    Changed,
    /// It is done.
    Done,
    /// It is given up.
    Cancelled,
}

impl LineEdit {
    /// A line to go on with.
    pub fn new(text: &str) -> Self {
        let letters: Vec<char> = text.chars().collect();
        Self {
            cursor: letters.len(),
            letters,
        }
    }

    /// The line.
    pub fn text(&self) -> String {
        self.letters.iter().collect()
    }

    /// What stands before the cursor.
    pub fn before(&self) -> String {
        self.letters[..self.cursor].iter().collect()
    }

    /// A key is pressed.
    pub fn key(&mut self, key: KeyEvent) -> Edited {
        let control = key.modifiers.contains(KeyModifiers::CONTROL);
        match key.code {
            KeyCode::Enter => return Edited::Done,
            KeyCode::Esc => return Edited::Cancelled,
            KeyCode::Char('c') if control => return Edited::Cancelled,
            KeyCode::Char('u') if control => *self = Self::default(),
            KeyCode::Char(letter) if !control && self.letters.len() < MOST => {
                self.letters.insert(self.cursor, letter);
                self.cursor += 1;
            }
            KeyCode::Backspace if self.letters.is_empty() => return Edited::Cancelled,
            KeyCode::Backspace if self.cursor > 0 => {
                self.cursor -= 1;
                self.letters.remove(self.cursor);
            }
            KeyCode::Delete if self.cursor < self.letters.len() => {
                self.letters.remove(self.cursor);
            }
            KeyCode::Left => self.cursor = self.cursor.saturating_sub(1),
            KeyCode::Right => self.cursor = (self.cursor + 1).min(self.letters.len()),
            KeyCode::Home => self.cursor = 0,
            KeyCode::End => self.cursor = self.letters.len(),
            _ => {}
        }
        Edited::Changed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typed(keys: &[KeyCode]) -> (String, String) {
        let mut line = LineEdit::new("ab");
        for key in keys {
            line.key(KeyEvent::new(*key, KeyModifiers::NONE));
        }
        (line.text(), line.before())
    }

    #[test]
    fn a_line_is_edited() {
        use KeyCode::{Backspace, Char, Delete, End, Home, Left, Right};
        let shown = |text: &str, before: &str| (text.to_owned(), before.to_owned());
        assert_eq!(typed(&[Char('ö')]), shown("abö", "abö"));
        assert_eq!(typed(&[Left, Char('x')]), shown("axb", "ax"));
        assert_eq!(typed(&[Home, Delete, Right, Char('y')]), shown("by", "by"));
        assert_eq!(typed(&[Home, Backspace, End, Backspace]), shown("a", "a"));
        let mut empty = LineEdit::default();
        let key = |code| KeyEvent::new(code, KeyModifiers::NONE);
        assert_eq!(empty.key(key(Backspace)), Edited::Cancelled);
        assert_eq!(empty.key(key(KeyCode::Enter)), Edited::Done);
        let control = KeyEvent::new(Char('u'), KeyModifiers::CONTROL);
        let mut line = LineEdit::new("abc");
        assert_eq!(
            (line.key(control), line.text()),
            (Edited::Changed, String::new())
        );
    }
}
