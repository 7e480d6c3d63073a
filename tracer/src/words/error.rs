//! Errors as one line that says nothing twice.

/// An error and its causes, from the outside in. A cause that the text has already is left out: many errors put theirs
/// into their own sentence.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut line = String::new();
    for cause in error.chain() {
        let cause = plain(&cause.to_string());
        if line.is_empty() {
            line = cause;
        } else if !line.to_lowercase().contains(&cause.to_lowercase()) {
            line = format!("{line}: {cause}");
        }
    }
    line
}

/// A system error's text without its number: "No such file or directory (os error 2)" says the same twice.
pub fn plain(text: &str) -> String {
    const MARK: &str = " (os error ";
    let mut plain = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once(MARK) {
        plain.push_str(before);
        let number = after.trim_start_matches(|c: char| c.is_ascii_digit() || c == '-');
        match number.strip_prefix(')') {
            Some(after) => rest = after,
            None => {
                plain.push_str(MARK);
                rest = after;
            }
        }
    }
    plain + rest
}

#[cfg(test)]
mod tests {
    use std::io;

    use anyhow::{Context, anyhow};

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot read /x: no such file or directory")]
    struct Wrapper(#[source] io::Error);

    #[test]
    fn causes_are_told_once() {
        let missing = || io::Error::from_raw_os_error(libc::ENOENT);
        assert_eq!(
            one_line(&anyhow::Error::from(Wrapper(missing()))),
            "cannot read /x: no such file or directory"
        );
        let outer: anyhow::Error = Err::<(), _>(missing())
            .context("cannot start")
            .expect_err("an error");
        assert_eq!(one_line(&outer), "cannot start: No such file or directory");
        assert_eq!(one_line(&anyhow!("b").context("a")), "a: b");
        assert_eq!(one_line(&anyhow!("alone")), "alone");
    }

    #[test]
    fn only_the_numbers_of_errors_go() {
        assert_eq!(plain("a (os error 2); b (os error -1)"), "a; b");
        assert_eq!(plain("a (os error 2"), "a (os error 2");
        assert_eq!(plain("a (os error x)"), "a (os error x)");
        assert_eq!(plain(""), "");
    }
}
