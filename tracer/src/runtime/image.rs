//! An ELF file with a language runtime in it: its symbols, and the words of its data as the loader leaves them.

use std::collections::HashMap;
use std::ops::Range;

use gimli::{BaseAddresses, CieOrFde, EhFrame, LittleEndian, UnwindSection};
use object::read::elf::{ElfFile64, FileHeader, ProgramHeader};
use object::{
    Endianness, Object, ObjectSection, ObjectSymbol, RelocationFlags, RelocationTarget, elf,
};

/// A parsed file.
pub struct Image<'a> {
    elf: ElfFile64<'a, Endianness>,
    data: &'a [u8],
    /// What the loader writes to its data, without what it adds to it.
    relocations: Option<HashMap<u64, u64>>,
}

/// A segment that is loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Segment {
    /// Offset in the file.
    pub offset: u64,
    /// Stated address.
    pub address: u64,
    /// Bytes in the file.
    pub bytes: u64,
}

impl<'a> Image<'a> {
    /// Parses a file; `None` if it is not an x86-64 one.
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        let elf = ElfFile64::parse(data).ok()?;
        (elf.architecture() == object::Architecture::X86_64).then_some(Self {
            elf,
            data,
            relocations: None,
        })
    }

    /// Whether the file is loaded at its stated addresses.
    pub fn is_fixed(&self) -> bool {
        self.elf.elf_header().e_type(Endianness::Little) == elf::ET_EXEC
    }

    /// The segments that are loaded.
    pub fn segments(&self) -> Vec<Segment> {
        let endian = Endianness::Little;
        let loaded = self.elf.elf_program_headers().iter();
        loaded
            .filter(|header| header.p_type(endian) == elf::PT_LOAD)
            .map(|header| Segment {
                offset: header.p_offset(endian),
                address: header.p_vaddr(endian),
                bytes: header.p_filesz(endian),
            })
            .collect()
    }

    /// Whether a name is among those that the dynamic linker knows; without looking at each symbol.
    pub fn may_export(&self, name: &str) -> bool {
        let strings = self.elf.section_by_name(".dynstr");
        let strings = strings.and_then(|section| section.data().ok());
        strings.is_some_and(|data| memmem(data, name.as_bytes()))
    }

    /// Address of a symbol, and whether the dynamic linker knows it.
    pub fn symbol(&self, name: &str) -> Option<(u64, bool)> {
        let find = |mut symbols: Box<dyn Iterator<Item = (u64, bool)> + '_>| symbols.next();
        let named = |symbol: &object::read::elf::ElfSymbol64<'a, '_, Endianness>| {
            symbol.is_definition() && symbol.name_bytes() == Ok(name.as_bytes())
        };
        let exported = self.elf.dynamic_symbols().filter(named);
        let known = self.elf.symbols().filter(named);
        find(Box::new(exported.map(|symbol| (symbol.address(), true))))
            .or_else(|| find(Box::new(known.map(|symbol| (symbol.address(), false)))))
    }

    /// Address of a section.
    pub fn section(&self, name: &str) -> Option<u64> {
        self.elf
            .section_by_name(name)
            .map(|section| section.address())
    }

    /// Bytes of the file that are loaded at an address, at most so many.
    pub fn bytes(&self, address: u64, most: usize) -> &'a [u8] {
        let inside = |segment: &Segment| {
            let at = address.checked_sub(segment.address)?;
            let left = segment.bytes.checked_sub(at).filter(|left| *left > 0)?;
            let start = usize::try_from(segment.offset.checked_add(at)?).ok()?;
            let end = start.checked_add((left as usize).min(most))?;
            self.data.get(start..end)
        };
        self.segments().iter().find_map(inside).unwrap_or_default()
    }

    /// A word of the file's data, as the loader leaves it where the file is loaded at its stated addresses.
    pub fn word(&mut self, address: u64) -> Option<u64> {
        let stored = u64::from_le_bytes(self.bytes(address, 8).try_into().ok()?);
        let relocations = self
            .relocations
            .get_or_insert_with(|| relocations(&self.elf));
        Some(relocations.get(&address).copied().unwrap_or(stored))
    }

    /// A text that ends with a zero.
    pub fn text(&self, address: u64) -> Option<&'a [u8]> {
        let bytes = self.bytes(address, 256);
        let end = bytes.iter().position(|byte| *byte == 0)?;
        Some(&bytes[..end])
    }

    /// The addresses of the functions that the file's unwind information describes, sorted.
    pub fn functions(&self) -> Vec<Range<u64>> {
        let Some(section) = self.elf.section_by_name(".eh_frame") else {
            return Vec::new();
        };
        let Ok(data) = section.data() else {
            return Vec::new();
        };
        let frames = EhFrame::new(data, LittleEndian);
        let bases = BaseAddresses::default().set_eh_frame(section.address());
        let mut entries = frames.entries(&bases);
        let mut found = Vec::new();
        while let Ok(Some(entry)) = entries.next() {
            if let CieOrFde::Fde(partial) = entry
                && let Ok(fde) = partial.parse(EhFrame::cie_from_offset)
            {
                let start = fde.initial_address();
                found.push(start..start.wrapping_add(fde.len()));
            }
        }
        found.sort_unstable_by_key(|range| range.start);
        found
    }
}

/// What the loader writes, by address: the stated address that a word points to.
fn relocations(elf: &ElfFile64<'_, Endianness>) -> HashMap<u64, u64> {
    let mut found = HashMap::new();
    let Some(all) = elf.dynamic_relocations() else {
        return found;
    };
    for (address, relocation) in all {
        let kind = match relocation.flags() {
            RelocationFlags::Elf { r_type } => r_type,
            _ => continue,
        };
        let addend = relocation.addend() as u64;
        if kind == elf::R_X86_64_RELATIVE {
            found.insert(address, addend);
        } else if kind == elf::R_X86_64_64
            && let RelocationTarget::Symbol(index) = relocation.target()
            && let Some(table) = elf.dynamic_symbol_table()
            && let Ok(symbol) = object::ObjectSymbolTable::symbol_by_index(&table, index)
            && symbol.is_definition()
        {
            found.insert(address, symbol.address().wrapping_add(addend));
        }
    }
    found
}

/// Whether a name, with the zeros around it, is in a table of strings.
fn memmem(strings: &[u8], name: &[u8]) -> bool {
    strings
        .split(|byte| *byte == 0)
        .any(|string| string == name)
}
