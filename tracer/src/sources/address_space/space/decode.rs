//! From a system call as the kernel side saw it to what it did.

use tracer_common::space::{MADV_DONTFORK, MAP_ANONYMOUS, MREMAP_DONTUNMAP, SpaceCall, SpaceEvent};

use super::call::{Backing, Call, What};
use super::piece::{FilePart, Kind};
use crate::process::maps::FileId;

// include/uapi/linux/mman.h and asm-generic/mman-common.h.
const MAP_TYPE: u64 = 0xf;
const MAP_SHARED: u64 = 1;
const MAP_SHARED_VALIDATE: u64 = 3;
const MAP_GROWSDOWN: u64 = 0x100;
const MAP_STACK: u64 = 0x2_0000;
const MAP_HUGETLB: u64 = 0x4_0000;
const MAP_HUGE_SHIFT: u64 = 26;
const MAP_HUGE_MASK: u64 = 0x3f;
const MREMAP_FIXED: u64 = 2;
/// `PROT_READ | PROT_WRITE | PROT_EXEC`.
const PROT_ACCESS: u64 = 7;
/// Minors take the lower 20 bits of the kernel's device numbers (include/linux/kdev_t.h).
const MINOR_BITS: u32 = 20;

/// A call, and whether the kernel side could tell all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decoded {
    /// What the call did.
    Known(Call),
    /// It mapped a System V segment whose length is not known: the maps tell.
    Unmeasured,
}

/// What a call did. `huge_page` is the size of the kernel's default huge pages, in bytes.
pub fn decode(event: &SpaceEvent, huge_page: u64) -> Option<Decoded> {
    let args = &event.args;
    let what = match SpaceCall::from_number(event.call.into())? {
        SpaceCall::Mmap => What::Map {
            start: event.result,
            len: mapped_length(args[1], args[3], huge_page),
            backing: mapped(event),
        },
        SpaceCall::Munmap => What::Unmap {
            start: args[0],
            len: args[1],
        },
        SpaceCall::Mremap => What::Remap {
            old: args[0],
            old_len: args[1],
            new: event.result,
            new_len: args[2],
            keep_old: args[3] & MREMAP_DONTUNMAP != 0,
            fixed: args[3] & MREMAP_FIXED != 0,
        },
        SpaceCall::Brk => What::Break {
            from: None,
            to: event.result,
        },
        SpaceCall::Mprotect | SpaceCall::PkeyMprotect => What::Protect {
            start: args[0],
            len: args[1],
            reserved: args[2] & PROT_ACCESS == 0,
        },
        SpaceCall::Shmat if args[2] == 0 => return Some(Decoded::Unmeasured),
        SpaceCall::Shmat => What::Map {
            start: event.result,
            len: args[2],
            backing: Backing {
                kind: Kind::Shared,
                file: file(event, 0),
                ..Backing::ANONYMOUS
            },
        },
        SpaceCall::Shmdt => What::Detach { start: args[0] },
        SpaceCall::Madvise => What::ForkAdvice {
            start: args[0],
            len: args[1],
            dont: args[2] == MADV_DONTFORK,
        },
    };
    Some(Decoded::Known(Call {
        entered_ns: event.entered_ns,
        left_ns: event.left_ns,
        stack: event.stack,
        what,
    }))
}

/// What `mmap` has mapped.
fn mapped(event: &SpaceEvent) -> Backing {
    let [_, _, protection, flags, _, offset] = event.args;
    let shared = matches!(flags & MAP_TYPE, MAP_SHARED | MAP_SHARED_VALIDATE);
    let anonymous = flags & MAP_ANONYMOUS != 0;
    let kind = match (anonymous, shared) {
        (false, _) => Kind::File,
        (true, true) => Kind::Shared,
        (true, false) if flags & (MAP_STACK | MAP_GROWSDOWN) != 0 => Kind::Stack,
        (true, false) => Kind::Anonymous,
    };
    Backing {
        kind,
        reserved: protection & PROT_ACCESS == 0,
        dont_fork: false,
        file: file(event, offset).filter(|_| !anonymous),
    }
}

/// The file of a call, if the kernel side could tell.
fn file(event: &SpaceEvent, offset: u64) -> Option<FilePart> {
    let dev = (
        event.device >> MINOR_BITS,
        event.device & ((1 << MINOR_BITS) - 1),
    );
    (event.inode != 0).then_some(FilePart {
        id: FileId {
            dev,
            inode: event.inode,
        },
        offset,
    })
}

/// The length that `mmap` maps: of huge pages whole ones.
fn mapped_length(len: u64, flags: u64, huge_page: u64) -> u64 {
    if flags & MAP_HUGETLB == 0 || flags & MAP_ANONYMOUS == 0 {
        return len;
    }
    let page = match flags >> MAP_HUGE_SHIFT & MAP_HUGE_MASK {
        0 => huge_page,
        shift => 1 << shift,
    };
    len.checked_next_multiple_of(page).unwrap_or(len)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(call: SpaceCall, args: [u64; 6], result: u64) -> SpaceEvent {
        SpaceEvent {
            entered_ns: 1,
            left_ns: 2,
            args,
            result,
            call: call as u32,
            stack: 7,
            ..SpaceEvent::default()
        }
    }

    fn what(event: &SpaceEvent) -> What {
        match decode(event, 2 << 20) {
            Some(Decoded::Known(call)) => call.what,
            other => panic!("{other:?}"),
        }
    }

    fn mmap(len: u64, protection: u64, flags: u64) -> (u64, Backing) {
        let event = event(
            SpaceCall::Mmap,
            [0, len, protection, flags, u64::MAX, 0],
            0x7000,
        );
        match what(&event) {
            What::Map {
                start: 0x7000,
                len,
                backing,
            } => (len, backing),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn kinds_come_from_the_flags() {
        let kind = |flags| mmap(4096, 3, flags).1.kind;
        assert_eq!(kind(0x22), Kind::Anonymous);
        assert_eq!(kind(0x21), Kind::Shared);
        assert_eq!(kind(0x2_0022), Kind::Stack);
        assert_eq!(kind(0x2), Kind::File);
        assert_eq!(kind(0x3), Kind::File);
        assert!(mmap(4096, 0, 0x22).1.reserved);
        assert!(!mmap(4096, 4, 0x22).1.reserved);
    }

    #[test]
    fn huge_pages_are_mapped_whole() {
        assert_eq!(mmap(5000, 3, 0x22).0, 5000);
        assert_eq!(mmap(5000, 3, 0x4_0022).0, 2 << 20);
        assert_eq!(mmap(5000, 3, 0x4_0022 | 30 << 26).0, 1 << 30);
    }

    #[test]
    fn files_are_named_by_device_and_inode() {
        let mut mapped = event(SpaceCall::Mmap, [0, 4096, 1, 2, 3, 8192], 0x7000);
        mapped.inode = 99;
        mapped.device = 8 << 20 | 1;
        let What::Map { backing, .. } = what(&mapped) else {
            panic!("a mapping");
        };
        let expected = FilePart {
            id: FileId {
                dev: (8, 1),
                inode: 99,
            },
            offset: 8192,
        };
        assert_eq!(backing.file, Some(expected));
    }

    #[test]
    fn a_segment_needs_its_length() {
        let attached = |len| event(SpaceCall::Shmat, [5, 0, len, 0, 0, 0], 0x7000);
        assert_eq!(decode(&attached(0), 0), Some(Decoded::Unmeasured));
        let What::Map {
            len: 8192, backing, ..
        } = what(&attached(8192))
        else {
            panic!("a mapping");
        };
        assert_eq!(backing.kind, Kind::Shared);
        let detached = event(SpaceCall::Shmdt, [0x7000, 0, 0, 0, 0, 0], 0);
        assert_eq!(what(&detached), What::Detach { start: 0x7000 });
    }

    #[test]
    fn moves_and_changes_of_access() {
        let moved = event(SpaceCall::Mremap, [0x1000, 10, 20, 5, 0, 0], 0x9000);
        let expected = What::Remap {
            old: 0x1000,
            old_len: 10,
            new: 0x9000,
            new_len: 20,
            keep_old: true,
            fixed: false,
        };
        assert_eq!(what(&moved), expected);
        let closed = event(SpaceCall::PkeyMprotect, [0x1000, 10, 0, 1, 0, 0], 0);
        let expected = What::Protect {
            start: 0x1000,
            len: 10,
            reserved: true,
        };
        assert_eq!(what(&closed), expected);
    }
}
