//! What was found before, in tables that all CPUs share without locks.

use crate::key::StackKey;

/// Where a value is remembered, and how it is known again.
///
/// All CPUs share the entries and write them without locks, in two halves. The second half repeats
/// bits of the key's hash, so that halves of different writers do not pass for one entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CacheKey {
    key: u64,
    hash: u64,
}

/// Multipliers of SplitMix64 (Steele, Lea, Flood, 2014).
const MULTIPLIERS: [u64; 2] = [0x9e37_79b9_7f4a_7c15, 0xbf58_476d_1ce4_e5b9];

impl CacheKey {
    /// Key of an address in a process; `generation` changes with the process's mappings. Its low 16 bits are part of
    /// the key, the others of the hash: on a busy host 65,536 changes take minutes, and entries may stay for longer.
    #[inline(always)]
    pub const fn of_address(address: u64, generation: u32) -> Self {
        let key = (address & ((1 << 48) - 1)) | (generation as u64) << 48;
        // Finalizer of SplitMix64, without its first shift.
        let mut hash = (key ^ (generation as u64 >> 16) << 20).wrapping_mul(MULTIPLIERS[0]);
        hash = (hash ^ hash >> 29).wrapping_mul(MULTIPLIERS[1]);
        Self {
            key,
            hash: hash ^ hash >> 32,
        }
    }

    /// Key of a stack. Stacks of two processes with the same hash, as after a fork, differ in all bits of both halves.
    #[inline(always)]
    pub const fn of_stack(stack: &StackKey) -> Self {
        let whose = ((stack.tgid as u64) << 32 | stack.code as u64).wrapping_mul(MULTIPLIERS[0]);
        let key = stack.hash ^ whose ^ whose >> 32;
        let hash = (stack.hash.rotate_left(32) ^ whose).wrapping_mul(MULTIPLIERS[1]);
        Self {
            key,
            hash: hash ^ hash >> 32,
        }
    }

    /// Index of the entry in a cache of `1 << bits` entries.
    #[inline(always)]
    pub const fn index(self, bits: u32) -> u32 {
        self.hash as u32 & ((1 << bits) - 1)
    }
}

/// An entry of a cache; all zero is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct CacheEntry {
    /// Key.
    pub key: u64,
    /// Low half the value, high half a check on the key.
    pub value: u64,
}

impl CacheEntry {
    /// The entry for a value.
    #[inline(always)]
    pub const fn new(key: CacheKey, value: u32) -> Self {
        Self {
            key: key.key,
            value: (key.hash >> 32) << 32 | value as u64,
        }
    }

    /// The value, if the entry is for this key.
    #[inline(always)]
    pub const fn value(self, key: CacheKey) -> Option<u32> {
        if self.key == key.key && self.value >> 32 == key.hash >> 32 {
            Some(self.value as u32)
        } else {
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_of_two_entries_are_none() {
        let stack = |tgid, code| {
            CacheKey::of_stack(&StackKey {
                hash: 0x1234_5678_9abc_def0,
                tgid,
                code,
            })
        };
        let keys = [
            stack(100, 7),
            stack(101, 7),
            stack(100, 8),
            stack(7, 100),
            CacheKey::of_address(0x7f12_3456_7890, 7),
            CacheKey::of_address(0x7f12_3456_7890, 8),
            CacheKey::of_address(0x7f12_3456_7898, 7),
            // All 32 bits of the generation count.
            CacheKey::of_address(0x7f12_3456_7890, 7 + (1 << 16)),
            CacheKey::of_address(0x7f12_3456_7890, 7 + (1 << 31)),
        ];
        for (number, key) in keys.iter().enumerate() {
            let entry = CacheEntry::new(*key, number as u32);
            for (other, other_key) in keys.iter().enumerate() {
                assert_eq!(
                    entry.value(*other_key),
                    (number == other).then_some(number as u32)
                );
                let torn = CacheEntry {
                    key: entry.key,
                    value: CacheEntry::new(*other_key, 9).value,
                };
                assert_eq!(torn.value(*key), (number == other).then_some(9));
            }
            assert_eq!(CacheEntry::default().value(*key), None);
        }
    }
}
