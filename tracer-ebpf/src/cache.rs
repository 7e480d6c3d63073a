//! Reading and writing entries of a cache that all CPUs share.

use core::ptr::{read_volatile, write_volatile};

use tracer_common::cache::{CacheEntry, CacheKey};

/// The value of a key in its entry, or what `find` finds, which the entry then remembers if `keep` says so.
///
/// # Safety
///
/// `entry` must point to a map element.
#[inline(always)]
pub unsafe fn cached(
    entry: *mut CacheEntry,
    key: CacheKey,
    find: impl FnOnce() -> u32,
    keep: impl FnOnce(u32) -> bool,
) -> u32 {
    // SAFETY: aligned halves, read and written one by one, as other CPUs write them, too.
    unsafe {
        let known = CacheEntry {
            key: read_volatile(&raw const (*entry).key),
            value: read_volatile(&raw const (*entry).value),
        };
        if let Some(value) = known.value(key) {
            return value;
        }
        let value = find();
        if keep(value) {
            let found = CacheEntry::new(key, value);
            write_volatile(&raw mut (*entry).key, found.key);
            write_volatile(&raw mut (*entry).value, found.value);
        }
        value
    }
}
