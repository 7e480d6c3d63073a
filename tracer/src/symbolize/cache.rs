//! Frames that were symbolized before, by program image and address. Bounded.

use std::collections::HashMap;
use std::sync::Arc;

use tracer_common::key::Owner;

use super::{Frame, FrameAddress};

type Entries = HashMap<(Owner, FrameAddress), Arc<[Frame]>>;

/// Symbolized addresses: for each its frame, with those inlined into it before it.
///
/// Two generations stand in for a strict order of use: an entry that is used moves to the young one; when that is
/// half the capacity, the old one is dropped and the young one takes its place.
#[derive(Debug)]
pub struct SymbolCache {
    young: Entries,
    old: Entries,
    generation: usize,
}

impl SymbolCache {
    /// An empty cache for at most `capacity` addresses (and at least two).
    pub fn new(capacity: usize) -> SymbolCache {
        let generation = (capacity / 2).max(1);
        SymbolCache {
            young: Entries::new(),
            old: Entries::new(),
            generation,
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
        if self.young.len() >= self.generation {
            self.old = std::mem::take(&mut self.young);
        }
        self.young.insert((owner, address), frames);
    }

    /// Forgets all of one program image.
    pub fn forget(&mut self, owner: Owner) {
        self.young.retain(|(key, _), _| *key != owner);
        self.old.retain(|(key, _), _| *key != owner);
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
        let mut cache = SymbolCache::new(100);
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
        let mut cache = SymbolCache::new(10);
        for address in 0..1000 {
            cache.insert(A, at(address), Arc::from([]));
            assert!(cache.get(A, at(0)).is_some(), "in use, after {address}");
            assert!(cache.len() <= 10);
        }
        assert!(cache.get(A, at(500)).is_none());
    }
}
