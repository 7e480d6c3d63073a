//! How much of a process's glibc heap is in use: the sum of the ledger's, without the rest of it.

use std::path::Path;

use super::glibc;
use super::memory::ProcessMemory;
use super::native::data_of;
use crate::process::maps;

/// Bytes of the chunks that the program holds in all arenas and in mappings of their own, headers included. `None`
/// where the heap cannot be read to its end.
pub fn of_glibc(pid: u32, libc: &Path) -> Option<u64> {
    let mut memory = ProcessMemory::open(pid).ok()?;
    let maps = maps::read(pid).ok()?;
    let heap = glibc::read(&mut memory, &data_of(libc, &maps)).ok()?;
    if heap.arenas.iter().any(|arena| arena.trouble.is_some()) {
        return None;
    }
    let arenas: u64 = heap.arenas.iter().map(glibc::ArenaTally::in_use).sum();
    Some(arenas + heap.params.map_or(0, |params| params.mapped_bytes))
}
