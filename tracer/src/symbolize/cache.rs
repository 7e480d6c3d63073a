//! Frames that were symbolized before, by program image and address. Bounded in bytes.

use std::collections::HashMap;
use std::sync::Arc;

use tracer_common::key::Owner;

use super::{Frame, FrameAddress};

type Entries = HashMap<(Owner, FrameAddress), Arc<[Frame]>>;

/// Symbolized addresses: for each its frame, with those inlined into it before it.
///
/// Two generations stand in for a strict order of use: an entry that is used moves to the young one; when that has
/// half the capacity, the old one is dropped and the young one takes its place.
#[derive(Debug)]
pub struct SymbolCache {
    young: Entries,
    old: Entries,
    /// Bytes of the young generation.
    young_bytes: usize,
    /// Bytes that a generation may have.
    generation_bytes: usize,
}

impl SymbolCache {
    /// An empty cache that holds about `bytes` at the most.
    pub fn new(bytes: usize) -> SymbolCache {
        let (young, old) = (Entries::new(), Entries::new());
        SymbolCache {
            young,
            old,
            young_bytes: 0,
            generation_bytes: bytes / 2,
        }
    }

    /// The frames of an address, innermost first, if they are known.
    pub fn get(&mut self, owner: Owner, address: FrameAddress) -> Option<Arc<[Frame]>> {
        let key = (owner, address);
        if let Some(frames) = self.young.get(&key) {
            return Some(Arc::clone(frames));
        }
        let frames = self.old.remove(&key)?;
        self.insert(owner, address, Arc::clone(&frames));
        Some(frames)
    }

    /// Remembers the frames of an address.
    pub fn insert(&mut self, owner: Owner, address: FrameAddress, frames: Arc<[Frame]>) {
        let bytes = size(&frames);
        if self.young_bytes + bytes > self.generation_bytes {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        if let Some(replaced) = self.young.insert((owner, address), frames) {
            self.young_bytes -= size(&replaced);
        }
    }

    /// Forgets all of one program image.
    pub fn forget(&mut self, owner: Owner) {
        self.young.retain(|(key, _), _| *key != owner);
        self.old.retain(|(key, _), _| *key != owner);
        self.young_bytes = self.young.values().map(|frames| size(frames)).sum();
    }

    /// Number of addresses that are known.
    pub fn len(&self) -> usize {
        self.young.len() + self.old.len()
    }

    /// Whether no address is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes that an entry takes, about.
fn size(frames: &[Frame]) -> usize {
    /// What the allocator keeps beside a block of its own.
    const BLOCK: usize = 16;
    let text = |length: Option<usize>| length.map_or(0, |length| length + BLOCK);
    let frame = |frame: &Frame| {
        size_of::<Frame>()
            + text(frame.symbol.as_ref().map(String::len))
            + text(frame.module.as_ref().map(|path| path.as_os_str().len()))
            + text(frame.build_id.as_ref().map(String::len))
            + text(frame.file.as_ref().map(|path| path.as_os_str().len()))
    };
    // A hash table is a quarter to a half empty.
    let slot = 2 * size_of::<((Owner, FrameAddress), Arc<[Frame]>)>();
    slot + BLOCK + frames.iter().map(frame).sum::<usize>()
}

#[cfg(test)]
mod tests {
    use super::*;

    const A: Owner = Owner { tgid: 1, image: 1 };
    const B: Owner = Owner { tgid: 1, image: 2 };

    fn at(address: u64) -> FrameAddress {
        FrameAddress::ReturnAddress(address)
    }

    #[test]
    fn keeps_owners_and_kinds_apart() {
        let mut cache = SymbolCache::new(1 << 20);
        cache.insert(A, at(5), Arc::from([Frame::default()]));
        assert!(cache.get(A, at(5)).is_some());
        assert!(cache.get(B, at(5)).is_none());
        assert!(cache.get(A, FrameAddress::InstructionPointer(5)).is_none());
        cache.insert(B, at(5), Arc::from([]));
        cache.forget(A);
        assert!(cache.get(A, at(5)).is_none() && cache.get(B, at(5)).is_some());
    }

    #[test]
    fn is_bounded_and_keeps_what_is_used() {
        let frame = Frame {
            symbol: Some("x".repeat(1000)),
            ..Frame::default()
        };
        let frames: Arc<[Frame]> = Arc::from([frame]);
        let most = 20_000 / size(&frames);
        let mut cache = SymbolCache::new(20_000);
        for address in 0..1000 {
            cache.insert(A, at(address), Arc::clone(&frames));
            assert!(cache.get(A, at(0)).is_some(), "in use, after {address}");
            assert!(cache.len() <= most, "{} after {address}", cache.len());
        }
        assert!(cache.len() > most / 2 - 2 && cache.get(A, at(500)).is_none());
        cache.forget(A);
        assert!(cache.is_empty() && cache.young_bytes == 0);
    }
}
