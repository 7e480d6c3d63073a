//! Where a JVM's heap lies, from the table that HotSpot keeps for debuggers.
//!
//! `libjvm.so` exports `gHotSpotVMStructs`: the fields of its types, with the addresses of the static ones, and how
//! long an entry of the table is. So no layout is assumed but that table's.

use crate::sources::ledger::memory::{Memory, ReadError, Window};

/// Exported variables that describe the table, by what they hold.
pub const SYMBOLS: [&str; 6] = [
    "gHotSpotVMStructs",
    "gHotSpotVMStructEntryTypeNameOffset",
    "gHotSpotVMStructEntryFieldNameOffset",
    "gHotSpotVMStructEntryOffsetOffset",
    "gHotSpotVMStructEntryAddressOffset",
    "gHotSpotVMStructEntryArrayStride",
];

/// Most entries that are read; JDK 21 has 2,500.
const MOST_ENTRIES: u64 = 20_000;
/// Most bytes of an entry.
const MOST_STRIDE: u64 = 256;

/// The fields that lead to the heap: type, field, and whether the value wanted is an address or an offset.
const FIELDS: [(&str, &str); 4] = [
    ("Universe", "_collectedHeap"),
    ("CollectedHeap", "_reserved"),
    ("MemRegion", "_start"),
    ("MemRegion", "_word_size"),
];

/// The address range that the heap has reserved; `addresses` are those of [`SYMBOLS`] in the process. Names are
/// constants of the file, which need not be in memory, so `constant` reads them: bytes at an address.
///
/// # Errors
/// [`ReadError`], also where a part is not readable.
pub fn heap<'a, M: Memory>(
    memory: &mut M,
    addresses: [u64; 6],
    constant: impl Fn(u64, usize) -> Option<&'a [u8]>,
) -> Result<Option<(u64, u64)>, ReadError> {
    let is_text = |at: u64, text: &str| {
        let bytes = constant(at, text.len() + 1);
        bytes.and_then(|bytes| bytes.strip_suffix(&[0])) == Some(text.as_bytes())
    };
    let [table, type_at, field_at, offset_at, address_at, stride] = words(memory, addresses)?;
    if table == 0 || !(8..=MOST_STRIDE).contains(&stride) {
        return Ok(None);
    }
    let mut cached = Window::default();
    let mut found = [None; 4];
    for index in 0..MOST_ENTRIES {
        let entry = table + index * stride;
        let type_name = word(memory, &mut cached, entry.wrapping_add(type_at))?;
        if type_name == 0 || found.iter().all(Option::is_some) {
            break;
        }
        let field_name = word(memory, &mut cached, entry.wrapping_add(field_at))?;
        let wanted = FIELDS
            .iter()
            .position(|(of, field)| is_text(type_name, of) && is_text(field_name, field));
        if let Some(wanted) = wanted {
            let value_at = if wanted == 0 { address_at } else { offset_at };
            found[wanted] = Some(word(memory, &mut cached, entry.wrapping_add(value_at))?);
        }
    }
    let [Some(place), Some(reserved), Some(start), Some(size)] = found else {
        return Ok(None);
    };
    let heap = memory.word(place)?;
    let region = heap.wrapping_add(reserved);
    let start = memory.word(region.wrapping_add(start))?;
    let size = memory.word(region.wrapping_add(size))?.saturating_mul(8);
    Ok((start != 0 && size != 0).then_some((start, start.saturating_add(size))))
}

fn words<M: Memory>(memory: &mut M, addresses: [u64; 6]) -> Result<[u64; 6], ReadError> {
    let mut words = [0; 6];
    for (word, address) in words.iter_mut().zip(addresses) {
        *word = memory.word(address)?;
    }
    Ok(words)
}

/// A word of the table, which is read in large pieces.
fn word<M: Memory>(memory: &mut M, cached: &mut Window, at: u64) -> Result<u64, ReadError> {
    if !cached.covers(at, 8) {
        cached.load(memory, at, 64 << 10)?;
    }
    cached.word(at)
}
