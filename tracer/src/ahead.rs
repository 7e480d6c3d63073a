//! Visits things a little later than they come, so that the CPU fetches meanwhile what each visit will need: looking up
//! millions of blocks one after the other misses the caches with each.

use std::collections::VecDeque;

/// How many look-ups ahead the CPU is told of.
pub const AHEAD: usize = 16;

/// The last things that came.
pub struct Ahead<T> {
    waiting: VecDeque<T>,
}

impl<T> Default for Ahead<T> {
    fn default() -> Self {
        Self {
            waiting: VecDeque::with_capacity(AHEAD + 1),
        }
    }
}

impl<T> Ahead<T> {
    /// Takes in another one, and gives back the one that came [`AHEAD`] before it.
    pub fn push(&mut self, one: T) -> Option<T> {
        self.waiting.push_back(one);
        if self.waiting.len() > AHEAD {
            self.waiting.pop_front()
        } else {
            None
        }
    }

    /// Those that still wait, in order.
    pub fn rest(self) -> impl Iterator<Item = T> {
        self.waiting.into_iter()
    }
}

/// Bytes of a cache line.
const LINE: usize = 64;

/// Lets the CPU fetch a record.
pub fn prefetch<T>(record: &T) {
    let first = (&raw const *record).cast::<i8>();
    let last = size_of::<T>().saturating_sub(1);
    for offset in (0..last).step_by(LINE).chain([last]) {
        fetch(first.wrapping_add(offset));
    }
}

#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn fetch(address: *const i8) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: prefetching reads nothing that the program could see, whatever the address.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(address) };
}

#[cfg(target_arch = "aarch64")]
#[inline(always)]
fn fetch(address: *const i8) {
    // SAFETY: as on x86-64.
    unsafe {
        std::arch::asm!(
            "prfm pldl1keep, [{0}]",
            in(reg) address,
            options(nostack, preserves_flags, readonly)
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_come_in_order() {
        for count in [0, 1, AHEAD, AHEAD + 1, 100] {
            let mut ahead = Ahead::default();
            let mut seen: Vec<usize> = (0..count).filter_map(|one| ahead.push(one)).collect();
            assert_eq!(seen.len(), count.saturating_sub(AHEAD));
            seen.extend(ahead.rest());
            assert_eq!(seen, (0..count).collect::<Vec<_>>());
        }
    }
}
