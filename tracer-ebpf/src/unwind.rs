//! The unwind tables in their maps, with the rules found before in front of them.

use core::ffi::c_void;
use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::helpers::generated::{bpf_find_vma, bpf_get_current_task_btf};

use tracer_common::limits::RULE_CACHE_BITS;
use tracer_common::unwind::{
    CacheEntry, CacheKey, FileKey, Mapping, Range, Rule, Source, Tables, find_rule, rule_in,
};

use crate::globals;
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
            let mut rule = find_rule(&mut Arrays, self.mappings, lookup_address);
            if rule.0 == Rule::NO_MAPPING.0 {
                rule = rule_of_new_mapping(lookup_address);
            }
            if let Some(found) = CacheEntry::new(key, rule) {
                write_volatile(&raw mut (*entry).key, found.key);
                write_volatile(&raw mut (*entry).value, found.value);
            }
            rule
        }
    }
}

/// A memory area of the current process, and the file in it.
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
        if globals::offsets().superblock_device == 0 {
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
    let offsets = globals::offsets();
    let field = |offset: u32| read_kernel_u64(vma as u64 + offset as u64);
    let file = field(offsets.vma_file);
    if file == 0 {
        return 0;
    }
    let inode = read_kernel_u64(file + offsets.file_inode as u64);
    let superblock = read_kernel_u64(inode + offsets.inode_superblock as u64);
    // SAFETY: the area given to bpf_find_vma above.
    unsafe {
        (*area).start = field(offsets.vma_start);
        (*area).end = field(offsets.vma_end);
        (*area).offset = field(offsets.vma_pgoff) << 12;
        (*area).inode = read_kernel_u64(inode + offsets.inode_number as u64);
        (*area).device = read_kernel_u32(superblock + offsets.superblock_device as u64);
    }
    0
}

/// The rule for code that was mapped after user space looked: a library just loaded, a program just begun. The kernel
/// tells which file is there; if that file's table is stored, the walk goes on. This happens once for each call site until user
/// space has published the mapping.
#[inline(always)]
fn rule_of_new_mapping(address: u64) -> Rule {
    let mut area = Area::NONE;
    area.look_up(address);
    if area.inode == 0 || address < area.start || address >= area.end {
        return Rule::NO_MAPPING;
    }
    let key = FileKey {
        inode: area.inode,
        device: area.device,
        reserved: 0,
    };
    // SAFETY: a copy; files are not removed.
    let Some(table) = (unsafe { FILES.get(key).copied() }) else {
        return Rule::NO_MAPPING;
    };
    rule_in(
        &mut Arrays,
        &table.mapping(area.start, area.end, area.offset),
        address,
    )
}
