//! The unwind tables in their maps, with the rules found before in front of them.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_loop;

use tracer_common::cache::CacheKey;
use tracer_common::limits::RULE_CACHE_BITS;
use tracer_common::unwind::{
    Bisection, FileKey, Kind, MAPPING_STEPS, Mapping, ROW_STEPS, Range, Rule, Source, Tables,
    find_mapping, row_address, rule_in,
};

use crate::cache::cached;
use crate::maps::{FILES, MAPPINGS, RULE_CACHE, UNWIND_BUCKETS, UNWIND_ROWS};
use crate::vma;

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

    #[inline(always)]
    fn bisect_mappings(&mut self, search: &mut Bisection) {
        bisect(search, MAPPING_STEPS, narrow_mappings);
    }

    #[inline(always)]
    fn bisect_rows(&mut self, search: &mut Bisection) {
        bisect(search, ROW_STEPS, narrow_rows);
    }
}

/// A step of a search; 1 ends the loop.
type Narrow = unsafe extern "C" fn(u32, *mut Bisection) -> i64;

/// Runs a search as a loop of the kernel, so that the verifier looks at one step and not at all.
#[inline(always)]
fn bisect(search: &mut Bisection, steps: u32, narrow: Narrow) {
    // SAFETY: the callback and its context live as long as the call.
    unsafe { bpf_loop(steps, narrow as *mut c_void, (&raw mut *search).cast(), 0) };
}

unsafe extern "C" fn narrow_mappings(_turn: u32, search: *mut Bisection) -> i64 {
    // SAFETY: the context given to bpf_loop above.
    let search = unsafe { &mut *search };
    let goes_on = search.step(|index| Some(MAPPINGS.get(index)?.start));
    if goes_on { 0 } else { 1 }
}

unsafe extern "C" fn narrow_rows(_turn: u32, search: *mut Bisection) -> i64 {
    // SAFETY: the context given to bpf_loop above.
    let search = unsafe { &mut *search };
    let goes_on = search.step(|index| Some(row_address(*UNWIND_ROWS.get(index)?) as u64));
    if goes_on { 0 } else { 1 }
}

impl Tables for KernelTables {
    #[inline(always)]
    fn rule(&mut self, lookup_address: u64) -> Rule {
        let key = CacheKey::of_address(lookup_address, self.generation);
        let Some(entry) = RULE_CACHE.get_ptr_mut(key.index(RULE_CACHE_BITS)) else {
            return Rule::NO_TABLE;
        };
        let search = || search_rule(lookup_address, self.mappings.first, self.mappings.count);
        // A mapping that is not known yet is looked for again next time.
        let is_lasting = |rule| Rule(rule).kind_number() != Kind::NoMapping as u32;
        // SAFETY: a map element that was checked for null.
        Rule(unsafe { cached(entry, key, search, is_lasting) })
    }
}

/// The rule for an address by the tables. Called for what the cache does not have, and checked by the verifier apart
/// from the walk.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn search_rule(address: u64, first: u32, count: u32) -> u32 {
    let published = find_mapping(&mut Arrays, Range { first, count }, address);
    let Some(mapping) = published.or_else(|| new_mapping(address)) else {
        return Rule::NO_MAPPING.0;
    };
    rule_in(&mut Arrays, &mapping, address).0
}

/// A mapping that is newer than what user space has published: a library just loaded, a program just begun. The kernel
/// tells which file is there; if that file's table is stored, the walk goes on.
///
/// It costs some 250 ns, once for each call site until user space has published the mapping.
#[inline(always)]
fn new_mapping(address: u64) -> Option<Mapping> {
    let area = vma::at(address);
    if area.inode == 0 {
        return None;
    }
    let key = FileKey {
        inode: area.inode,
        device: area.device,
        reserved: 0,
    };
    // SAFETY: a copy.
    let table = unsafe { FILES.get(key).copied() }?;
    Some(table.mapping(area.start, area.end, area.offset))
}
