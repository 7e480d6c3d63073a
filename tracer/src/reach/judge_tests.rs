//! A small process that moves its pointers while it is read.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::reach::scan::Kind;

/// First addresses of the globals and of the heap; words of each.
const GLOBALS: u64 = 0x10_0000;
const HEAP: u64 = 0x7f00_0000_0000;
/// Lists of the program, each with a global for its head.
const LISTS: usize = 3;
/// Bytes of a block: the pointer to the next one, and one for itself.
const BLOCK: u64 = 32;

/// What the program does, a step at a time: one word is written in each.
#[derive(Clone, Copy, Debug)]
enum Action {
    /// Takes the first block off a list and puts it on another, by way of a register.
    Splice { from: usize, to: usize },
    /// Moves the head of a list into a block that is allocated for it.
    Grow { list: usize },
}

/// What the process does between two reads.
type Step = Box<dyn Fn(&mut Process)>;

struct Process {
    globals: Vec<u64>,
    heap: Vec<u64>,
    register: u64,
    /// Where the head of each list is.
    heads: [u64; LISTS],
    young: Vec<Range<u64>>,
    /// Words that the program still has to write: where, and what.
    todo: Vec<Step>,
    actions: Vec<Action>,
    /// Steps before each read; none when it is over.
    schedule: Vec<u8>,
}

impl Process {
    /// Lists of so many blocks, and so many lost ones behind them, each of which points to the one before.
    fn new(held: u64, lost: u64, actions: Vec<Action>, schedule: Vec<u8>) -> Self {
        let mut process = Self {
            globals: vec![0; LISTS],
            heap: Vec::new(),
            register: 0,
            heads: std::array::from_fn(|list| GLOBALS + list as u64 * 8),
            young: Vec::new(),
            todo: Vec::new(),
            actions,
            schedule,
        };
        for number in 0..held {
            let block = process.allocate();
            let head = process.heads[number as usize % LISTS];
            *process.word(block) = *process.word(head);
            *process.word(head) = block;
        }
        for number in 0..lost {
            let block = process.allocate();
            *process.word(block) = if number > 0 { block - BLOCK } else { 0 };
        }
        process
    }

    fn allocate(&mut self) -> u64 {
        let block = HEAP + self.heap.len() as u64 * 8;
        self.heap.resize(self.heap.len() + BLOCK as usize / 8, 0);
        block
    }

    fn word(&mut self, address: u64) -> &mut u64 {
        match address >= HEAP {
            true => &mut self.heap[((address - HEAP) / 8) as usize],
            false => &mut self.globals[((address - GLOBALS) / 8) as usize],
        }
    }

    fn step(&mut self) {
        if self.todo.is_empty() {
            let Some(action) = self.actions.pop() else {
                return;
            };
            match action {
                Action::Splice { from, to } => self.splice(from, to),
                Action::Grow { list } => self.grow(list),
            }
        }
        if let Some(write) = self.todo.pop() {
            write(self);
        }
    }

    fn splice(&mut self, from: usize, to: usize) {
        let (from, to) = (self.heads[from], self.heads[to]);
        if *self.word(from) == 0 {
            return;
        }
        // In reverse.
        self.todo = vec![
            Box::new(|own| own.register = 0),
            Box::new(move |own| *own.word(to) = own.register),
            Box::new(move |own| {
                let block = own.register;
                *own.word(block) = *own.word(to);
            }),
            Box::new(move |own| {
                let block = own.register;
                *own.word(from) = *own.word(block);
            }),
            Box::new(move |own| own.register = *own.word(from)),
        ];
    }

    fn grow(&mut self, list: usize) {
        let old = self.heads[list];
        let young = self.allocate();
        self.young.push(young..young + BLOCK);
        self.heads[list] = young;
        self.todo = vec![
            Box::new(move |own| *own.word(old) = young),
            Box::new(move |own| *own.word(young) = *own.word(old)),
        ];
    }
}

impl Memory for Process {
    fn read(&mut self, address: u64, into: &mut [u8]) -> usize {
        let steps = self.schedule.pop().unwrap_or(0);
        (0..steps).for_each(|_| self.step());
        for (place, bytes) in into.chunks_exact_mut(8).enumerate() {
            let word = *self.word(address + place as u64 * 8);
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        into.len()
    }
}

impl Target for Process {
    fn parts(&mut self, _blocks: &BlockIndex) -> Result<Vec<Part>, ProcessError> {
        let part = |start: u64, words: usize, kind| Part {
            range: start..start + words as u64 * 8,
            kind,
        };
        Ok(vec![
            part(GLOBALS, self.globals.len(), Kind::Roots(Rank::Module)),
            part(HEAP, self.heap.len(), Kind::Heap),
        ])
    }

    fn words(&mut self) -> Vec<Word> {
        vec![Word {
            rank: Rank::Register,
            place: 0,
            value: self.register,
        }]
    }

    fn newer(&mut self) -> Vec<Range<u64>> {
        self.young.clone()
    }

    fn may_hold(&mut self, _place: u64) -> bool {
        false
    }

    fn contents(&mut self, ranges: &[Range<u64>]) -> Vec<Option<u64>> {
        let mut content = |range: &Range<u64>| {
            let words = range.clone().step_by(8);
            Some(words.fold(0, |hash: u64, at| {
                (hash ^ *self.word(at)).wrapping_mul(0x100_0000_01b3)
            }))
        };
        ranges.iter().map(&mut content).collect()
    }

    fn pause(&mut self) -> Duration {
        Duration::ZERO
    }
}

fn blocks(process: &Process) -> BlockIndex {
    let starts: Vec<u64> = (0..process.heap.len() as u64 * 8 / BLOCK)
        .map(|number| HEAP + number * BLOCK)
        .collect();
    let mut all = Starts::new(process.heap.len() as u64 * 8, 1).expect("room");
    assert!(starts.iter().all(|start| all.add(*start)));
    let mut index = all.finish().expect("room");
    (0..index.count()).for_each(|number| index.set_size(number, BLOCK));
    index
}

fn lost(process: &mut Process, limits: Limits) -> BTreeSet<u32> {
    let index = blocks(process);
    // Small pieces, so that the program goes on in the middle of a list.
    let plan = Plan { limits, piece: 64 };
    let judgment = judge(process, index, &[], &plan).expect("judged");
    let lost = judgment.lost(|_| true);
    lost.tops.iter().map(|(block, _)| *block).collect()
}

fn action() -> impl Strategy<Value = Action> {
    prop_oneof![
        8 => (0..LISTS, 0..LISTS).prop_map(|(from, to)| Action::Splice { from, to }),
        1 => (0..LISTS).prop_map(|list| Action::Grow { list }),
    ]
}

proptest! {
    /// However the program moves its pointers: what is lost is never said to be held, and when it has been still for
    /// one pass nothing that is held is said to be lost, whatever was seen before.
    #[test]
    fn all_that_was_seen_counts(
        held in 1_u64..16,
        planted in 0_u64..4,
        actions in prop::collection::vec(action(), 0..40),
        schedule in prop::collection::vec(0_u8..6, 0..60),
    ) {
        let wanted: BTreeSet<u32> = (held as u32..(held + planted) as u32).collect();
        let mut process = Process::new(held, planted, actions, schedule);
        let forever = Limits { quiet: 100, passes: 80, time: Duration::from_secs(60) };
        prop_assert_eq!(lost(&mut process, forever), wanted);
    }

    /// The same, but the passes end early: what is lost is found all the same.
    #[test]
    fn what_is_lost_is_found(
        held in 1_u64..16,
        planted in 0_u64..4,
        actions in prop::collection::vec(action(), 0..40),
        schedule in prop::collection::vec(0_u8..6, 0..60),
    ) {
        let wanted: BTreeSet<u32> = (held as u32..(held + planted) as u32).collect();
        let mut process = Process::new(held, planted, actions, schedule);
        prop_assert!(lost(&mut process, Limits::DEFAULT).is_superset(&wanted));
    }
}
