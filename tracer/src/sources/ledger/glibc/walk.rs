//! Walks one piece of heap from its first chunk to its top, checking each chunk, while the program goes on using it.
//!
//! Memory is read in windows, so what lies in one window is nearly of one moment, and two windows are not. Where a
//! chunk contradicts its neighbours, the window is read again, then the ones before it. What still does not add up is
//! passed over: the walk goes on at the next address from which many chunks in a row make sense, and the bytes between
//! are counted as not understood. Too many of these, and the walk ends with a sentence. It moves forward by at least 16
//! bytes each time, so it ends, whatever it reads.

use std::collections::VecDeque;
use std::time::Instant;

use super::chunk::{FENCE, Header, trimmable};
use super::lists::Hints;
use super::used::UsedChunks;
use crate::sources::ledger::memory::{Memory, PAGE, ReadError, Window};

/// First size of a window; it doubles while chunks are small.
const LEAST_WINDOW: usize = 64 << 10;
/// Largest window.
const MOST_WINDOW: usize = 1 << 20;
/// States kept to go back to.
const CHECKPOINTS: usize = 4;
/// Chunks in a row that must make sense where the walk goes on behind a gap.
const CHAIN: usize = 24;
/// Gaps after which the walk ends.
const MOST_GAPS: u32 = 256;
/// Bytes searched for the ends of all gaps.
const MOST_SEARCHED: u64 = 128 << 20;
/// How many of the largest free chunks are told.
pub const LARGEST: usize = 5;

/// Why a walk ended early.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Trouble {
    /// Something contradicts itself.
    #[error("{address:#x} {what}")]
    Inconsistent {
        /// Where.
        address: u64,
        /// What is wrong, as the end of a sentence.
        what: &'static str,
    },
    /// There was no more time.
    #[error("at {0:#x} the time for it was over")]
    Late(u64),
    /// Memory could not be read.
    #[error(transparent)]
    Read(#[from] ReadError),
}

impl Trouble {
    /// Something contradicts itself.
    pub const fn new(address: u64, what: &'static str) -> Self {
        Self::Inconsistent { address, what }
    }
}

/// What a walk counted, in bytes of chunks, headers included.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// In chunks that are in use as far as the heap itself knows: thread caches and fast bins included.
    pub used: u64,
    /// Number of these.
    pub used_chunks: u64,
    /// In free chunks.
    pub free: u64,
    /// Number of these.
    pub free_chunks: u64,
    /// In the chunk at the end, which grows.
    pub top: u64,
    /// In headers that fence off the end of a piece.
    pub fences: u64,
    /// Passed over, since it did not add up.
    pub unknown: u64,
    /// Free or top, and in no page of memory.
    pub free_untouched: u64,
    /// In pages of memory that `malloc_trim` would give back.
    pub trimmable: u64,
    /// Largest free chunks, descending.
    pub largest: [u64; LARGEST],
}

impl Tally {
    /// All bytes.
    pub const fn total(&self) -> u64 {
        self.used + self.free + self.top + self.fences + self.unknown
    }

    /// Adds another walk's.
    pub fn add(&mut self, other: &Self) {
        self.used += other.used;
        self.used_chunks += other.used_chunks;
        self.free += other.free;
        self.free_chunks += other.free_chunks;
        self.top += other.top;
        self.fences += other.fences;
        self.unknown += other.unknown;
        self.free_untouched += other.free_untouched;
        self.trimmable += other.trimmable;
        other.largest.iter().for_each(|size| self.offer(*size));
    }

    /// Keeps a size if it is among the largest.
    fn offer(&mut self, size: u64) {
        if size > self.largest[LARGEST - 1] {
            let place = self.largest.partition_point(|larger| *larger >= size);
            self.largest[place..].rotate_right(1);
            self.largest[place] = size;
        }
    }
}

/// What to walk: a piece of heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// Its first chunk.
    pub first: u64,
    /// It is the main arena's.
    pub main: bool,
}

/// Where a piece ends at the moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// The arena's top, in this piece or not.
    pub top: u64,
    /// End of the usable memory.
    pub end: u64,
}

/// A state to go back to.
#[derive(Clone, Copy)]
struct State {
    /// The next chunk.
    at: u64,
    /// The chunk before it and its header; what it is, the next one says.
    previous: Option<(u64, Header)>,
    tally: Tally,
}

/// How a stretch of the walk ended.
enum Step {
    /// The next chunk's header is outside the window.
    Window,
    /// The piece is walked.
    Done,
    /// The chunk at `State::at` makes no sense.
    Wrong(&'static str),
    /// Behind a fence, where the main arena may go on: somebody else moved the end of the data.
    Fence,
}

/// A walk over one piece.
pub struct Walk<'a, M> {
    memory: &'a mut M,
    piece: Piece,
    bounds: Bounds,
    window: Window,
    hints: &'a mut Hints,
    used: &'a mut UsedChunks,
    deadline: Instant,
    /// Bytes that may still be searched for the ends of gaps.
    to_search: u64,
}

impl<'a, M: Memory> Walk<'a, M> {
    /// A walk over a piece, which adds to the hints.
    pub fn new(
        memory: &'a mut M,
        piece: Piece,
        bounds: Bounds,
        hints: &'a mut Hints,
        used: &'a mut UsedChunks,
        deadline: Instant,
    ) -> Self {
        Self {
            memory,
            piece,
            bounds,
            window: Window::default(),
            hints,
            used,
            deadline,
            to_search: MOST_SEARCHED,
        }
    }

    /// Walks. `bounds_now` tells where the piece ends; with `true` it may take its time.
    ///
    /// What was counted until there was trouble is returned with it.
    pub fn run(
        mut self,
        mut bounds_now: impl FnMut(&mut M, bool) -> Result<Bounds, ReadError>,
    ) -> (Tally, Option<Trouble>) {
        let mut state = State {
            at: self.piece.first,
            previous: None,
            tally: Tally::default(),
        };
        let trouble = self.all(&mut state, &mut bounds_now).err();
        (state.tally, trouble)
    }

    fn all(
        &mut self,
        state: &mut State,
        bounds_now: &mut impl FnMut(&mut M, bool) -> Result<Bounds, ReadError>,
    ) -> Result<(), Trouble> {
        let mut checkpoints: VecDeque<State> = VecDeque::with_capacity(CHECKPOINTS);
        let mut size = LEAST_WINDOW;
        let (mut farthest_wrong, mut retries, mut gaps) = (0, 0, 0);
        loop {
            if state.at > farthest_wrong {
                retries = 0;
            }
            let jumped = state.at > self.window.end() + PAGE;
            size = if jumped {
                LEAST_WINDOW
            } else {
                (size * 2).min(MOST_WINDOW)
            };
            if checkpoints.len() == CHECKPOINTS {
                checkpoints.pop_front();
            }
            checkpoints.push_back(*state);
            if Instant::now() > self.deadline {
                return Err(Trouble::Late(state.at));
            }
            let step = match self.load(state.at, size) {
                Ok(()) => self.walk_window(state)?,
                Err(error) if error.is_final() => return Err(error.into()),
                Err(_) => Step::Wrong("is not mapped any more"),
            };
            let wrong = match step {
                Step::Done => return Ok(()),
                Step::Window => {
                    self.bounds = bounds_now(self.memory, false)?;
                    continue;
                }
                Step::Fence => {
                    if !self.piece.main || !self.resume_behind_fence(state)? {
                        return Ok(());
                    }
                    checkpoints.clear();
                    continue;
                }
                Step::Wrong(what) => what,
            };
            farthest_wrong = farthest_wrong.max(state.at);
            self.bounds = bounds_now(self.memory, true)?;
            retries += 1;
            if retries <= CHECKPOINTS {
                // This window once more, then from the ones before it.
                checkpoints.truncate(checkpoints.len() - (retries - 1).min(checkpoints.len() - 1));
                if let Some(earlier) = checkpoints.pop_back() {
                    *state = earlier;
                    let from = earlier.previous.map_or(earlier.at, |(chunk, _)| chunk);
                    self.used.forget(from..farthest_wrong);
                }
                self.window = Window::default();
                continue;
            }
            gaps += 1;
            if gaps > MOST_GAPS {
                return Err(Trouble::new(state.at, wrong));
            }
            self.pass_over(state, wrong)?;
            checkpoints.clear();
            retries = 0;
        }
    }

    fn load(&mut self, at: u64, size: usize) -> Result<(), ReadError> {
        let room = self.bounds.end.saturating_sub(at);
        if room < 16 {
            return Err(ReadError::Unmapped(at));
        }
        let size = usize::try_from(room).map_or(size, |room| room.min(size));
        self.window.load(self.memory, at, size)
    }

    /// Walks on while the headers are in the window.
    fn walk_window(&mut self, state: &mut State) -> Result<Step, Trouble> {
        while self.window.covers(state.at, 16) {
            let header = match self.window.word(state.at + 8) {
                Ok(word) => Header(word),
                Err(error @ ReadError::Swapped(_)) => return Err(error.into()),
                Err(_) => return Ok(Step::Wrong("is a chunk without memory")),
            };
            if header.ends_heap() && !self.piece.main {
                // What is before it is too small to be a chunk of its own, and is never used.
                let before = state.previous.take();
                state.tally.fences += FENCE + before.map_or(0, |(_, own)| own.size());
                return Ok(Step::Done);
            }
            if let Err(what) = self.settle(state, header)? {
                return Ok(Step::Wrong(what));
            }
            let size = header.size();
            let room = self.bounds.end.saturating_sub(state.at);
            if size == FENCE {
                state.tally.fences += 2 * FENCE;
                state.at += 2 * FENCE;
                return Ok(Step::Fence);
            }
            if !header.is_sane(room) {
                return Ok(Step::Wrong("is a chunk of an impossible size"));
            }
            // The chunk that ends where the memory ends is the top, even if the arena had another one a moment ago.
            if state.at == self.bounds.top || size == room {
                self.count_top(&mut state.tally, state.at, size)?;
                return Ok(Step::Done);
            }
            self.hints.note(&self.window, state.at, size);
            state.previous = Some((state.at, header));
            state.at += size;
        }
        Ok(Step::Window)
    }

    /// Counts the chunk before `state.at`, whose state the header there tells; or what is wrong.
    fn settle(
        &mut self,
        state: &mut State,
        header: Header,
    ) -> Result<Result<(), &'static str>, Trouble> {
        let Some((chunk, own)) = state.previous else {
            return Ok(Ok(()));
        };
        let size = own.size();
        if header.previous_in_use() {
            if own.in_thread_arena() == self.piece.main {
                return Ok(Err("follows a chunk of another arena"));
            }
            state.tally.used += size;
            state.tally.used_chunks += 1;
            self.used.add(chunk, size);
        } else {
            match self.window.word(state.at) {
                Ok(told) if told == size => {}
                Err(error @ ReadError::Swapped(_)) => return Err(error.into()),
                _ => return Ok(Err("follows a free chunk of another size")),
            }
            state.tally.free += size;
            state.tally.free_chunks += 1;
            state.tally.offer(size);
            if let Some((start, end)) = trimmable(chunk, size) {
                let resident = self.memory.resident(start, end)?;
                state.tally.trimmable += resident;
                state.tally.free_untouched += end - start - resident;
            }
        }
        state.previous = None;
        Ok(Ok(()))
    }

    /// Counts the top. `malloc_trim` gives the main arena's back, but for the last of its bytes.
    fn count_top(&mut self, tally: &mut Tally, top: u64, size: u64) -> Result<(), ReadError> {
        let pages = top.next_multiple_of(PAGE);
        let resident = self.memory.resident(pages, top + size)?;
        tally.top += size;
        tally.free_untouched += (top + size).saturating_sub(pages).saturating_sub(resident);
        let spare = size.saturating_sub(33);
        let spare = spare - spare % PAGE;
        if self.piece.main && spare > 0 {
            tally.trimmable += self.memory.resident(top + size - spare, top + size)?;
        }
        Ok(())
    }

    /// Behind a fence in the middle of the `brk` heap: finds where the arena goes on. False where it does not.
    fn resume_behind_fence(&mut self, state: &mut State) -> Result<bool, Trouble> {
        if state.at >= self.bounds.end || self.bounds.top < state.at {
            return Ok(false);
        }
        let Some(next) = self.next_chain(state.at)? else {
            return Ok(false);
        };
        state.tally.unknown += next - state.at;
        state.at = next;
        Ok(true)
    }

    /// Goes on behind what makes no sense.
    fn pass_over(&mut self, state: &mut State, wrong: &'static str) -> Result<(), Trouble> {
        let from = state.previous.map_or(state.at, |(chunk, _)| chunk);
        let Some(next) = self.next_chain(state.at + 16)? else {
            return Err(Trouble::new(state.at, wrong));
        };
        state.tally.unknown += next - from;
        state.previous = None;
        state.at = next;
        Ok(())
    }

    /// The first address from `from` on where a chain of chunks begins.
    fn next_chain(&mut self, from: u64) -> Result<Option<u64>, Trouble> {
        let mut at = from.next_multiple_of(16);
        while at < self.bounds.end && self.to_search > 0 {
            self.to_search -= 16;
            if !self.window.covers(at, 16) {
                match self.load(at, MOST_WINDOW) {
                    Ok(()) => {}
                    Err(error) if error.is_final() => return Err(error.into()),
                    Err(_) => return Ok(None),
                }
            }
            if self.is_chain(at) {
                return Ok(Some(at));
            }
            at += 16;
        }
        Ok(None)
    }

    /// Whether many chunks in a row make sense, or fewer lead to the top.
    fn is_chain(&mut self, first: u64) -> bool {
        let (mut at, mut previous) = (first, None);
        for _ in 0..CHAIN {
            let Some(header) = self.word(at + 8).map(Header) else {
                return false;
            };
            let room = self.bounds.end.saturating_sub(at);
            if !header.is_sane(room) {
                return false;
            }
            if let Some(size) = previous
                && !header.previous_in_use()
                && self.word(at) != Some(size)
            {
                return false;
            }
            if at == self.bounds.top || header.size() == room {
                return true;
            }
            previous = Some(header.size());
            at += header.size();
        }
        true
    }

    /// A word, from the window if it has it: a chain may lead out of it.
    fn word(&mut self, address: u64) -> Option<u64> {
        let word = if self.window.covers(address, 8) {
            self.window.word(address)
        } else {
            self.memory.word(address)
        };
        word.ok()
    }
}
