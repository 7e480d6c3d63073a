//! What lies in a process's address space, as the kernel has it.

use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::ptr::write_volatile;

use aya_ebpf::helpers::generated::{bpf_find_vma, bpf_get_current_task_btf, bpf_seq_write};
use tracer_common::event::CodeArea;

use crate::config::config;
use crate::memory::{read_kernel_u32, read_kernel_u64};

/// `VM_EXEC` (include/linux/mm.h).
const VM_EXEC: u64 = 4;

/// Reads a field of a `vm_area_struct`.
#[inline(always)]
fn field(vma: *const c_void, offset: u32) -> u64 {
    read_kernel_u64((vma as u64).wrapping_add(offset as u64))
}

/// Reads which part of which file a memory area maps; leaves all of `area` as it is where there is no file.
///
/// # Safety
///
/// `area` must be valid.
#[inline(always)]
unsafe fn read(vma: *const c_void, area: *mut CodeArea) {
    let file = field(vma, config!(offsets.vma_file));
    if file == 0 {
        return;
    }
    let inode = read_kernel_u64(file + config!(offsets.file_inode) as u64);
    let superblock = read_kernel_u64(inode + config!(offsets.inode_superblock) as u64);
    // SAFETY: as the caller promises.
    unsafe {
        (*area).start = field(vma, config!(offsets.vma_start));
        (*area).end = field(vma, config!(offsets.vma_end));
        (*area).offset = field(vma, config!(offsets.vma_pgoff)) << 12;
        (*area).inode = read_kernel_u64(inode + config!(offsets.inode_number) as u64);
        (*area).device = read_kernel_u32(superblock + config!(offsets.superblock_device) as u64);
    }
}

/// Called with the address space locked.
unsafe extern "C" fn read_found(_task: *mut c_void, vma: *mut c_void, area: *mut CodeArea) -> i64 {
    // SAFETY: the area given to bpf_find_vma below.
    unsafe { read(vma, area) };
    0
}

/// Which part of which file lies at an address of the current process. All zero where there is no file, where another
/// thread is changing the address space, and where the kernel's types are not known. It costs some 250 ns.
#[inline(always)]
pub fn at(address: u64) -> CodeArea {
    const WORDS: usize = size_of::<CodeArea>() / 8;
    let mut area = MaybeUninit::<CodeArea>::uninit();
    for index in 0..WORDS {
        // SAFETY: within the area. Volatile, or it becomes a call of memset, whose loop the verifier follows byte by
        // byte.
        unsafe { write_volatile(area.as_mut_ptr().cast::<u64>().add(index), 0) };
    }
    if config!(offsets.superblock_device) != 0 {
        // SAFETY: the callback and its argument live as long as the call.
        unsafe {
            bpf_find_vma(
                bpf_get_current_task_btf(),
                address,
                read_found as *mut c_void,
                area.as_mut_ptr().cast(),
                0,
            )
        };
    }
    // SAFETY: integers, all of which were written.
    unsafe { area.assume_init() }
}

/// `struct bpf_iter__task_vma` (kernel/bpf/task_iter.c).
#[repr(C)]
pub struct Context {
    /// `struct bpf_iter_meta`, whose first member is the file that is written to.
    meta: *const *mut c_void,
    task: *const c_void,
    vma: *const c_void,
}

/// Writes one record for an executable mapping of a file; nothing for others.
///
/// # Safety
///
/// `ctx` must be the context of the running program.
#[inline(always)]
pub unsafe fn write_code(ctx: *const Context) {
    // SAFETY: fields of the context, as the caller promises.
    let (meta, task, vma) = unsafe { ((*ctx).meta, (*ctx).task, (*ctx).vma) };
    if task.is_null() || vma.is_null() || config!(offsets.vma_flags) == 0 {
        return; // the end of the iteration, or a kernel without type information
    }
    if field(vma, config!(offsets.vma_flags)) & VM_EXEC == 0 {
        return;
    }
    let mut area = CodeArea {
        start: 0,
        end: 0,
        offset: 0,
        inode: 0,
        device: 0,
        tgid: read_kernel_u32(task as u64 + config!(offsets.task_tgid) as u64),
    };
    // SAFETY: our own record.
    unsafe { read(vma, &raw mut area) };
    if area.end == 0 {
        return; // no file
    }
    // SAFETY: the record is ours; the file is the iterator's. A full buffer makes the kernel call again with a larger
    // one (kernel/bpf/bpf_iter.c, bpf_seq_read).
    unsafe {
        bpf_seq_write(
            (*meta).cast(),
            (&raw mut area).cast::<c_void>(),
            size_of::<CodeArea>() as u32,
        )
    };
}
