//! Columns, wrapped lines and color for plain tables.

/// Widest line that is written where words allow it, in characters.
pub const WIDTH: usize = 100;

/// A color of a terminal (ECMA-48, SGR parameters).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ink {
    /// For what is well.
    Green,
    /// For what could be better.
    Yellow,
    /// For what is broken.
    Red,
    /// For headings.
    Bold,
}

/// Colors `text` if `color`; the padding must be in it already.
pub fn paint(text: &str, ink: Ink, color: bool) -> String {
    let code = match ink {
        Ink::Green => "32",
        Ink::Yellow => "33",
        Ink::Red => "1;31",
        Ink::Bold => "1",
    };
    if color {
        format!("\x1b[{code}m{text}\x1b[0m")
    } else {
        text.to_owned()
    }
}

/// `text` and spaces up to `width` characters.
pub fn pad(text: &str, width: usize) -> String {
    format!("{text:width$}")
}

/// The widest of some texts, in characters.
pub fn widest<'a>(texts: impl IntoIterator<Item = &'a str>) -> usize {
    texts
        .into_iter()
        .map(|text| text.chars().count())
        .max()
        .unwrap_or(0)
}

/// Breaks `text` between words into lines that end before [`WIDTH`] when they start in column `indent`.
///
/// A word that is longer than a line, such as a path, stays whole. There is always one line.
pub fn wrap(text: &str, indent: usize) -> Vec<String> {
    let room = WIDTH.saturating_sub(indent);
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let used = lines.last().map_or(0, |line| line.chars().count());
        if used > 0 && used + 1 + word.chars().count() > room {
            lines.push(String::new());
        }
        if let Some(line) = lines.last_mut() {
            if !line.is_empty() {
                line.push(' ');
            }
            line.push_str(word);
        }
    }
    lines
}

/// Wraps `text` behind `first`, and its further lines under where it began.
pub fn hang(out: &mut String, first: &str, indent: usize, text: &str) {
    for (number, line) in wrap(text, indent).iter().enumerate() {
        let before = if number == 0 {
            first.to_owned()
        } else {
            " ".repeat(indent)
        };
        out.push_str(format!("{before}{line}").trim_end());
        out.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_break_between_words_and_keep_every_word() {
        let text = "word ".repeat(50);
        let lines = wrap(&text, 40);
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH - 40));
        assert_eq!(lines.join(" "), text.trim());
        assert_eq!(lines.len(), 5);
    }

    #[test]
    fn a_long_word_stays_whole() {
        let path = "/x".repeat(80);
        assert_eq!(wrap(&format!("at {path} there"), 0), ["at", &path, "there"]);
        assert_eq!(wrap("", 10), [""]);
    }

    #[test]
    fn text_hangs_under_its_beginning() {
        let mut out = String::new();
        hang(&mut out, "-> ", 90, "one two three four");
        let indent = " ".repeat(90);
        assert_eq!(out, format!("-> one two\n{indent}three four\n"));
    }

    #[test]
    fn ink_is_for_terminals() {
        assert_eq!(paint("ok", Ink::Green, true), "\x1b[32mok\x1b[0m");
        assert_eq!(paint("ok", Ink::Green, false), "ok");
    }
}
