//! Where things are in the running kernel's structures.

use zerocopy::{FromBytes, IntoBytes};

/// Defines the offsets, in groups: those of a group are all known, or all 0.
macro_rules! kernel_offsets {
    ($({ $($field:ident: $structure:ident.$member:ident,)* })*) => {
        /// Offsets in the running kernel's structures, in bytes, from its type information; 0 where that does not tell.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
        #[repr(C)]
        pub struct KernelOffsets {
            $($(
                #[doc = concat!("`", stringify!($structure), ".", stringify!($member), "`.")]
                pub $field: u32,
            )*)*
        }

        impl KernelOffsets {
            /// Finds all of them by `offset_of`, which is asked for a structure and its member.
            pub fn find(offset_of: impl Fn(&str, &str) -> Option<u32>) -> Self {
                let mut offsets = Self::default();
                $(
                    if let ($(Some($field),)*) =
                        ($(offset_of(stringify!($structure), stringify!($member)),)*)
                    {
                        $(offsets.$field = $field;)*
                    }
                )*
                offsets
            }
        }
    };
}

kernel_offsets! {
    // Whether a thread is the last of its process.
    {
        task_signal: task_struct.signal,
        signal_live: signal_struct.live,
    }
    {
        task_tgid: task_struct.tgid,
        task_parent: task_struct.real_parent,
    }
    { task_mm: task_struct.mm, }
    // The first member of `uprobes_state` points to the `xol_area`, whose page is the return trampoline.
    {
        mm_uprobes_state: mm_struct.uprobes_state,
        xol_area_vaddr: xol_area.vaddr,
    }
    // From a memory area to its file. `vm_start` is the first member: its offset is 0 by right.
    {
        vma_start: vm_area_struct.vm_start,
        vma_end: vm_area_struct.vm_end,
        vma_pgoff: vm_area_struct.vm_pgoff,
        vma_file: vm_area_struct.vm_file,
        vma_flags: vm_area_struct.vm_flags,
        file_inode: file.f_inode,
        inode_number: inode.i_ino,
        inode_superblock: inode.i_sb,
        superblock_device: super_block.s_dev,
    }
    // To the return addresses that return probes of a thread have replaced.
    {
        task_utask: task_struct.utask,
        utask_returns: uprobe_task.return_instances,
        return_stack: return_instance.stack,
        return_address: return_instance.orig_ret_vaddr,
        return_next: return_instance.next,
    }
    // The thread register, by which a runtime's thread states are known.
    {
        task_thread: task_struct.thread,
        thread_fsbase: thread_struct.fsbase,
    }
    // What a thread's page faults came to.
    {
        task_min_flt: task_struct.min_flt,
        task_maj_flt: task_struct.maj_flt,
        task_pagefault_disabled: task_struct.pagefault_disabled,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_group_is_known_as_a_whole() {
        let offsets = KernelOffsets::find(|structure, member| match (structure, member) {
            ("task_struct", "tgid") => Some(8),
            ("super_block", _) => None,
            ("return_instance" | "uprobe_task" | "task_struct", _) => Some(16),
            _ => Some(24),
        });
        assert_eq!((offsets.task_tgid, offsets.task_parent), (8, 16));
        assert_eq!((offsets.vma_file, offsets.superblock_device), (0, 0));
        assert_eq!((offsets.task_utask, offsets.return_next), (16, 16));
        assert_eq!(KernelOffsets::find(|_, _| None), KernelOffsets::default());
    }
}
