//! Names and sentences in Markdown, in which nothing that a program chose is markup.

use super::clean::clean;

/// A name as code, where only a backtick is markup.
pub fn code(name: &str) -> String {
    format!("`{}`", clean(name).replace('`', "'"))
}

/// A name as code in a table cell, where a bar ends the cell and a backslash could escape the one before the bar.
pub fn cell(name: &str) -> String {
    match name.trim() {
        "" => "-".to_owned(),
        name => code(&name.replace('\\', "?")).replace('|', "\\|"),
    }
}

/// A sentence in which nothing that a program chose is markup, a link or a mention that notifies somebody.
pub fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in clean(text).chars() {
        match letter {
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '|' | '~' | '&' | '$' => {
                escaped.extend(['\\', letter]);
            }
            // Followed by a zero-width space: GitHub looks for mentions after it has removed the backslashes.
            '@' | '#' => escaped.extend([letter, '\u{200b}']),
            '/' if escaped.ends_with(":/") => escaped.push_str("\\/"),
            '.' if ends_with_www(&escaped) => escaped.push_str("\\."),
            other => escaped.push(other),
        }
    }
    escaped
}

fn ends_with_www(text: &str) -> bool {
    let start = text.len().saturating_sub(3);
    text.get(start..)
        .is_some_and(|end| end.eq_ignore_ascii_case("www"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_markup() {
        assert_eq!(cell("operator|(A, B)"), "`operator\\|(A, B)`");
        assert_eq!(cell("a\\|b`c`\n<script>"), "`a?\\|b'c'?<script>`");
        assert_eq!(cell(" "), "-");
        assert_eq!(
            escaped("![x](http://e.org) <b> @me #1 www.e.org a_b|c`d`"),
            "!\\[x\\](http:/\\/e.org) \\<b\\> @\u{200b}me #\u{200b}1 www\\.e.org a\\_b\\|c\\`d\\`"
        );
    }
}
