//! A table of live blocks and the totals of a row: what was really inserted or removed, and nothing else.

use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::btf_maps::HashMap;
use tracer_common::key::StackTotals;

use crate::memory::atomic_add;

const EEXIST: i32 = -17;
const E2BIG: i32 = -7;

/// Why a block is not in the table.
pub enum Refused {
    /// The table is full.
    Full,
    /// The kernel has no memory for an element, or the table is in use by what was interrupted.
    Failed,
}

/// Takes a block out of the table. Only one of those that release it at the same time gets it.
#[inline(always)]
pub fn take<K, V: Copy, const M: usize, const F: usize>(
    table: &HashMap<K, V, M, F>,
    key: &K,
) -> Option<V> {
    // SAFETY: copied at once. Another block's element may take its place meanwhile, but then the removal finds nothing.
    let block = unsafe { table.get(key).copied() }?;
    table.remove(key).ok()?;
    Some(block)
}

/// Adds a block to the table. One that is already there has been released without our seeing it: it goes to `missed`.
#[inline(always)]
pub fn insert<K, V: Copy, const M: usize, const F: usize>(
    table: &HashMap<K, V, M, F>,
    key: &K,
    block: &V,
    missed: impl FnOnce(&V),
) -> Result<(), Refused> {
    let mut inserted = table.insert(key, block, BPF_NOEXIST as u64);
    if inserted == Err(EEXIST) {
        if let Some(old) = take(table, key) {
            missed(&old);
        }
        inserted = table.insert(key, block, BPF_NOEXIST as u64);
    }
    inserted.map_err(|error| match error {
        E2BIG => Refused::Full,
        _ => Refused::Failed,
    })
}

/// Adds to one side of a row's totals: allocated (0) or released (1).
///
/// # Safety
///
/// `totals` must point to a map element.
#[inline(always)]
pub unsafe fn add(totals: *mut StackTotals, released: u32, (bytes, count): (u64, u64)) {
    // SAFETY: aligned fields, as the caller promises.
    unsafe {
        if released == 0 {
            atomic_add(&raw mut (*totals).alloc_bytes, bytes);
            atomic_add(&raw mut (*totals).alloc_count, count);
        } else {
            atomic_add(&raw mut (*totals).free_bytes, bytes);
            atomic_add(&raw mut (*totals).free_count, count);
        }
    }
}
