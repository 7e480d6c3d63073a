//! Stack walks that were done before: where each began, the words of the stack that it read, and the row that it led
//! to.
//!
//! What a walk finds depends on where it begins, on the unwind tables, and on the words that it reads, and on nothing
//! else. So a walk that begins as an earlier one did, by the same tables, and would read the same words, finds the same
//! stack. To compare the words costs a small part of a walk, which has to wait for each word before it knows the
//! address of the next one.

use crate::stack::Registers;

/// Most words of a walk that is remembered: two for each of 32 frames, or one for each of 64.
pub const WORDS: usize = 64;

/// Words that are compared at a time.
pub const CHUNK: usize = 8;

/// Where a walk begins, and what it goes by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Start {
    /// Registers behind the call.
    pub registers: Registers,
    /// Thread-group id, and the number of the set of code in the lower half.
    pub whose: u64,
    /// Generation of the process's unwind tables.
    pub generation: u64,
}

impl Start {
    /// Whose and which code.
    #[inline(always)]
    pub const fn whose(tgid: u32, code: u32) -> u64 {
        (tgid as u64) << 32 | code as u64
    }

    /// Index of the walk in a table of `1 << bits`.
    #[inline(always)]
    pub const fn index(&self, bits: u32) -> u32 {
        let Registers { ip, sp, bp, .. } = self.registers;
        let mixed = ip ^ sp.rotate_left(20) ^ bp.rotate_left(40) ^ self.whose;
        (mixed.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> (64 - bits)) as u32
    }
}

/// The words that a walk has read.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Reads {
    /// Where they are, in words from the start of the part of the stack.
    pub at: [u8; WORDS],
    /// What they are.
    pub words: [u64; WORDS],
}

impl Reads {
    /// Notes the read with this number; those for which there is no room take the place of others.
    #[inline(always)]
    pub fn note(&mut self, number: u32, at: u8, word: u64) {
        let place = number as usize % WORDS;
        self.at[place] = at;
        self.words[place] = word;
    }
}

/// A walk that was done; all zero is none, as no walk begins at address 0.
///
/// All CPUs share them without locks. Whoever writes one makes its version odd before and even again after; whoever
/// reads one looks at the version before and after.
#[derive(Clone, Copy, Debug)]
#[repr(C)]
pub struct Memo {
    /// Odd while it is being written.
    pub version: u32,
    /// Row of the stack.
    pub row: u32,
    /// Where the walk began.
    pub start: Start,
    /// Address of the part of the stack that its words lie in.
    pub base: u64,
    /// Bytes of that part that could be read.
    pub len: u32,
    /// How many words it read, rounded up to whole [`CHUNK`]s by repeating the first one.
    pub count: u32,
    /// The words.
    pub reads: Reads,
}

const _: () = assert!(size_of::<Memo>() == 616 + size_of::<Registers>());
const _: () = assert!(WORDS.is_multiple_of(CHUNK));

impl Memo {
    /// What differs in a chunk of the words between now and then; 0 for nothing. `window` tells the word at a place.
    #[inline(always)]
    pub fn difference(&self, chunk: usize, mut window: impl FnMut(u8) -> u64) -> u64 {
        let mut difference = 0;
        let mut number = 0;
        while number < CHUNK {
            let word = (chunk % (WORDS / CHUNK)) * CHUNK + number;
            difference |= window(self.reads.at[word]) ^ self.reads.words[word];
            number += 1;
        }
        difference
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stack::{End, Memory, step_by_frame_pointer};

    /// Where the part of the stack lies.
    const BASE: u64 = 0x7ffc_0000_0000;
    /// Its words.
    const LEN: usize = 256;

    /// A part of a stack that notes what is read of it.
    struct Noting<'a> {
        words: &'a [u64],
        reads: Reads,
        count: u32,
    }

    impl Memory for Noting<'_> {
        fn read(&mut self, addr: u64) -> Option<u64> {
            let at = addr.checked_sub(BASE)? / 8;
            let word = *self.words.get(at as usize)?;
            self.reads.note(self.count, at as u8, word);
            self.count += 1;
            Some(word)
        }
    }

    fn memory(words: &[u64]) -> Noting<'_> {
        let reads = Reads {
            at: [0; WORDS],
            words: [0; WORDS],
        };
        Noting {
            words,
            reads,
            count: 0,
        }
    }

    fn walk(memory: &mut Noting<'_>) -> (Vec<u64>, End) {
        let mut registers = Registers::behind_call(0x40_0000, BASE, BASE + 8);
        let mut frames = Vec::new();
        loop {
            frames.push(registers.ip);
            if let Err(end) = step_by_frame_pointer(&mut registers, memory) {
                return (frames, end);
            }
        }
    }

    /// The walk as the programs remember it: whole chunks, the rest of the last one being the first word.
    fn remembered(memory: &Noting<'_>) -> Memo {
        let mut reads = memory.reads;
        let count = memory.count.next_multiple_of(CHUNK as u32);
        let (at, word) = (reads.at[0], reads.words[0]);
        (memory.count..count).for_each(|number| reads.note(number, at, word));
        Memo {
            version: 0,
            row: 0,
            start: Start::default(),
            base: BASE,
            len: (LEN * 8) as u32,
            count,
            reads,
        }
    }

    fn differs(memo: &Memo, words: &[u64]) -> bool {
        let mut chunks = 0..memo.count as usize / CHUNK;
        chunks.any(|chunk| memo.difference(chunk, |at| words[at as usize]) != 0)
    }

    proptest! {
        /// Whatever has changed of the stack: if a walk is known by its words, it finds the same stack again.
        #[test]
        fn a_walk_that_is_known_finds_the_same(
            gaps in prop::collection::vec(2_usize..8, 1..30),
            changes in prop::collection::vec((0..LEN, 0_u64..1 << 20), 0..4),
        ) {
            let mut words = vec![0; LEN];
            let mut at = 1;
            for (number, gap) in gaps.iter().enumerate() {
                let is_last = number + 1 == gaps.len();
                words[at] = if is_last { 0 } else { BASE + 8 * (at + gap) as u64 };
                words[at + 1] = if is_last { 0 } else { 0x40_0000 + number as u64 };
                at += gap;
            }
            let mut first = memory(&words);
            let found = walk(&mut first);
            prop_assert!(first.count as usize <= WORDS);
            let memo = remembered(&first);
            prop_assert!(!differs(&memo, &words));
            let mut changed = words.clone();
            changes.iter().for_each(|(at, word)| changed[*at] = *word);
            let read = &memo.reads.at[..first.count as usize];
            let has_changed = read.iter().any(|at| changed[*at as usize] != words[*at as usize]);
            prop_assert_eq!(differs(&memo, &changed), has_changed);
            if !has_changed {
                prop_assert_eq!(walk(&mut memory(&changed)), found);
            }
        }
    }
}
