//! Which offsets in the running kernel's structures the programs are told.

use tracer_common::config::KernelOffsets;

use super::btf::Btf;

/// Offsets in kernel structures; 0 where the kernel has no type information.
pub(super) fn kernel_offsets() -> KernelOffsets {
    let data = std::fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
    let Some(btf) = Btf::parse(&data) else {
        return KernelOffsets::default();
    };
    let offset = |structure, member| btf.member_offset(structure, member).unwrap_or(0);
    KernelOffsets {
        task_signal: offset("task_struct", "signal"),
        signal_live: offset("signal_struct", "live"),
        task_tgid: offset("task_struct", "tgid"),
        task_parent: offset("task_struct", "real_parent"),
        task_mm: offset("task_struct", "mm"),
        mm_uprobes_state: offset("mm_struct", "uprobes_state"),
        xol_area_vaddr: offset("xol_area", "vaddr"),
        ..vma_offsets(
            &btf,
            fault_offsets(&btf, return_offsets(&btf).unwrap_or_default()),
        )
    }
}

/// Adds the offsets of a thread's counters of page faults; none unless all are known.
fn fault_offsets(btf: &Btf<'_>, others: KernelOffsets) -> KernelOffsets {
    let found = || {
        Some(KernelOffsets {
            task_min_flt: btf.member_offset("task_struct", "min_flt")?,
            task_maj_flt: btf.member_offset("task_struct", "maj_flt")?,
            task_pagefault_disabled: btf.member_offset("task_struct", "pagefault_disabled")?,
            ..others
        })
    };
    found().unwrap_or(others)
}

/// Offsets that lead to a thread's replaced return addresses; none unless all are known.
fn return_offsets(btf: &Btf<'_>) -> Option<KernelOffsets> {
    Some(KernelOffsets {
        task_utask: btf.member_offset("task_struct", "utask")?,
        utask_returns: btf.member_offset("uprobe_task", "return_instances")?,
        return_stack: btf.member_offset("return_instance", "stack")?,
        return_address: btf.member_offset("return_instance", "orig_ret_vaddr")?,
        return_next: btf.member_offset("return_instance", "next")?,
        ..KernelOffsets::default()
    })
}

/// Adds the offsets that lead from a memory area to its file; none unless all are known.
fn vma_offsets(btf: &Btf<'_>, others: KernelOffsets) -> KernelOffsets {
    let found = || {
        Some(KernelOffsets {
            vma_start: btf.member_offset("vm_area_struct", "vm_start")?,
            vma_end: btf.member_offset("vm_area_struct", "vm_end")?,
            vma_pgoff: btf.member_offset("vm_area_struct", "vm_pgoff")?,
            vma_file: btf.member_offset("vm_area_struct", "vm_file")?,
            vma_flags: btf.member_offset("vm_area_struct", "vm_flags")?,
            file_inode: btf.member_offset("file", "f_inode")?,
            inode_number: btf.member_offset("inode", "i_ino")?,
            inode_superblock: btf.member_offset("inode", "i_sb")?,
            superblock_device: btf.member_offset("super_block", "s_dev")?,
            ..others
        })
    };
    found().unwrap_or(others)
}
