//! Threads whose calls overlap: told in the order of their ends, carried out in another.

use std::ops::Range;

use proptest::prelude::*;

use super::super::*;
use super::model::{PAGES, address};

/// A page as the kernel has it.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Page {
    /// Who mapped it.
    stack: u32,
    reserved: bool,
    /// It has been moved by `mremap`: then its stack may be that of the move.
    moved: bool,
}

/// What a thread has asked for.
#[derive(Clone, Debug)]
enum Ask {
    Map(usize),
    Unmap(Range<usize>),
    Move(Range<usize>, usize),
    Protect(Range<usize>, bool),
}

/// Where a thread's call stands.
#[derive(Clone, Debug)]
enum Stage {
    Entered {
        at: u64,
        ask: Ask,
        stack: u32,
    },
    Done {
        at: u64,
        what: What,
        stack: u32,
        gets: Option<Range<usize>>,
    },
}

/// A kernel and a program with threads that share what they map.
struct Machine {
    pages: Vec<Option<Page>>,
    /// What calls have returned and no call is working on.
    known: Vec<Range<usize>>,
    threads: Vec<Option<Stage>>,
    time: u64,
    stacks: u32,
    told: Vec<Call>,
}

impl Machine {
    fn new(threads: usize) -> Self {
        Self {
            pages: vec![None; PAGES],
            known: Vec::new(),
            threads: vec![None; threads],
            time: 0,
            stacks: 0,
            told: Vec::new(),
        }
    }

    /// One stage of one thread's call.
    fn step(&mut self, thread: usize, wish: &(u8, usize, usize, bool)) {
        self.time += 1;
        self.threads[thread] = match self.threads[thread].take() {
            None => self.enter(wish),
            Some(Stage::Entered { at, ask, stack }) => Some(self.carry_out(at, ask, stack)),
            Some(Stage::Done {
                at,
                what,
                stack,
                gets,
            }) => {
                self.known.extend(gets);
                self.told.push(Call {
                    entered_ns: at,
                    left_ns: self.time,
                    stack,
                    what,
                });
                None
            }
        };
    }

    fn enter(&mut self, (kind, which, len, flag): &(u8, usize, usize, bool)) -> Option<Stage> {
        self.stacks += 1;
        let ask = match kind {
            0..=3 => Ask::Map(*len),
            _ if self.known.is_empty() => return None,
            _ => {
                let whole = self.known.swap_remove(which % self.known.len());
                let part = whole.start..whole.end.min(whole.start + len);
                if part.end < whole.end {
                    self.known.push(part.end..whole.end);
                }
                match kind {
                    4..=6 => Ask::Unmap(part),
                    7 | 8 => Ask::Move(part, *len),
                    _ => Ask::Protect(part, *flag),
                }
            }
        };
        Some(Stage::Entered {
            at: self.time,
            ask,
            stack: self.stacks,
        })
    }

    /// The lowest place, so that freed ranges are given out again at once.
    fn free(&self, len: usize) -> Option<Range<usize>> {
        let fits = |start: &usize| self.pages[*start..start + len].iter().all(Option::is_none);
        (0..=PAGES - len).find(fits).map(|start| start..start + len)
    }

    fn carry_out(&mut self, at: u64, ask: Ask, stack: u32) -> Stage {
        let bytes = |pages: &Range<usize>| pages.len() as u64 * PAGE;
        let nothing = What::Unmap { start: 0, len: 0 };
        let (what, gets) = match ask {
            Ask::Map(len) => match self.free(len) {
                Some(place) => {
                    let page = Page {
                        stack,
                        reserved: false,
                        moved: false,
                    };
                    self.pages[place.clone()].fill(Some(page));
                    let what = What::Map {
                        start: address(place.start),
                        len: bytes(&place),
                        backing: Backing::ANONYMOUS,
                    };
                    (what, Some(place))
                }
                None => (nothing, None),
            },
            Ask::Unmap(range) => {
                self.pages[range.clone()].fill(None);
                (
                    What::Unmap {
                        start: address(range.start),
                        len: bytes(&range),
                    },
                    None,
                )
            }
            Ask::Move(range, len) => match self.free(len) {
                Some(place) => {
                    let last = self.pages[range.end - 1].map(|page| page.reserved);
                    for offset in 0..len {
                        let page = self.pages.get(range.start + offset).copied().flatten();
                        let page = page.filter(|_| offset < range.len());
                        let page = page.unwrap_or(Page {
                            stack,
                            reserved: last.unwrap_or(false),
                            moved: true,
                        });
                        self.pages[place.start + offset] = Some(Page {
                            moved: true,
                            ..page
                        });
                    }
                    self.pages[range.clone()].fill(None);
                    let what = What::Remap {
                        old: address(range.start),
                        old_len: bytes(&range),
                        new: address(place.start),
                        new_len: bytes(&place),
                        keep_old: false,
                        fixed: false,
                    };
                    (what, Some(place))
                }
                None => (nothing, Some(range)),
            },
            Ask::Protect(range, reserved) => {
                self.pages[range.clone()]
                    .iter_mut()
                    .flatten()
                    .for_each(|page| page.reserved = reserved);
                (
                    What::Protect {
                        start: address(range.start),
                        len: bytes(&range),
                        reserved,
                    },
                    Some(range),
                )
            }
        };
        Stage::Done {
            at,
            what,
            stack,
            gets,
        }
    }

    /// Lets all threads finish their calls.
    fn finish(&mut self) {
        for thread in 0..self.threads.len() {
            while self.threads[thread].is_some() {
                self.step(thread, &(0, 0, 1, false));
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Whatever the order, in the end exactly what is mapped is tracked, and by the right call.
    #[test]
    fn overlapping_calls_end_in_the_kernels_state(
        steps in prop::collection::vec((0..3usize, (0..10u8, 0..50usize, 1..5usize, any::<bool>())), 0..120),
    ) {
        let mut machine = Machine::new(3);
        for (thread, wish) in &steps {
            machine.step(*thread, wish);
        }
        machine.finish();
        let mut space = AddressSpace::default();
        machine.told.iter().for_each(|call| space.apply(call));
        for (at, page) in machine.pages.iter().enumerate() {
            let tracked = space.pieces().at(address(at));
            prop_assert_eq!(tracked.is_some(), page.is_some(), "page {}", at);
            if let (Some(tracked), Some(page)) = (tracked, page.filter(|page| !page.moved)) {
                prop_assert_eq!(tracked.origin, Origin::Call(page.stack), "page {}", at);
                prop_assert_eq!(tracked.reserved, page.reserved, "page {}", at);
            }
        }
    }
}
