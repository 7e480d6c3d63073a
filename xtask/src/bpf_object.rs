//! Looks into a built BPF object: instruction counts, and paths that must not be there.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind, SymbolKind};

/// Bytes of one BPF instruction.
const INSTRUCTION: u64 = 8;

/// A table: each function of the object with its section and its number of instructions.
pub fn stats(bytes: &[u8]) -> Result<String> {
    let file = object::File::parse(bytes).context("the BPF object is not a valid ELF file")?;
    let mut rows = Vec::new();
    for symbol in file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text)
    {
        let Some(index) = symbol.section_index() else {
            continue;
        };
        let section = file.section_by_index(index)?;
        if section.kind() == SectionKind::Text {
            rows.push((
                section.name()?.to_owned(),
                symbol.name()?.to_owned(),
                symbol.size() / INSTRUCTION,
            ));
        }
    }
    rows.sort();
    let mut text = format!("{:>8}  {:<24} {}\n", "insns", "section", "function");
    for (section, function, count) in &rows {
        writeln!(text, "{count:>8}  {section:<24} {function}")?;
    }
    let total: u64 = rows.iter().map(|(_, _, count)| count).sum();
    writeln!(
        text,
        "{total:>8}  in {} functions, {} bytes of object",
        rows.len(),
        bytes.len()
    )?;
    Ok(text)
}

/// Fails if a folder of the building machine stands in the object.
pub fn check_no_paths(bytes: &[u8], folders: &[&Path]) -> Result<()> {
    for folder in folders {
        let needle = folder.as_os_str().as_encoded_bytes();
        if bytes.windows(needle.len()).any(|window| window == needle) {
            bail!(
                "the BPF object contains the path {}: add a remap for it",
                folder.display()
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_in_the_object_is_refused() {
        assert!(check_no_paths(b"x/home/me/src\0", &[Path::new("/home/me")]).is_err());
        assert!(check_no_paths(b"x/memlens/src\0", &[Path::new("/home/me")]).is_ok());
        assert!(check_no_paths(b"", &[Path::new("/home/me")]).is_ok());
    }

    #[test]
    fn stats_of_garbage_is_an_error() {
        assert!(stats(b"no ELF").is_err());
    }
}
