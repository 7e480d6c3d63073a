//! Records that travel through the ring buffers.

use zerocopy::{FromBytes, IntoBytes};

use crate::key::Owner;
use crate::record::{Record, read};

/// One call of an allocator function, as `memlens trace` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct CallEvent {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Address of the new block (0: the call failed), or of the released one.
    pub addr: u64,
    /// Bytes asked for; 0 for a release.
    pub size: u64,
    /// The block that was given to a `realloc`; 0 otherwise.
    pub old: u64,
    /// Return address of the call.
    pub caller: u64,
    /// Thread-group id.
    pub tgid: u32,
    /// Thread id.
    pub tid: u32,
    /// Number of the function in the user side's table.
    pub function: u32,
    /// Keeps the record free of implicit padding.
    pub reserved: u32,
}

/// What happened to a traced process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum LifecycleKind {
    /// It called `exec`; `owner` is the new image.
    Exec = 1,
    /// Its last thread has exited.
    Exit = 2,
    /// It is about to unmap a library; `owner` has the new code number instead of the image number.
    Unload = 3,
    /// It is traced from now on: it made its first traced call, or was born as the child of a traced process.
    Admitted = 4,
    /// It started a process with a copy of its memory, which is not traced; in place of the row, that process's ID.
    Forked = 5,
}

/// A traced process changed its program, ended or is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct LifecycleEvent {
    /// The process; after an `exec` with its new image number.
    pub owner: Owner,
    /// A [`LifecycleKind`].
    pub kind: u32,
    /// Its row in the process table; of [`LifecycleKind::Forked`] the ID of the new process.
    pub slot: u32,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// Its name, of an `exec` the new one; padded with zeros (`TASK_COMM_LEN`, include/linux/sched.h).
    pub comm: [u8; 16],
    /// User id that it runs as.
    pub uid: u32,
    /// The process that started it, or that has taken it over; 0 if that is not known.
    pub parent: u32,
}

impl LifecycleEvent {
    /// Its name, up to the padding.
    pub fn name(&self) -> &[u8] {
        let end = self.comm.iter().position(|byte| *byte == 0);
        &self.comm[..end.unwrap_or(self.comm.len())]
    }
}

/// Code that a process has mapped from a file, with the file as the kernel knows it: on overlayfs and btrfs `stat` and
/// `/proc/PID/maps` tell another device or inode than the one that probes are placed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct CodeArea {
    /// First address.
    pub start: u64,
    /// First address after it.
    pub end: u64,
    /// Offset in the file, in bytes.
    pub offset: u64,
    /// Inode number of `vma->vm_file`.
    pub inode: u64,
    /// Device number of that inode's filesystem in the kernel's own coding (see `unwind::FileKey`).
    pub device: u32,
    /// Thread-group id.
    pub tgid: u32,
}

impl LifecycleKind {
    /// Reads the kind back.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            1 => Some(Self::Exec),
            2 => Some(Self::Exit),
            3 => Some(Self::Unload),
            4 => Some(Self::Admitted),
            5 => Some(Self::Forked),
            _ => None,
        }
    }
}

impl Record for CallEvent {
    fn decode(bytes: &[u8]) -> Option<Self> {
        read(bytes, |_| true)
    }
}

impl Record for LifecycleEvent {
    fn decode(bytes: &[u8]) -> Option<Self> {
        read(bytes, |event: &Self| {
            LifecycleKind::from_raw(event.kind).is_some()
        })
    }
}

impl Record for CodeArea {
    fn decode(bytes: &[u8]) -> Option<Self> {
        read(bytes, |_| true)
    }
}

const _: () = assert!(size_of::<CallEvent>() == 56);
const _: () = assert!(size_of::<CodeArea>() == 40);
const _: () = assert!(size_of::<LifecycleEvent>() == 48);

/// The programs have found little room in the table of live blocks: a record without content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pressure;

impl Record for Pressure {
    fn decode(bytes: &[u8]) -> Option<Self> {
        (bytes.len() == size_of::<u64>()).then_some(Self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of another length, or of an unknown kind, is refused.
    #[test]
    fn malformed_records_are_refused() {
        assert!(CallEvent::decode(&[0; 56]).is_some());
        assert_eq!(CallEvent::decode(&[0; 55]), None);
        assert_eq!(CodeArea::decode(&[0; 48]), None);
        assert_eq!(LifecycleEvent::decode(&[0; 48]), None);
        assert_eq!(LifecycleEvent::decode(&[0; 8]), None);
    }

    /// What one side writes the other reads.
    #[test]
    fn records_are_read_back() {
        let event = LifecycleEvent {
            owner: Owner { tgid: 5, image: 6 },
            kind: LifecycleKind::Exit as u32,
            comm: *b"perl\0\0\0\0\0\0\0\0\0\0\0\0",
            uid: 33,
            ..LifecycleEvent::default()
        };
        let bytes: [u8; 48] = zerocopy::transmute!(event);
        assert_eq!(LifecycleEvent::decode(&bytes), Some(event));
        assert_eq!(event.name(), b"perl");
    }
}
