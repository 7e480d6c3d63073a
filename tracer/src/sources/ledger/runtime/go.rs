//! Go's counters of its heap, where the program still has its debug information.
//!
//! They are members of `runtime.gcController` since Go 1.19. Where in it they lie differs from version to version, and
//! the debug information says it.

use std::borrow::Cow;
use std::collections::BTreeMap;

use gimli::{AttributeValue, Dwarf, EndianSlice, LittleEndian, SectionId};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSection, ObjectSymbol};

use crate::process::maps::MappedFile;
use crate::sources::ledger::memory::Memory;
use crate::sources::ledger::symbols;

/// The variable, and its type.
const VARIABLE: &str = "runtime.gcController";
const TYPE: &[u8] = b"runtime.gcControllerState";
/// Most bytes of a section of debug information that is unpacked and searched: a second's work.
const MOST_DEBUG: u64 = 256 << 20;

/// What Go says of its heap. Sizes are in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Objects: those that the last collection left, and what was allocated since.
    pub live: u64,
    /// Spans that hold objects.
    pub in_use: u64,
    /// Spans that are free, and in memory.
    pub free: u64,
    /// Spans that are free, and given back to the kernel.
    pub released: u64,
}

impl Counters {
    /// Whether they agree with each other and with the bytes that the heap has mapped.
    pub const fn fit(&self, mapped: u64) -> bool {
        let spans = self.in_use.saturating_add(self.free);
        self.in_use > 0
            && (self.in_use | self.free | self.released).is_multiple_of(8192)
            && self.live <= self.in_use
            && spans.saturating_add(self.released) <= mapped
    }
}

/// Reads the counters. `None` where the program has no debug information, or another version's.
pub fn counters<M: Memory>(memory: &mut M, image: &[u8], mapped: &MappedFile) -> Option<Counters> {
    let file: ElfFile64 = ElfFile64::parse(image).ok()?;
    let variable = file
        .symbols()
        .find(|symbol| symbol.name() == Ok(VARIABLE))?
        .address()
        .wrapping_add(symbols::bias(&file, mapped)?);
    let members = members(&file)?;
    let mut read = |name: &str| {
        let offset = members.get(name)?;
        memory.word(variable.wrapping_add(*offset)).ok()
    };
    Some(Counters {
        live: read("heapLive")?,
        in_use: read("heapInUse")?,
        free: read("heapFree")?,
        released: read("heapReleased")?,
    })
}

/// Offsets of the members of the variable's type.
fn members(file: &ElfFile64) -> Option<BTreeMap<String, u64>> {
    let section = |id: SectionId| -> Result<Cow<'_, [u8]>, object::Error> {
        let wanted = matches!(
            id,
            SectionId::DebugInfo | SectionId::DebugAbbrev | SectionId::DebugStr
        );
        match file.section_by_name(id.name()).filter(|_| wanted) {
            Some(section) => match section.compressed_data()? {
                data if data.uncompressed_size <= MOST_DEBUG => data.decompress(),
                _ => Ok(Cow::Borrowed(&[])),
            },
            None => Ok(Cow::Borrowed(&[])),
        }
    };
    let sections = gimli::DwarfSections::load(section).ok()?;
    let dwarf = sections.borrow(|bytes| EndianSlice::new(bytes, LittleEndian));
    let mut units = dwarf.units();
    while let Ok(Some(header)) = units.next() {
        if let Some(members) = members_in(&dwarf, &header).ok().flatten() {
            return Some(members);
        }
    }
    None
}

type Bytes<'a> = EndianSlice<'a, LittleEndian>;

/// The same in one unit of the debug information.
fn members_in(
    dwarf: &Dwarf<Bytes<'_>>,
    header: &gimli::UnitHeader<Bytes<'_>>,
) -> Result<Option<BTreeMap<String, u64>>, gimli::Error> {
    let abbreviations = header.abbreviations(&dwarf.debug_abbrev)?;
    let mut entries = header.entries(&abbreviations);
    let mut members: Option<(isize, BTreeMap<String, u64>)> = None;
    while let Some(entry) = entries.next_dfs()? {
        let depth = entry.depth();
        if let Some((parent, _)) = &members
            && depth <= *parent
        {
            break;
        }
        let name = || match entry.attr_value(gimli::DW_AT_name)? {
            AttributeValue::String(name) => Some(name),
            AttributeValue::DebugStrRef(offset) => dwarf.debug_str.get_str(offset).ok(),
            _ => None,
        };
        match &mut members {
            None if entry.tag() == gimli::DW_TAG_structure_type
                && name().is_some_and(|name| name.slice() == TYPE) =>
            {
                members = Some((depth, BTreeMap::new()));
            }
            Some((_, members)) if entry.tag() == gimli::DW_TAG_member => {
                let offset = entry
                    .attr_value(gimli::DW_AT_data_member_location)
                    .as_ref()
                    .and_then(offset);
                if let (Some(name), Some(offset)) = (name(), offset) {
                    members.insert(name.to_string_lossy().into_owned(), offset);
                }
            }
            _ => {}
        }
    }
    Ok(members.map(|(_, members)| members))
}

/// A member's offset: a number, or, as Go wrote it in older formats, the operation that adds one.
fn offset(value: &AttributeValue<Bytes<'_>>) -> Option<u64> {
    if let AttributeValue::Exprloc(expression) = value {
        let mut bytes = expression.0;
        let operation = gimli::Reader::read_u8(&mut bytes).ok()?;
        let is_addition = operation == gimli::DW_OP_plus_uconst.0;
        return gimli::Reader::read_uleb128(&mut bytes)
            .ok()
            .filter(|_| is_addition);
    }
    value.udata_value()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_that_do_not_fit_are_no_counters() {
        let counters = Counters {
            live: 3 << 20,
            in_use: 4 << 20,
            free: 1 << 20,
            released: 2 << 20,
        };
        assert!(counters.fit(8 << 20) && counters.fit(7 << 20));
        assert!(!counters.fit(6 << 20), "more than is mapped");
        assert!(
            !Counters {
                live: 5 << 20,
                ..counters
            }
            .fit(8 << 20)
        );
        assert!(
            !Counters {
                free: 100,
                ..counters
            }
            .fit(8 << 20)
        );
        assert!(!Counters::default().fit(8 << 20));
    }
}
