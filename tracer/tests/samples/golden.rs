//! Golden files: what an output was when somebody last looked at it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// Whether golden files are to be rewritten rather than compared.
fn is_bless() -> bool {
    std::env::var_os("MEMLENS_BLESS").is_some_and(|value| value == "1")
}

/// Compares with a golden file, or rewrites it.
fn check_golden(path: &Path, actual: &str) -> Result<(), String> {
    if is_bless() {
        return std::fs::write(path, actual)
            .map_err(|error| format!("{}: {error}", path.display()));
    }
    let expected = std::fs::read_to_string(path)
        .map_err(|error| format!("{}: {error}; `cargo xtask bless` writes it", path.display()))?;
    if expected == actual {
        return Ok(());
    }
    Err(difference(path, &expected, actual))
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

/// Compares each (name, content) with the files of a folder below `tests/golden`, and names all that differ.
///
/// A file that belongs to no output is an error too. With `MEMLENS_BLESS=1` files are rewritten, and such files
/// removed.
pub fn check_folder(folder: &str, files: impl IntoIterator<Item = (String, String)>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/golden")
        .join(folder);
    let mut contents: BTreeMap<PathBuf, String> = BTreeMap::new();
    for (name, content) in files {
        let before = contents.insert(folder.join(&name), content);
        assert!(before.is_none(), "two outputs are called {name}");
    }
    let mut failures: Vec<String> = contents
        .iter()
        .filter_map(|(path, actual)| check_golden(path, actual).err())
        .collect();
    for entry in std::fs::read_dir(&folder).expect("the folder of golden files") {
        let path = entry.expect("an entry").path();
        if contents.contains_key(&path) {
            continue;
        }
        match is_bless() {
            true => std::fs::remove_file(&path).expect("the file can be removed"),
            false => failures.push(format!("{} belongs to no sample", path.display())),
        }
    }
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
