//! All code on the host, as the kernel has it: an iterator over the memory areas of every process.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::bpf_seq_write;
use tracer_common::event::CodeArea;

use crate::config::config;
use crate::memory::{read_kernel_u32, read_kernel_u64};

/// `VM_EXEC` (include/linux/mm.h).
const VM_EXEC: u64 = 4;

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
pub unsafe fn write(ctx: *const Context) {
    // SAFETY: fields of the context, as the caller promises.
    let (meta, task, vma) = unsafe { ((*ctx).meta, (*ctx).task, (*ctx).vma) };
    if task.is_null() || vma.is_null() || config!(offsets.vma_flags) == 0 {
        return; // the end of the iteration, or a kernel without type information
    }
    let field = |offset: u32| read_kernel_u64(vma as u64 + offset as u64);
    let file = field(config!(offsets.vma_file));
    if file == 0 || field(config!(offsets.vma_flags)) & VM_EXEC == 0 {
        return;
    }
    let inode = read_kernel_u64(file + config!(offsets.file_inode) as u64);
    let superblock = read_kernel_u64(inode + config!(offsets.inode_superblock) as u64);
    let mut area = CodeArea {
        start: field(config!(offsets.vma_start)),
        end: field(config!(offsets.vma_end)),
        offset: field(config!(offsets.vma_pgoff)) << 12,
        inode: read_kernel_u64(inode + config!(offsets.inode_number) as u64),
        device: read_kernel_u32(superblock + config!(offsets.superblock_device) as u64),
        tgid: read_kernel_u32(task as u64 + config!(offsets.task_tgid) as u64),
    };
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
