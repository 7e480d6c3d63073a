//! The unwind tables in their maps, with the rules found before in front of them.

use core::ptr::{read_volatile, write_volatile};

use tracer_common::limits::RULE_CACHE_BITS;
use tracer_common::unwind::{
    CacheEntry, CacheKey, Mapping, Range, Rule, Source, Tables, find_rule,
};

use crate::maps::{MAPPINGS, RULE_CACHE, UNWIND_BUCKETS, UNWIND_ROWS};

/// Tables of one process.
pub struct KernelTables {
    /// Its part of the mappings.
    pub mappings: Range,
    /// Changes with its mappings.
    pub generation: u32,
}

/// The three arrays.
struct Arrays;

impl Source for Arrays {
    #[inline(always)]
    fn mapping(&mut self, index: u32) -> Option<Mapping> {
        MAPPINGS.get(index).copied()
    }

    #[inline(always)]
    fn bucket(&mut self, index: u32) -> Option<u64> {
        UNWIND_BUCKETS.get(index).copied()
    }

    #[inline(always)]
    fn row(&mut self, index: u32) -> Option<u64> {
        UNWIND_ROWS.get(index).copied()
    }
}

impl Tables for KernelTables {
    #[inline(always)]
    fn rule(&mut self, lookup_address: u64) -> Rule {
        let key = CacheKey::new(lookup_address, self.generation);
        let Some(entry) = RULE_CACHE.get_ptr_mut(key.index(RULE_CACHE_BITS)) else {
            return Rule::NO_TABLE;
        };
        // SAFETY: a map element that was checked for null; its halves are read and written one by one, as other CPUs
        // write them, too.
        unsafe {
            let known = CacheEntry {
                key: read_volatile(&raw const (*entry).key),
                value: read_volatile(&raw const (*entry).value),
            };
            if let Some(rule) = known.rule(key) {
                return rule;
            }
            let rule = find_rule(&mut Arrays, self.mappings, lookup_address);
            if let Some(found) = CacheEntry::new(key, rule) {
                write_volatile(&raw mut (*entry).key, found.key);
                write_volatile(&raw mut (*entry).value, found.value);
            }
            rule
        }
    }
}
