//! The parts of an ELF image that unwinding needs: executable segments and `.eh_frame`.

use gimli::{BaseAddresses, EhFrameHdr, LittleEndian as Little};
use object::LittleEndian;
use object::elf::{FileHeader64, PF_X, PT_GNU_EH_FRAME, PT_LOAD, ProgramHeader64, SHT_NOBITS};
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};

use super::error::TableError;
use crate::arch::Arch;

/// An executable segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// File offset of its first byte (`p_offset`).
    pub offset: u64,
    /// SVMA of its first byte (`p_vaddr`).
    pub address: u64,
    /// Bytes in the file (`p_filesz`).
    pub size: u64,
}

impl Segment {
    /// SVMA behind the last byte.
    pub const fn end(&self) -> u64 {
        self.address.saturating_add(self.size)
    }
}

/// What was found in an image.
pub(super) struct Elf<'a> {
    /// The processor that it is for.
    pub arch: Arch,
    /// SVMA of the first instruction of a process (`e_entry`).
    pub entry: u64,
    /// By SVMA, each with its bytes.
    pub code: Vec<(Segment, &'a [u8])>,
    pub frame: EhFrame<'a>,
    /// `.eh_frame_hdr`.
    pub header: Option<HeaderSection<'a>>,
}

impl<'a> Elf<'a> {
    /// The code from one SVMA to another, as far as it is in the segment of the first; empty if none holds that.
    pub fn code_between(&self, from: u64, to: u64) -> &'a [u8] {
        let part = |(segment, bytes): &(Segment, &'a [u8])| {
            let start = usize::try_from(from.checked_sub(segment.address)?).ok()?;
            let length = usize::try_from(to.checked_sub(from)?).ok()?;
            let end = start.saturating_add(length).min(bytes.len());
            bytes.get(start..end)
        };
        self.code.iter().find_map(part).unwrap_or_default()
    }
}

/// The table by which the C++ runtime searches the call frame information.
pub(super) struct HeaderSection<'a> {
    pub bytes: &'a [u8],
    /// SVMA of the first byte.
    pub address: u64,
}

/// The call frame information.
pub(super) struct EhFrame<'a> {
    pub bytes: &'a [u8],
    /// SVMA of the first byte.
    pub address: u64,
    /// File offset of the first byte, for messages.
    pub offset: u64,
}

type Header = FileHeader64<LittleEndian>;
const ENDIAN: LittleEndian = LittleEndian;

/// Reads an image; the section table may be missing.
pub(super) fn parse(arch: Arch, image: &[u8]) -> Result<Elf<'_>, TableError> {
    let header = Header::parse(image).map_err(|error| TableError::Malformed {
        what: "the ELF header",
        offset: 0,
        error: error.to_string(),
    })?;
    let machine = header.e_machine.get(ENDIAN);
    if machine != arch.elf_machine() {
        return Err(TableError::Machine {
            arch,
            machine: machine.0,
        });
    }
    let programs =
        header
            .program_headers(ENDIAN, image)
            .map_err(|error| TableError::Malformed {
                what: "the program headers",
                offset: header.e_phoff.get(ENDIAN),
                error: error.to_string(),
            })?;
    let code = executable(image, programs)?;
    let frame = match by_section(header, image) {
        Some(frame) => frame,
        None => by_program_header(image, programs)?,
    };
    let entry = header.e_entry.get(ENDIAN);
    let header = header_section(image, programs);
    Ok(Elf {
        arch,
        entry,
        code,
        frame,
        header,
    })
}

fn header_section<'a>(
    image: &'a [u8],
    programs: &[ProgramHeader64<LittleEndian>],
) -> Option<HeaderSection<'a>> {
    let mut programs = programs.iter();
    let program = programs.find(|program| program.p_type(ENDIAN) == PT_GNU_EH_FRAME)?;
    Some(HeaderSection {
        bytes: slice(image, program.p_offset(ENDIAN), program.p_filesz(ENDIAN))?,
        address: program.p_vaddr(ENDIAN),
    })
}

fn executable<'a>(
    image: &'a [u8],
    programs: &[ProgramHeader64<LittleEndian>],
) -> Result<Vec<(Segment, &'a [u8])>, TableError> {
    let mut code = Vec::new();
    for program in programs {
        let is_code = program.p_type(ENDIAN) == PT_LOAD && program.p_flags(ENDIAN).0 & PF_X.0 != 0;
        if !is_code || program.p_filesz(ENDIAN) == 0 {
            continue;
        }
        let segment = Segment {
            offset: program.p_offset(ENDIAN),
            address: program.p_vaddr(ENDIAN),
            size: program.p_filesz(ENDIAN),
        };
        let bytes = slice(image, segment.offset, segment.size);
        let bytes = bytes.ok_or_else(|| TableError::Malformed {
            what: "an executable segment",
            offset: segment.offset,
            error: "it reaches beyond the end of the file".to_owned(),
        })?;
        code.push((segment, bytes));
    }
    if code.is_empty() {
        return Err(TableError::NoCode);
    }
    code.sort_by_key(|(segment, _)| segment.address);
    Ok(code)
}

fn slice(image: &[u8], offset: u64, size: u64) -> Option<&[u8]> {
    let start = usize::try_from(offset).ok()?;
    let end = start.checked_add(usize::try_from(size).ok()?)?;
    image.get(start..end)
}

/// `.eh_frame` by its section; `None` if there are no usable section headers.
fn by_section<'a>(header: &'a Header, image: &'a [u8]) -> Option<EhFrame<'a>> {
    let sections = header.sections(ENDIAN, image).ok()?;
    let (_, section) = sections.section_by_name(ENDIAN, b".eh_frame")?;
    // A file of separate debug information has the section without its bytes.
    if section.sh_type(ENDIAN) == SHT_NOBITS {
        return None;
    }
    let bytes = section.data(ENDIAN, image).ok()?;
    Some(EhFrame {
        bytes,
        address: section.sh_addr(ENDIAN),
        offset: section.sh_offset(ENDIAN),
    })
}

/// `.eh_frame` through the pointer in `.eh_frame_hdr`, as the C++ runtime finds it. It ends with a zero
/// entry; until that is seen, it may reach to the end of its segment.
fn by_program_header<'a>(
    image: &'a [u8],
    programs: &[ProgramHeader64<LittleEndian>],
) -> Result<EhFrame<'a>, TableError> {
    let header = programs
        .iter()
        .find(|program| program.p_type(ENDIAN) == PT_GNU_EH_FRAME)
        .ok_or(TableError::NoFrameInformation)?;
    let offset = header.p_offset(ENDIAN);
    let malformed = |error: String| TableError::Malformed {
        what: ".eh_frame_hdr",
        offset,
        error,
    };
    let bytes = slice(image, offset, header.p_filesz(ENDIAN))
        .ok_or_else(|| malformed("it reaches beyond the end of the file".to_owned()))?;
    let bases = BaseAddresses::default().set_eh_frame_hdr(header.p_vaddr(ENDIAN));
    let address = EhFrameHdr::new(bytes, Little)
        .parse(&bases, 8)
        .and_then(|parsed| parsed.eh_frame_ptr().direct())
        .map_err(|error| malformed(error.to_string()))?;
    programs
        .iter()
        .filter(|program| program.p_type(ENDIAN) == PT_LOAD)
        .find_map(|program| {
            let inside = address.checked_sub(program.p_vaddr(ENDIAN))?;
            let size = program.p_filesz(ENDIAN).checked_sub(inside)?;
            let offset = program.p_offset(ENDIAN).checked_add(inside)?;
            let bytes = slice(image, offset, size).filter(|bytes| !bytes.is_empty())?;
            Some(EhFrame {
                bytes,
                address,
                offset,
            })
        })
        .ok_or_else(|| malformed(format!("it points to {address:#x}, outside every segment")))
}
