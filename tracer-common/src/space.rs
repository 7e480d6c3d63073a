//! System calls that change an address space, as they travel to user space.

use zerocopy::{FromBytes, IntoBytes};

use crate::key::Owner;
use crate::record::{Record, read};

/// A system call that may change an address space, by its number on x86-64 (arch/x86/entry/syscalls/syscall_64.tbl).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum SpaceCall {
    /// `mmap(addr, length, prot, flags, fd, offset)`.
    Mmap = 9,
    /// `mprotect(addr, len, prot)`.
    Mprotect = 10,
    /// `munmap(addr, length)`.
    Munmap = 11,
    /// `brk(addr)`.
    Brk = 12,
    /// `mremap(old_address, old_size, new_size, flags, new_address)`.
    Mremap = 25,
    /// `madvise(addr, length, advice)`.
    Madvise = 28,
    /// `shmat(shmid, shmaddr, shmflg)`; user space gets the segment's length in place of the flags.
    Shmat = 30,
    /// `shmdt(shmaddr)`.
    Shmdt = 67,
    /// `pkey_mprotect(addr, len, prot, pkey)`.
    PkeyMprotect = 329,
}

/// `MREMAP_DONTUNMAP` (include/uapi/linux/mman.h).
pub const MREMAP_DONTUNMAP: u64 = 4;
/// `MADV_DONTFORK` (include/uapi/asm-generic/mman-common.h).
pub const MADV_DONTFORK: u64 = 10;
/// `MADV_DOFORK`.
pub const MADV_DOFORK: u64 = 11;
/// `MAP_ANONYMOUS`.
pub const MAP_ANONYMOUS: u64 = 0x20;

/// Stands in place of a call's number where a child was forked: no call, and beyond all of them.
pub const FORKED: u32 = u32::MAX;

/// A system call that succeeded, or a fork.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct SpaceEvent {
    /// When it began: `CLOCK_MONOTONIC`, nanoseconds.
    pub entered_ns: u64,
    /// When it ended.
    pub left_ns: u64,
    /// Its arguments.
    pub args: [u64; 6],
    /// What it returned.
    pub result: u64,
    /// Inode of the file that was mapped; 0 if there is none or it is not known.
    pub inode: u64,
    /// Who called.
    pub owner: Owner,
    /// Device of that file, as the kernel numbers it: major << 20 | minor.
    pub device: u32,
    /// A [`SpaceCall`], or [`FORKED`].
    pub call: u32,
    /// Row of the caller's stack, where the call maps something; else the process's own row.
    pub stack: u32,
    /// Keeps the record free of implicit padding.
    pub reserved: u32,
}

const _: () = assert!(size_of::<SpaceEvent>() == 104);

impl SpaceEvent {
    /// The process `parent` has forked `child`, which has a copy of its address space.
    #[inline(always)]
    pub const fn fork(parent: Owner, child: Owner, time_ns: u64) -> Self {
        Self {
            entered_ns: time_ns,
            left_ns: time_ns,
            args: [child.tgid as u64, child.image as u64, 0, 0, 0, 0],
            result: 0,
            inode: 0,
            owner: parent,
            device: 0,
            call: FORKED,
            stack: 0,
            reserved: 0,
        }
    }

    /// The child that was forked, where one was.
    pub const fn child(&self) -> Option<Owner> {
        match self.call {
            FORKED => Some(Owner {
                tgid: self.args[0] as u32,
                image: self.args[1] as u32,
            }),
            _ => None,
        }
    }
}

impl SpaceCall {
    /// The call of this number, if it may change an address space.
    #[inline(always)]
    pub const fn from_number(number: u64) -> Option<Self> {
        match number {
            9 => Some(Self::Mmap),
            10 => Some(Self::Mprotect),
            11 => Some(Self::Munmap),
            12 => Some(Self::Brk),
            25 => Some(Self::Mremap),
            28 => Some(Self::Madvise),
            30 => Some(Self::Shmat),
            67 => Some(Self::Shmdt),
            329 => Some(Self::PkeyMprotect),
            _ => None,
        }
    }

    /// Whether a call that began with these arguments can matter.
    #[inline(always)]
    pub const fn can_matter(self, args: &[u64; 6]) -> bool {
        match self {
            Self::Madvise => args[2] == MADV_DONTFORK || args[2] == MADV_DOFORK,
            _ => true,
        }
    }

    /// Whether this result means that the call did what it was asked to.
    #[inline(always)]
    pub const fn succeeded(self, args: &[u64; 6], result: u64) -> bool {
        match self {
            Self::Mmap | Self::Mremap | Self::Shmat => result < u64::MAX - 4095,
            // It returns where the heap ends, moved or not; a question changes nothing.
            Self::Brk => args[0] == result,
            _ => result == 0,
        }
    }

    /// Whether the call maps something, so that its stack is wanted.
    #[inline(always)]
    pub const fn maps(self, args: &[u64; 6]) -> bool {
        match self {
            Self::Mmap | Self::Shmat | Self::Brk => true,
            Self::Mremap => args[2] > args[1] || args[3] & MREMAP_DONTUNMAP != 0,
            _ => false,
        }
    }

    /// Whether the call maps a file, or may map one.
    #[inline(always)]
    pub const fn maps_file(self, args: &[u64; 6]) -> bool {
        match self {
            Self::Mmap => args[3] & MAP_ANONYMOUS == 0,
            Self::Shmat => true,
            _ => false,
        }
    }
}

impl Record for SpaceEvent {
    fn decode(bytes: &[u8]) -> Option<Self> {
        read(bytes, |event: &Self| {
            event.call == FORKED || SpaceCall::from_number(event.call.into()).is_some()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_calls_that_change_an_address_space_are_read() {
        let event = |call| {
            let event = SpaceEvent {
                call,
                ..SpaceEvent::default()
            };
            let bytes: [u8; 104] = zerocopy::transmute!(event);
            SpaceEvent::decode(&bytes)
        };
        let remap = event(SpaceCall::Mremap as u32).expect("a call that maps");
        assert_eq!(remap.call, SpaceCall::Mremap as u32);
        assert!(event(FORKED).is_some());
        assert!(event(1).is_none(), "write maps nothing");
        assert!(SpaceEvent::decode(&[0; 103]).is_none());
    }

    #[test]
    fn a_fork_tells_of_its_child() {
        let [parent, child] = [5, 6].map(|tgid| Owner { tgid, image: 9 });
        let event = SpaceEvent::fork(parent, child, 3);
        assert_eq!((event.owner, event.child()), (parent, Some(child)));
        assert_eq!(SpaceEvent::default().child(), None);
    }

    #[test]
    fn what_failed_did_nothing() {
        let args = [0x1000, 0x2000, 0, 0, 0, 0];
        let failed = -12i64 as u64;
        for call in [SpaceCall::Mmap, SpaceCall::Mremap, SpaceCall::Shmat] {
            assert!(call.succeeded(&args, 0x7f00_0000_0000));
            assert!(!call.succeeded(&args, failed));
            assert!(!call.succeeded(&args, -4095i64 as u64));
        }
        assert!(SpaceCall::Munmap.succeeded(&args, 0));
        assert!(!SpaceCall::Munmap.succeeded(&args, failed));
        assert!(SpaceCall::Brk.succeeded(&args, 0x1000));
        assert!(!SpaceCall::Brk.succeeded(&args, 0x5000));
    }

    #[test]
    fn stacks_are_walked_only_where_something_is_mapped() {
        let remap = |old, new, flags| SpaceCall::Mremap.maps(&[0, old, new, flags, 0, 0]);
        assert!(remap(1, 2, 0) && remap(2, 2, MREMAP_DONTUNMAP) && !remap(2, 1, 1));
        assert!(!SpaceCall::Munmap.maps(&[0; 6]) && SpaceCall::Mmap.maps(&[0; 6]));
        assert!(SpaceCall::Madvise.can_matter(&[0, 0, MADV_DONTFORK, 0, 0, 0]));
        assert!(!SpaceCall::Madvise.can_matter(&[0, 0, 4, 0, 0, 0]));
    }
}
