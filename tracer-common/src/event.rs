//! Records that travel through the ring buffers.

use crate::key::Owner;

/// One call of an allocator function, as `memlens trace` prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
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
    /// It made its first traced call, and is traced from then on.
    Admitted = 4,
}

/// A traced process changed its program, ended or is new.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct LifecycleEvent {
    /// The process; after an `exec` with its new image number.
    pub owner: Owner,
    /// A [`LifecycleKind`].
    pub kind: u32,
    /// Its row in the process table.
    pub slot: u32,
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
}

/// Code that a process has mapped from a file, with the file as the kernel knows it: on overlayfs and btrfs `stat` and
/// `/proc/PID/maps` tell another device or inode than the one that probes are placed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
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

/// A record from the kernel has the wrong length or an unknown kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Malformed;

impl LifecycleKind {
    /// Reads the kind back.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            1 => Some(Self::Exec),
            2 => Some(Self::Exit),
            3 => Some(Self::Unload),
            4 => Some(Self::Admitted),
            _ => None,
        }
    }
}

const fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

const fn double_word(bytes: &[u8], at: usize) -> u64 {
    let (low, high) = (word(bytes, at) as u64, word(bytes, at + 4) as u64);
    if cfg!(target_endian = "little") {
        low | high << 32
    } else {
        high | low << 32
    }
}

impl TryFrom<&[u8]> for CallEvent {
    type Error = Malformed;

    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() != size_of::<Self>() {
            return Err(Malformed);
        }
        Ok(Self {
            time_ns: double_word(bytes, 0),
            addr: double_word(bytes, 8),
            size: double_word(bytes, 16),
            old: double_word(bytes, 24),
            caller: double_word(bytes, 32),
            tgid: word(bytes, 40),
            tid: word(bytes, 44),
            function: word(bytes, 48),
            reserved: word(bytes, 52),
        })
    }
}

impl TryFrom<&[u8]> for LifecycleEvent {
    type Error = Malformed;

    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() != size_of::<Self>() || LifecycleKind::from_raw(word(bytes, 8)).is_none() {
            return Err(Malformed);
        }
        Ok(Self {
            owner: Owner {
                tgid: word(bytes, 0),
                image: word(bytes, 4),
            },
            kind: word(bytes, 8),
            slot: word(bytes, 12),
            time_ns: double_word(bytes, 16),
        })
    }
}

impl TryFrom<&[u8]> for CodeArea {
    type Error = Malformed;

    fn try_from(bytes: &[u8]) -> Result<Self, Malformed> {
        if bytes.len() != size_of::<Self>() {
            return Err(Malformed);
        }
        Ok(Self {
            start: double_word(bytes, 0),
            end: double_word(bytes, 8),
            offset: double_word(bytes, 16),
            inode: double_word(bytes, 24),
            device: word(bytes, 32),
            tgid: word(bytes, 36),
        })
    }
}

const _: () = assert!(size_of::<CallEvent>() == 56);
const _: () = assert!(size_of::<CodeArea>() == 40);
const _: () = assert!(size_of::<LifecycleEvent>() == 24);

#[cfg(test)]
mod tests {
    use super::*;

    /// A record of another length, or of an unknown kind, is refused.
    #[test]
    fn malformed_records_are_refused() {
        assert_eq!(CallEvent::try_from(&[0u8; 55][..]), Err(Malformed));
        assert_eq!(CodeArea::try_from(&[0u8; 48][..]), Err(Malformed));
        assert_eq!(LifecycleEvent::try_from(&[0u8; 24][..]), Err(Malformed));
        assert_eq!(LifecycleEvent::try_from(&[0u8; 8][..]), Err(Malformed));
    }

    /// Fields come back from their own places.
    #[test]
    fn records_decode_field_by_field() {
        let mut bytes = [0u8; 56];
        bytes[8..16].copy_from_slice(&0x1122_3344_5566_7788_u64.to_ne_bytes());
        bytes[44..48].copy_from_slice(&77u32.to_ne_bytes());
        let event = CallEvent::try_from(&bytes[..]).expect("the length is right");
        assert_eq!(
            (event.addr, event.tid, event.size),
            (0x1122_3344_5566_7788, 77, 0)
        );

        let mut bytes = [0u8; 24];
        bytes[0..4].copy_from_slice(&5u32.to_ne_bytes());
        bytes[4..8].copy_from_slice(&6u32.to_ne_bytes());
        bytes[8..12].copy_from_slice(&2u32.to_ne_bytes());
        let event = LifecycleEvent::try_from(&bytes[..]).expect("kind and length are right");
        assert_eq!(event.owner, Owner { tgid: 5, image: 6 });

        let mut bytes = [0u8; 40];
        bytes[24..32].copy_from_slice(&9u64.to_ne_bytes());
        bytes[36..40].copy_from_slice(&7u32.to_ne_bytes());
        let area = CodeArea::try_from(&bytes[..]).expect("the length is right");
        assert_eq!((area.inode, area.tgid, area.device), (9, 7, 0));
    }
}
