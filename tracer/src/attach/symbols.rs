//! What an ELF file defines: its functions with their file offsets, and what tells objects apart.

use std::{collections::HashMap, ops::Range};

use object::{
    Endianness,
    elf::{self, FileHeader64},
    read::elf::{
        Dyn as _, FileHeader as _, ProgramHeader as _, Rela as _, SectionHeader as _, SectionTable,
        Sym as _,
    },
};

use crate::arch::Arch;

type Header = FileHeader64<Endianness>;

/// The most bytes that a function of unknown size is taken to have.
const UNKNOWN_SIZE: u64 = 4096;

/// Why a file is of no use here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// A directory, where a file is wanted.
    #[error("a directory")]
    Directory,
    /// A device or the like.
    #[error("not a regular file")]
    NotRegular,
    /// Not an ELF file.
    #[error("not an ELF file")]
    NotElf,
    /// A 32-bit ELF file.
    #[error("a 32-bit ELF file; only {} is traced", Arch::HOST)]
    Not64Bit,
    /// ELF for another processor.
    #[error("an ELF file for another processor (machine {0}); only {arch} is traced", arch = Arch::HOST)]
    OtherMachine(u16),
    /// Cut short or damaged.
    #[error("a damaged or truncated ELF file: {0}")]
    Malformed(String),
}

/// A function that an object defines.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Function {
    /// Its symbol, without the version.
    pub name: String,
    /// Its address as linked.
    pub vaddr: u64,
    /// Its size in bytes; 0 where the symbol tells none.
    pub size: u64,
    /// Where it starts in the file.
    pub offset: u64,
    /// An indirect function: its address is that of the resolver that chooses the real one.
    pub ifunc: bool,
}

/// A piece of the file that is mapped to be executed.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Segment {
    vaddr: u64,
    offset: u64,
    size: u64,
}

/// What an ELF file says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ObjectSymbols {
    /// The architecture that it is for.
    pub arch: Arch,
    /// The GNU build-id in hexadecimal.
    pub build_id: Option<String>,
    /// An executable that is always mapped at the addresses it was linked at (`ET_EXEC`).
    pub position_dependent: bool,
    /// The name that it goes by as a shared library (`DT_SONAME`).
    pub soname: Option<String>,
    /// The dynamic loader that it asks for (`PT_INTERP`).
    pub interpreter: Option<String>,
    /// The functions that it defines, local ones too, by address and then name.
    pub functions: Vec<Function>,
    /// The imported symbol of each slot that the loader fills, by the slot's address.
    pub(super) imports: HashMap<u64, String>,
    /// Where code begins: functions, and the pieces that the unwind table lists. Sorted.
    starts: Vec<u64>,
    segments: Vec<Segment>,
}

impl ObjectSymbols {
    /// Reads a whole ELF file for this machine.
    pub fn parse(image: &[u8]) -> Result<Self, ObjectError> {
        Self::parse_for(Arch::HOST, image)
    }

    /// Reads a whole ELF file for an architecture.
    pub fn parse_for(arch: Arch, image: &[u8]) -> Result<Self, ObjectError> {
        check_identity(image)?;
        let header = Header::parse(image).map_err(malformed)?;
        let endian = header.endian().map_err(malformed)?;
        let machine = header.e_machine(endian);
        if machine != arch.elf_machine() {
            return Err(ObjectError::OtherMachine(machine.0));
        }
        let mut object = Self {
            arch,
            position_dependent: header.e_type(endian) == elf::ET_EXEC,
            ..Self::default()
        };
        object.read_segments(header, endian, image)?;
        let sections = header.sections(endian, image).map_err(malformed)?;
        object.read_symbols(&sections, endian, image)?;
        object.read_imports(&sections, endian, image)?;
        object.read_soname(&sections, endian, image)?;
        object.finish();
        Ok(object)
    }

    /// The file offset of a linked address, where the file holds code for it.
    pub fn file_offset(&self, vaddr: u64) -> Option<u64> {
        let segment = self.segment(vaddr)?;
        segment.offset.checked_add(vaddr - segment.vaddr)
    }

    /// The bytes of the function at `vaddr`: `size` of them, or, where that is 0, up to the next
    /// function, at most 4 KiB.
    pub fn body<'a>(&self, image: &'a [u8], vaddr: u64, size: u64) -> Option<&'a [u8]> {
        let size = match size {
            0 => self
                .next_start(vaddr)
                .map_or(UNKNOWN_SIZE, |next| next - vaddr)
                .min(UNKNOWN_SIZE),
            size => size,
        };
        self.bytes(image, vaddr, size)
    }

    /// The piece of code around `vaddr`, from the last start at or before it to the next one.
    pub fn piece<'a>(&self, image: &'a [u8], vaddr: u64) -> Option<(u64, &'a [u8])> {
        let after = self.starts.partition_point(|start| *start <= vaddr);
        let start = *self.starts.get(after.checked_sub(1)?)?;
        let end = self.starts.get(after).copied().unwrap_or(u64::MAX);
        let code = self.bytes(image, start, end - start)?;
        (vaddr - start < code.len() as u64).then_some((start, code))
    }

    /// The function named `name`, not counting indirect ones.
    pub fn function(&self, name: &str) -> Option<&Function> {
        self.functions
            .iter()
            .find(|function| function.name == name && !function.ifunc)
    }

    /// The first function that starts at `vaddr`.
    pub fn at(&self, vaddr: u64) -> Option<&Function> {
        let at = self
            .functions
            .partition_point(|function| function.vaddr < vaddr);
        self.functions
            .get(at)
            .filter(|function| function.vaddr == vaddr)
    }

    /// The pieces of the file that hold code, each with its linked address.
    pub(super) fn code<'a>(&'a self, image: &'a [u8]) -> impl Iterator<Item = (u64, &'a [u8])> {
        self.segments.iter().filter_map(|segment| {
            let bytes = image.get(range(segment.offset, segment.size)?)?;
            Some((segment.vaddr, bytes))
        })
    }

    /// At most `size` bytes of code from `vaddr` on.
    pub(super) fn bytes<'a>(&self, image: &'a [u8], vaddr: u64, size: u64) -> Option<&'a [u8]> {
        let segment = self.segment(vaddr)?;
        let into = vaddr - segment.vaddr;
        let size = size.min(segment.size - into);
        image.get(range(segment.offset.checked_add(into)?, size)?)
    }

    fn segment(&self, vaddr: u64) -> Option<&Segment> {
        self.segments
            .iter()
            .find(|segment| vaddr >= segment.vaddr && vaddr - segment.vaddr < segment.size)
    }

    fn next_start(&self, vaddr: u64) -> Option<u64> {
        let after = self.starts.partition_point(|start| *start <= vaddr);
        self.starts.get(after).copied()
    }

    fn read_segments(
        &mut self,
        header: &Header,
        endian: Endianness,
        image: &[u8],
    ) -> Result<(), ObjectError> {
        for segment in header.program_headers(endian, image).map_err(malformed)? {
            let kind = segment.p_type(endian);
            if kind == elf::PT_LOAD && segment.p_flags(endian).contains(elf::PF_X) {
                self.segments.push(Segment {
                    vaddr: segment.p_vaddr(endian),
                    offset: segment.p_offset(endian),
                    size: segment.p_filesz(endian),
                });
            } else if kind == elf::PT_INTERP {
                let path = segment.data(endian, image).unwrap_or_default();
                let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
                self.interpreter = Some(String::from_utf8_lossy(path).into_owned());
            } else if kind == elf::PT_GNU_EH_FRAME {
                let table = segment.data(endian, image).unwrap_or_default();
                self.starts
                    .extend(unwind_starts(table, segment.p_vaddr(endian)));
            } else if kind == elf::PT_NOTE && self.build_id.is_none() {
                self.build_id = build_id(segment, endian, image);
            }
        }
        Ok(())
    }

    fn read_symbols(
        &mut self,
        sections: &SectionTable<'_, Header>,
        endian: Endianness,
        image: &[u8],
    ) -> Result<(), ObjectError> {
        for kind in [elf::SHT_DYNSYM, elf::SHT_SYMTAB] {
            let table = sections.symbols(endian, image, kind).map_err(malformed)?;
            for symbol in table.symbols() {
                let kind = symbol.st_type();
                let is_function = kind == elf::STT_FUNC || kind == elf::STT_GNU_IFUNC;
                if !is_function || symbol.is_undefined(endian) {
                    continue;
                }
                let vaddr = symbol.st_value(endian);
                let Some(offset) = self.file_offset(vaddr) else {
                    continue;
                };
                let name = symbol.name(endian, table.strings()).unwrap_or_default();
                self.functions.push(Function {
                    name: without_version(name),
                    vaddr,
                    size: symbol.st_size(endian),
                    offset,
                    ifunc: kind == elf::STT_GNU_IFUNC,
                });
            }
        }
        Ok(())
    }

    fn read_imports(
        &mut self,
        sections: &SectionTable<'_, Header>,
        endian: Endianness,
        image: &[u8],
    ) -> Result<(), ObjectError> {
        for section in sections.iter() {
            let Ok(Some((relocations, link))) = section.rela(endian, image) else {
                continue;
            };
            let Ok(symbols) = sections.symbol_table_by_index(endian, image, link) else {
                continue;
            };
            for relocation in relocations {
                let kind = relocation.r_type(endian, false);
                if !self.arch.import_relocations().contains(&kind) {
                    continue;
                }
                let Some(index) = relocation.symbol(endian, false) else {
                    continue;
                };
                let name = symbols
                    .symbol(index)
                    .and_then(|symbol| symbol.name(endian, symbols.strings()))
                    .map_err(malformed)?;
                self.imports
                    .insert(relocation.r_offset(endian), without_version(name));
            }
        }
        Ok(())
    }

    fn read_soname(
        &mut self,
        sections: &SectionTable<'_, Header>,
        endian: Endianness,
        image: &[u8],
    ) -> Result<(), ObjectError> {
        let Some((entries, link)) = sections.dynamic(endian, image).map_err(malformed)? else {
            return Ok(());
        };
        let strings = sections.strings(endian, image, link).map_err(malformed)?;
        for entry in entries {
            if entry.d_tag(endian) == elf::DT_SONAME {
                let name = u32::try_from(entry.d_val(endian))
                    .ok()
                    .and_then(|at| strings.get(at).ok())
                    .unwrap_or_default();
                self.soname = Some(String::from_utf8_lossy(name).into_owned());
            }
        }
        Ok(())
    }

    /// Sorts, and drops what both symbol tables list.
    fn finish(&mut self) {
        self.functions
            .sort_by(|a, b| (a.vaddr, &a.name).cmp(&(b.vaddr, &b.name)));
        self.functions
            .dedup_by(|a, b| a.vaddr == b.vaddr && a.name == b.name);
        let functions = self.functions.iter().map(|function| function.vaddr);
        self.starts.extend(functions);
        self.starts.sort_unstable();
        self.starts.dedup();
    }
}

/// Tells the first bytes of a file that is not 64-bit ELF, before its header is read.
fn check_identity(image: &[u8]) -> Result<(), ObjectError> {
    match image {
        [0x7f, b'E', b'L', b'F', 2, ..] => Ok(()),
        [0x7f, b'E', b'L', b'F', 1, ..] => Err(ObjectError::Not64Bit),
        [0x7f, b'E', b'L', b'F', ..] => {
            Err(ObjectError::Malformed("its class is unknown".to_owned()))
        }
        _ => Err(ObjectError::NotElf),
    }
}

fn malformed(error: object::Error) -> ObjectError {
    ObjectError::Malformed(error.to_string().to_lowercase())
}

fn build_id(
    segment: &elf::ProgramHeader64<Endianness>,
    endian: Endianness,
    image: &[u8],
) -> Option<String> {
    let mut notes = segment.notes(endian, image).ok()??;
    while let Ok(Some(note)) = notes.next() {
        if note.name() == elf::ELF_NOTE_GNU && note.n_type(endian) == elf::NT_GNU_BUILD_ID {
            return Some(
                note.desc()
                    .iter()
                    .map(|byte| format!("{byte:02x}"))
                    .collect(),
            );
        }
    }
    None
}

/// The addresses in the search table of `.eh_frame_hdr`, in the one encoding that linkers write
/// (Linux Standard Base 5.0, section 10.6.2). It names every piece of a function, cold ones too,
/// even in a stripped file.
fn unwind_starts(table: &[u8], vaddr: u64) -> Vec<u64> {
    // Version 1; pc-relative pointer, four-byte count, data-relative table, all of four bytes.
    if !table.starts_with(&[1, 0x1b, 0x03, 0x3b]) {
        return Vec::new();
    }
    let entries = table.get(12..).unwrap_or_default();
    entries
        .as_chunks::<8>()
        .0
        .iter()
        .map(|[a, b, c, d, ..]| {
            let distance = i32::from_le_bytes([*a, *b, *c, *d]);
            vaddr.wrapping_add_signed(i64::from(distance))
        })
        .collect()
}

/// A symbol's name without `@VERSION` or `@@VERSION`.
fn without_version(name: &[u8]) -> String {
    let name = name.split(|byte| *byte == b'@').next().unwrap_or_default();
    String::from_utf8_lossy(name).into_owned()
}

fn range(offset: u64, size: u64) -> Option<Range<usize>> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    Some(start..end)
}

#[cfg(test)]
mod tests;
