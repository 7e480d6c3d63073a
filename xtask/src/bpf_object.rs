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
    if !file
        .sections
        .iter()
        .any(|section| matches!(section.data, SectionData::SectionString))
    {
        let names = file.sections.add();
        names.name = b".shstrtab".as_slice().into();
        names.sh_type = elf::SHT_STRTAB;
        names.sh_addralign = 1;
        names.data = SectionData::SectionString;
    }
    file.set_section_sizes();
    let mut stripped = Vec::new();
    file.write(&mut stripped)
        .context("cannot rewrite the BPF object")?;
    Ok(stripped)
}

/// `.debug_info` and its kin, with their relocations.
fn is_dwarf(section: &[u8]) -> bool {
    section
        .strip_prefix(b".rela")
        .or_else(|| section.strip_prefix(b".rel"))
        .unwrap_or(section)
        .starts_with(b".debug_")
}

/// A table: each function of the object with its section and its number of instructions.
pub fn stats(bytes: &[u8]) -> Result<String> {
    let functions = functions(bytes)?;
    let mut text = format!("{:>8}  {:<26} {}\n", "insns", "section", "function");
    for (section, function, count) in &functions {
        writeln!(text, "{count:>8}  {section:<26} {function}")?;
    }
    let total: u64 = functions.iter().map(|(_, _, count)| count).sum();
    writeln!(
        text,
        "{total:>8}  in {} functions, {} bytes of object",
        functions.len(),
        bytes.len()
    )?;
    Ok(text)
}

/// Section, name and instructions of each function, sorted.
fn functions(bytes: &[u8]) -> Result<Vec<(String, String, u64)>> {
    let file = object::File::parse(bytes).context("the BPF object is not a valid ELF file")?;
    let mut functions = Vec::new();
    for symbol in file
        .symbols()
        .filter(|symbol| symbol.kind() == SymbolKind::Text)
    {
        let Some(index) = symbol.section_index() else {
            continue;
        };
        let section = file.section_by_index(index)?;
        if section.kind() == SectionKind::Text {
            functions.push((
                section.name()?.to_owned(),
                symbol.name()?.to_owned(),
                symbol.size() / INSTRUCTION,
            ));
        }
    }
    functions.sort();
    Ok(functions)
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

    /// An x86 object stands in: it has functions, DWARF and relocations, and every machine can make one.
    #[test]
    fn dwarf_goes_and_functions_stay() {
        let dir = tempfile::tempdir().expect("folder");
        let (source, object) = (dir.path().join("a.c"), dir.path().join("a.o"));
        std::fs::write(
            &source,
            "int g(int); int f(int x) { return g(x) + g(x + 1); }",
        )
        .expect("source");
        let status = std::process::Command::new("cc")
            .args(["-g", "-O1", "-c", "-o"])
            .args([&object, &source])
            .status()
            .expect("a C compiler");
        assert!(status.success());
        let full = std::fs::read(&object).expect("object");
        let stripped = without_dwarf(&full).expect("stripped");
        assert!(has_dwarf(&full), "the compiler wrote debug sections");
        assert!(!has_dwarf(&stripped));
        assert_eq!(
            functions(&stripped).expect("stripped"),
            functions(&full).expect("full")
        );
        assert_eq!(relocations(&stripped), relocations(&full));
    }

    fn has_dwarf(bytes: &[u8]) -> bool {
        let file = object::File::parse(bytes).expect("ELF");
        file.sections()
            .any(|section| is_dwarf(section.name_bytes().expect("name")))
    }

    /// Offset and target's name of each relocation of the code.
    fn relocations(bytes: &[u8]) -> Vec<(u64, String)> {
        let file = object::File::parse(bytes).expect("ELF");
        let text = file.section_by_name(".text").expect(".text");
        text.relocations()
            .filter_map(|(offset, relocation)| match relocation.target() {
                object::RelocationTarget::Symbol(index) => {
                    let symbol = file.symbol_by_index(index).expect("symbol");
                    Some((offset, symbol.name().expect("name").to_owned()))
                }
                _ => None,
            })
            .collect()
    }

    #[test]
    fn stats_of_garbage_is_an_error() {
        assert!(stats(b"no ELF").is_err());
    }
}
