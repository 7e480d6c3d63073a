//! The unwind tables in their maps, with the rules found before in front of them.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::helpers::generated::{bpf_find_vma, bpf_get_current_task_btf, bpf_loop};

use tracer_common::limits::RULE_CACHE_BITS;
use tracer_common::unwind::{
    Bisection, CacheEntry, CacheKey, FileKey, MAPPING_STEPS, Mapping, ROW_STEPS, Range, Rule,
    Source, Tables, find_mapping, row_address, rule_in,
};

use crate::config::config;
use crate::maps::{FILES, MAPPINGS, RULE_CACHE, UNWIND_BUCKETS, UNWIND_ROWS};
use crate::memory::{read_kernel_u32, read_kernel_u64};

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
            let rule = Rule(search_rule(
                lookup_address,
                self.mappings.first,
                self.mappings.count,
            ));
            if let Some(found) = CacheEntry::new(key, rule) {
                write_volatile(&raw mut (*entry).key, found.key);
                write_volatile(&raw mut (*entry).value, found.value);
            }
            rule
        }
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

/// What the look-up of a memory area is to find out.
#[repr(C)]
pub struct Area {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Offset of `start` in the file.
    pub offset: u64,
    /// Inode number; 0 without a file.
    pub inode: u64,
    /// The file's device.
    pub device: u32,
    reserved: u32,
}

impl Area {
    /// No area.
    pub const NONE: Self = Self {
        start: 0,
        end: 0,
        offset: 0,
        inode: 0,
        device: 0,
        reserved: 0,
    };

    /// Finds out what lies at an address, if it is a file; all zero otherwise. It costs some 250 ns. Fails where another thread is changing the address
    /// space, and where the kernel's types are not known.
    #[inline(always)]
    pub fn look_up(&mut self, address: u64) {
        if config!(offsets.superblock_device) == 0 {
            return;
        }
        // SAFETY: the callback and its argument live as long as the call.
        unsafe {
            bpf_find_vma(
                bpf_get_current_task_btf(),
                address,
                read_area as *mut c_void,
                (&raw mut *self).cast(),
                0,
            )
        };
    }
}

/// Reads the area that holds the address; called with the address space locked.
unsafe extern "C" fn read_area(_task: *mut c_void, vma: *mut c_void, area: *mut Area) -> i64 {
    let field = |offset: u32| read_kernel_u64(vma as u64 + offset as u64);
    let file = field(config!(offsets.vma_file));
    if file == 0 {
        return 0;
    }
    let inode = read_kernel_u64(file + config!(offsets.file_inode) as u64);
    let superblock = read_kernel_u64(inode + config!(offsets.inode_superblock) as u64);
    // SAFETY: the area given to bpf_find_vma below.
    unsafe {
        (*area).start = field(config!(offsets.vma_start));
        (*area).end = field(config!(offsets.vma_end));
        (*area).offset = field(config!(offsets.vma_pgoff)) << 12;
        (*area).inode = read_kernel_u64(inode + config!(offsets.inode_number) as u64);
        (*area).device = read_kernel_u32(superblock + config!(offsets.superblock_device) as u64);
    }
    0
}

/// A mapping that is newer than what user space has published: a library just loaded, a program just begun. The kernel
/// tells which file is there; if that file's table is stored, the walk goes on.
///
/// It costs some 250 ns, once for each call site until user space has published the mapping.
#[inline(always)]
fn new_mapping(address: u64) -> Option<Mapping> {
    if config!(offsets.superblock_device) == 0 {
        return None;
    }
    let mut area = MaybeUninit::<[u64; size_of::<Area>() / 8]>::uninit();
    let words = area.as_mut_ptr().cast::<u64>();
    for index in 0..size_of::<Area>() / 8 {
        // SAFETY: within the area; volatile, or it becomes a call of memset, whose loop the verifier follows byte by byte.
        unsafe { write_volatile(words.add(index), 0) };
    }
    // SAFETY: integers, all zero.
    let area = unsafe { &mut *area.as_mut_ptr().cast::<Area>() };
    // SAFETY: the callback and its argument live as long as the call. It fails where another thread is changing the
    // address space.
    let status = unsafe {
        bpf_find_vma(
            bpf_get_current_task_btf(),
            address,
            read_area as *mut c_void,
            (&raw mut *area).cast(),
            0,
        )
    };
    if status != 0 || area.inode == 0 || address < area.start || address >= area.end {
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
