//! Where the variables of a mapped file lie in the process.

use object::read::elf::ElfFile64;
use object::{Endian, Object, ObjectSegment, ObjectSymbol};

use crate::process::maps::MappedFile;

/// Addresses in the process of variables that a library exports; `None` unless it has all of them.
pub fn exported<const N: usize>(
    image: &[u8],
    mapped: &MappedFile,
    names: [&str; N],
) -> Option<[u64; N]> {
    let file: ElfFile64 = ElfFile64::parse(image).ok()?;
    let bias = bias(&file, mapped)?;
    let mut addresses = [0; N];
    for symbol in file.dynamic_symbols() {
        let name = symbol.name().unwrap_or_default();
        if let Some(index) = names.iter().position(|wanted| *wanted == name) {
            addresses[index] = symbol.address().wrapping_add(bias);
        }
    }
    addresses
        .iter()
        .all(|address| *address != 0)
        .then_some(addresses)
}

/// Address in the process less address in the file, by the executable segment.
pub fn bias<E: Endian>(file: &ElfFile64<E>, mapped: &MappedFile) -> Option<u64> {
    let segment = file.segments().find(|segment| {
        let (offset, size) = segment.file_range();
        (offset - offset % 4096..offset.saturating_add(size)).contains(&mapped.offset)
            && segment.permissions().executable()
    })?;
    let stated = segment
        .address()
        .wrapping_add(mapped.offset)
        .wrapping_sub(segment.file_range().0);
    Some(mapped.range.start.wrapping_sub(stated))
}
