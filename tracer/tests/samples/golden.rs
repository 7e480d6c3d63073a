//! Golden files: what an output was when somebody last looked at it.

use std::path::Path;

/// Compares with a golden file, or rewrites it where `MEMLENS_BLESS=1`.
fn check_golden(name: &str, actual: &str) -> Result<(), String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(name);
    if std::env::var_os("MEMLENS_BLESS").is_some_and(|value| value == "1") {
        std::fs::write(&path, actual).map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok(());
    }
    let expected = std::fs::read_to_string(&path)
        .map_err(|error| format!("{}: {error}; `cargo xtask bless` writes it", path.display()))?;
    if expected == actual {
        return Ok(());
    }
    Err(difference(&path, &expected, actual))
}

/// The lines that differ, up to the first ten, and how to accept them.
fn difference(path: &Path, expected: &str, actual: &str) -> String {
    let mut message = format!("{} differs:\n", path.display());
    let (expected, actual): (Vec<&str>, Vec<&str>) =
        (expected.lines().collect(), actual.lines().collect());
    let lines = (0..expected.len().max(actual.len()))
        .filter(|index| expected.get(*index) != actual.get(*index));
    for index in lines.take(10) {
        let same = same_start(expected.get(index), actual.get(index));
        for (mark, line) in [("-", expected.get(index)), ("+", actual.get(index))] {
            if let Some(line) = line {
                message += &format!("{:>4} {mark} {}\n", index + 1, excerpt(line, same));
            }
        }
    }
    message + "if the new output is right, run `cargo xtask bless` and review the change"
}

/// Compares each (name, content), and tells all that differ.
pub fn check_all(files: impl IntoIterator<Item = (String, String)>) {
    let failures: Vec<String> = files
        .into_iter()
        .filter_map(|(name, actual)| check_golden(&name, &actual).err())
        .collect();
    assert!(failures.is_empty(), "{}", failures.join("\n\n"));
}

/// Characters that two lines have in common at their start.
fn same_start(one: Option<&&str>, other: Option<&&str>) -> usize {
    let pairs = one
        .into_iter()
        .zip(other)
        .flat_map(|(one, other)| one.chars().zip(other.chars()));
    pairs.take_while(|(one, other)| one == other).count()
}

/// A line, or of a very long one the part where it begins to differ.
fn excerpt(line: &str, same: usize) -> String {
    if line.chars().count() <= 200 {
        return line.to_owned();
    }
    let part: String = line
        .chars()
        .skip(same.saturating_sub(60))
        .take(160)
        .collect();
    format!("... {part} ...")
}
