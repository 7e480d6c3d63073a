//! Any bytes as unwind tables, registers and stack.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_common::limits::MAX_DEPTH;
use tracer_common::stack::{Memory, Registers};
use tracer_common::unwind::{
    MAPPING_STEPS, Mapping, Position, ROW_STEPS, Range, Rule, Source, Tables, find_rule, unwind,
};

const STACK: u64 = 0x7000_0000;
const CODE: u64 = 0x40_0000;

/// The input as words, cut into the arrays.
struct Input<'a> {
    mappings: &'a [u64],
    buckets: &'a [u64],
    rows: &'a [u64],
    reads: u32,
}

impl Source for Input<'_> {
    fn mapping(&mut self, index: u32) -> Option<Mapping> {
        self.reads += 1;
        let at = index as usize * 2;
        let words = self.mappings.get(at..at + 2)?;
        // Addresses near the code, so that searches find something; the rest as it comes.
        let start = CODE + (words[0] & 0xffff);
        Some(Mapping {
            start,
            end: start + (words[0] >> 16 & 0xffff),
            bias: CODE + (words[0] >> 32 & 0xffff),
            first_bucket: words[1] as u32,
            buckets: (words[1] >> 32) as u32,
        })
    }
    fn bucket(&mut self, index: u32) -> Option<u64> {
        self.reads += 1;
        self.buckets.get(index as usize).copied()
    }
    fn row(&mut self, index: u32) -> Option<u64> {
        self.reads += 1;
        self.rows.get(index as usize).copied()
    }
}

impl Tables for Input<'_> {
    fn rule(&mut self, lookup_address: u64) -> Rule {
        let count = self.mappings.len() as u32 / 2;
        self.reads = 0;
        let rule = find_rule(self, Range { first: 0, count }, lookup_address);
        assert!(self.reads <= MAPPING_STEPS + ROW_STEPS + 3);
        rule
    }
}

struct Stack<'a>(&'a [u64]);

impl Memory for Stack<'_> {
    fn read(&mut self, addr: u64) -> Option<u64> {
        let offset = addr.checked_sub(STACK)?;
        let index = usize::try_from(offset / 8).ok()?;
        (offset & 7 == 0).then(|| self.0.get(index).copied())?
    }
}

fuzz_target!(|data: &[u8]| {
    let words: Vec<u64> = data
        .chunks_exact(8)
        .map(|chunk| u64::from_le_bytes(chunk.try_into().expect("8 bytes")))
        .collect();
    let [sizes, ip, sp, bp, rest @ ..] = words.as_slice() else {
        return;
    };
    let cut = |at: u64, words: &'_ [u64]| (at & 0xff) as usize % (words.len() + 1);
    let (mappings, rest) = rest.split_at(cut(*sizes, rest));
    let (buckets, rest) = rest.split_at(cut(*sizes >> 8, rest));
    let (rows, stack) = rest.split_at(cut(*sizes >> 16, rest));
    let mut tables = Input {
        mappings,
        buckets,
        rows,
        reads: 0,
    };
    let mut registers = Registers {
        ip: CODE + (*ip & 0xffff),
        sp: STACK + (*sp & 0xfff) * 8,
        bp: *bp,
    };
    let mut position = Position((*sizes >> 24) as u32 & 3);
    for _ in 0..MAX_DEPTH {
        let before = (registers, position);
        let step = unwind(
            &mut registers,
            &mut position,
            &mut tables,
            &mut Stack(stack),
        );
        if step.is_err() {
            assert_eq!((registers, position), before);
            return;
        }
        assert!(registers.sp > before.0.sp || position == Position::INSTRUCTION);
    }
});
