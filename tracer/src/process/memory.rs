//! Reads the memory of a running process in large pieces, without stopping it.

use std::hash::Hasher;
use std::io::IoSliceMut;
use std::ops::Range;

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;
use rustc_hash::FxHasher;

/// Where the bytes of a process come from.
pub trait Memory {
    /// Reads from an address on, and says how many bytes could be read, which may be none.
    fn read(&mut self, address: u64, into: &mut [u8]) -> usize;

    /// Whether there is time to read more.
    fn has_time(&self) -> bool {
        true
    }
}

/// Most pieces of one call (`UIO_MAXIOV` of include/uapi/linux/uio.h).
const MOST_PIECES: usize = 1024;

/// The memory of a process. Only parts that are in memory are to be read: others would be brought in.
pub struct Reader {
    pid: Pid,
}

impl Reader {
    /// For a process, by its PID in our PID namespace.
    pub fn new(pid: u32) -> Self {
        Self {
            pid: Pid::from_raw(pid.cast_signed()),
        }
    }

    /// Whether its memory may be read at all: the first refusal of the kernel, if it refuses.
    pub fn refusal(&self) -> Option<nix::Error> {
        let mut byte = [0];
        let remote = RemoteIoVec { base: 0, len: 1 };
        match process_vm_readv(self.pid, &mut [IoSliceMut::new(&mut byte)], &[remote]) {
            Err(error @ (nix::Error::EPERM | nix::Error::ESRCH | nix::Error::ENOSYS)) => {
                Some(error)
            }
            // Nothing is mapped at 0, which is no refusal.
            _ => None,
        }
    }

    /// A word; `None` if it cannot be read.
    pub fn word(&mut self, address: u64) -> Option<u64> {
        let mut bytes = [0; 8];
        (self.read(address, &mut bytes) == 8).then(|| u64::from_ne_bytes(bytes))
    }

    /// The content of each range, in their order, with its index; `None` where it cannot be read whole.
    pub fn each(&mut self, ranges: &[Range<u64>], mut take: impl FnMut(usize, Option<&[u8]>)) {
        let mut bytes = Vec::new();
        let length = |range: &Range<u64>| (range.end - range.start) as usize;
        for (number, some) in ranges.chunks(MOST_PIECES).enumerate() {
            bytes.clear();
            bytes.resize(some.iter().map(length).sum(), 0);
            let remote = some.iter().map(|range| RemoteIoVec {
                base: range.start as usize,
                len: length(range),
            });
            let remote: Vec<_> = remote.collect();
            let mut local = [IoSliceMut::new(&mut bytes)];
            // It ends at the first piece that is not there.
            let got = process_vm_readv(self.pid, &mut local, &remote).unwrap_or(0);
            let mut at = 0;
            for (index, range) in (number * MOST_PIECES..).zip(some) {
                let end = at + length(range);
                if end <= got {
                    take(index, Some(&bytes[at..end]));
                } else {
                    let own = &mut bytes[at..end];
                    let is_whole = self.read(range.start, own) == own.len();
                    take(index, is_whole.then_some(&*own));
                }
                at = end;
            }
        }
    }

    /// A hash of the content of each range; `None` where it cannot be read whole.
    pub fn hashes(&mut self, ranges: &[Range<u64>]) -> Vec<Option<u64>> {
        let mut hashes = Vec::with_capacity(ranges.len());
        self.each(ranges, |_, bytes| hashes.push(bytes.map(hash)));
        hashes
    }
}

fn hash(bytes: &[u8]) -> u64 {
    let mut hasher = FxHasher::default();
    hasher.write(bytes);
    hasher.finish()
}

impl Memory for Reader {
    fn read(&mut self, address: u64, into: &mut [u8]) -> usize {
        let remote = RemoteIoVec {
            base: address as usize,
            len: into.len(),
        };
        process_vm_readv(self.pid, &mut [IoSliceMut::new(into)], &[remote]).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Our own memory, with a page in it that is not there.
    #[test]
    fn ranges_that_are_not_there_have_no_hash() {
        let mut reader = Reader::new(std::process::id());
        assert_eq!(reader.refusal(), None);
        let words = [7_u64, 8, 9];
        let start = words.as_ptr() as u64;
        let range = |from: u64, to: u64| start + from..start + to;
        let ranges = [range(0, 8), range(8, 16), 0..8, range(0, 8), range(0, 0)];
        let hashes = reader.hashes(&ranges);
        assert_eq!(hashes[0], hashes[3]);
        assert!(hashes[0].is_some() && hashes[4].is_some());
        assert_ne!(hashes[0], hashes[1]);
        assert_eq!(hashes[2], None);
        assert_eq!((reader.word(start + 8), reader.word(16)), (Some(8), None));
    }
}
