//! Works on a built BPF object: drops its debug sections, counts instructions, finds paths that must not be there.

use std::{fmt::Write as _, path::Path};

use anyhow::{Context as _, Result, bail};
use object::build::elf::{Builder, SectionData};
use object::{Object as _, ObjectSection as _, ObjectSymbol as _, SectionKind, SymbolKind, elf};

/// Bytes of one BPF instruction.
const INSTRUCTION: u64 = 8;

/// The object without DWARF: the loader needs `.BTF` and `.BTF.ext` alone.
pub fn without_dwarf(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut file = Builder::read(bytes).context("the BPF object is not a valid ELF file")?;
    for section in &mut file.sections {
        section.delete = is_dwarf(&section.name);
    }
    file.delete_orphans();
    file.delete_orphan_symbols();
    // LLVM keeps the names of sections and symbols in one table, the writer wants two.
    let names = file.sections.add();
    names.name = b".shstrtab".as_slice().into();
    names.sh_type = elf::SHT_STRTAB;
    names.sh_addralign = 1;
    names.data = SectionData::SectionString;
    file.set_section_sizes();
    let mut stripped = Vec::new();
    file.write(&mut stripped)
        .context("cannot rewrite the BPF object")?;
    Ok(stripped)
}

/// `.debug_info` and its kin, with their relocations.
fn is_dwarf(section: &[u8]) -> bool {
    section
        .strip_prefix(b".rel")
        .unwrap_or(section)
        .starts_with(b".debug_")
}

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
    fn dwarf_sections_by_name() {
        for name in [".debug_info", ".rel.debug_info", ".debug_str"] {
            assert!(is_dwarf(name.as_bytes()), "{name}");
        }
        for name in [
            ".BTF",
            ".rel.BTF.ext",
            "uprobe",
            ".reluprobe",
            ".maps",
            ".symtab",
        ] {
            assert!(!is_dwarf(name.as_bytes()), "{name}");
        }
    }

    #[test]
    fn stats_of_garbage_is_an_error() {
        assert!(stats(b"no ELF").is_err());
    }
}
