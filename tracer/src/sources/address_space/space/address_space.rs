//! One address space: what each successful call did to its pieces.
//!
//! Calls of several threads come in the order of their ends, which need not be the order in which the kernel carried
//! them out: one thread's `munmap` may end after another's `mmap` has been given the freed range. So a call takes away
//! only what had come to its place before the call began. That is right for every program that does not unmap what
//! another thread is mapping at that moment.

use std::collections::HashMap;
use std::ops::Range;

use super::call::{Backing, Call, What, page_up, pages};
use super::piece::{Kind, Origin, Piece};
use super::pieces::Pieces;
use crate::process::maps::Mapping;

/// What one origin has mapped and lost since the start, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Totals {
    /// Bytes mapped.
    pub mapped: u64,
    /// Bytes of them that are mapped no longer.
    pub unmapped: u64,
}

impl Totals {
    /// Adds the totals of another address space.
    pub fn add(&mut self, other: &Self) {
        self.mapped += other.mapped;
        self.unmapped += other.unmapped;
    }
}

/// An address space, as far as the trace knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AddressSpace {
    pieces: Pieces,
    /// The heap's end, rounded up to a page; `None` until it is known.
    brk: Option<u64>,
    totals: HashMap<Origin, Totals>,
}

impl AddressSpace {
    /// An address space whose maps were read once its calls were already being watched. Calls that are told later but
    /// were made before the read do no harm: whatever they say of a page holds, or is superseded by a call that is told
    /// as well. The exception is a page that moved before the read: whether it allowed access or was of a System V
    /// segment is not known, and the next comparison with the maps repairs what follows from that.
    pub fn from_maps(maps: &[Mapping], start_brk: Option<u64>, time_ns: u64) -> Self {
        let mut space = Self::default();
        let mappings = maps.iter().filter(|mapping| is_of_the_process(mapping));
        for piece in mappings.map(|mapping| Piece::of_mapping(mapping, Origin::Before, time_ns)) {
            space.place(piece);
        }
        let heap = space.pieces.iter().filter(|piece| piece.kind == Kind::Brk);
        space.brk = heap.map(|piece| piece.end).max();
        space.brk = space.brk.or(start_brk.and_then(page_up));
        space
    }

    /// What is mapped, by ascending address.
    pub fn pieces(&self) -> &Pieces {
        &self.pieces
    }

    /// What each origin has mapped and lost.
    pub fn totals(&self) -> &HashMap<Origin, Totals> {
        &self.totals
    }

    /// Where the heap ends, rounded up to a page; `None` until it is known.
    pub fn heap_end(&self) -> Option<u64> {
        self.brk
    }

    /// Bytes mapped.
    pub fn mapped(&self) -> u64 {
        self.pieces.iter().map(Piece::len).sum()
    }

    /// Takes a successful call into account.
    pub fn apply(&mut self, call: &Call) {
        match call.what {
            What::Map {
                start,
                len,
                backing,
            } => {
                if let Some(range) = pages(start, len) {
                    self.map(call, range, &backing);
                }
            }
            What::Unmap { start, len } => {
                if let Some(range) = pages(start, len) {
                    self.remove(&range, call.entered_ns);
                }
            }
            What::Remap {
                old,
                old_len: 0,
                new,
                new_len,
                ..
            } => self.duplicate(call, old, new, new_len),
            What::Remap {
                old,
                old_len,
                new,
                new_len,
                keep_old,
                fixed,
            } => {
                if let (Some(old), Some(new)) = (pages(old, old_len), pages(new, new_len)) {
                    let gaps = fixed && old.end - old.start == new.end - new.start;
                    match keep_old {
                        true => self.double(call, &old, &new, gaps),
                        false => self.remap(call, &old, &new, gaps),
                    }
                }
            }
            What::Break { from, to } => self.set_break(call, from, to),
            What::Protect {
                start,
                len,
                reserved,
            } => {
                if let Some(range) = pages(start, len) {
                    self.pieces
                        .change(&range, call.left_ns, |piece| piece.reserved = reserved);
                }
            }
            What::Detach { start } => self.detach(call, start),
            What::ForkAdvice { start, len, dont } => {
                if let Some(range) = pages(start, len) {
                    self.pieces
                        .change(&range, call.left_ns, |piece| piece.dont_fork = dont);
                }
            }
        }
    }

    /// The address space that a forked child begins with.
    pub fn forked(&self) -> Self {
        let mut child = Self {
            brk: self.brk,
            ..Self::default()
        };
        for piece in self.pieces.iter().filter(|piece| !piece.dont_fork) {
            child.place(*piece);
        }
        child
    }

    /// `mmap`, and what is done like it.
    fn map(&mut self, call: &Call, range: Range<u64>, backing: &Backing) {
        self.remove(&range, call.left_ns);
        self.fill(call, &range, backing);
    }

    /// Maps the parts of a range where nothing is.
    fn fill(&mut self, call: &Call, range: &Range<u64>, backing: &Backing) {
        let origin = Origin::Call(call.stack);
        let whole = Piece {
            start: range.start,
            end: range.end,
            origin,
            mapped_ns: call.left_ns,
            placed_ns: call.left_ns,
            kind: backing.kind,
            reserved: backing.reserved,
            dont_fork: backing.dont_fork,
            file: backing.file,
        };
        for gap in self.pieces.gaps(range) {
            self.place(whole.part(&gap));
        }
    }

    /// `mremap` of pages that are mapped once. With `gaps`, what was not mapped in the old range is not in the new one
    /// either.
    fn remap(&mut self, call: &Call, old: &Range<u64>, new: &Range<u64>, gaps: bool) {
        let kept = (old.end - old.start).min(new.end - new.start);
        let (staying, beyond) = (old.start..old.start + kept, old.start + kept..old.end);
        let last = self.pieces.overlapping(&staying).last().copied();
        let last = last.filter(|piece| piece.placed_ns <= call.entered_ns);
        if !beyond.is_empty() {
            self.remove(&beyond, call.entered_ns);
        }
        let Some(last) = last else {
            // Another call was given the old place and was told first, or the maps were read after the move.
            return self.take_over(call, new);
        };
        if old.start != new.start {
            let to = new.start..new.start + kept;
            if !gaps {
                self.remove(&to, call.left_ns);
            }
            self.shift(call, &staying, &to);
            if !gaps {
                self.fill(call, &to, &continuation(Some(&last), old.start));
            }
        }
        let grown = new.start + kept..new.end;
        if !grown.is_empty() {
            self.map(call, grown, &continuation(Some(&last), old.start + kept));
        }
    }

    /// Moves pages to where the kernel put them. Their stacks and ages stay as they are.
    fn shift(&mut self, call: &Call, from: &Range<u64>, to: &Range<u64>) {
        for piece in self.pieces.take(from, call.entered_ns) {
            let piece = piece.moved(from.start, to.start, call.left_ns);
            self.remove(&piece.range(), call.left_ns);
            // Only a call that was told before this one and made after it can be there still.
            let mut left = piece.len();
            for gap in self.pieces.gaps(&piece.range()) {
                left -= gap.end - gap.start;
                self.pieces.insert(piece.part(&gap));
            }
            self.totals.entry(piece.origin).or_default().unmapped += left;
        }
    }

    /// The call has mapped a range, as what is not known: what is there stays as it is, but for whose it is.
    fn take_over(&mut self, call: &Call, range: &Range<u64>) {
        let there: Vec<Piece> = self.pieces.overlapping(range).copied().collect();
        for piece in there.iter().filter(|piece| piece.placed_ns <= call.left_ns) {
            let part = piece.part(range);
            self.map(call, part.range(), &continuation(Some(&part), part.start));
        }
        self.fill(call, range, &Backing::ANONYMOUS);
    }

    /// `MREMAP_DONTUNMAP`: the range appears a second time, which is this call's doing.
    fn double(&mut self, call: &Call, old: &Range<u64>, new: &Range<u64>, gaps: bool) {
        let models: Vec<Piece> = self
            .pieces
            .overlapping(old)
            .map(|piece| piece.part(old))
            .collect();
        if !gaps {
            self.remove(new, call.left_ns);
        }
        for model in &models {
            let target = model.moved(old.start, new.start, call.left_ns).range();
            self.map(call, target, &continuation(Some(model), model.start));
        }
        if !gaps {
            self.fill(call, new, &continuation(models.last(), old.start));
        }
    }

    /// `mremap` with an old length of 0: shared pages appear a second time.
    fn duplicate(&mut self, call: &Call, old: u64, new: u64, new_len: u64) {
        let model = self.pieces.at(old).copied();
        if let Some(range) = pages(new, new_len) {
            self.map(call, range, &continuation(model.as_ref(), old));
        }
    }

    fn set_break(&mut self, call: &Call, from: Option<u64>, to: u64) {
        let before = from.and_then(page_up).or(self.brk);
        let Some(after) = page_up(to) else {
            return;
        };
        self.brk = Some(after);
        match before {
            Some(before) if before < after => {
                let backing = Backing {
                    kind: Kind::Brk,
                    ..Backing::ANONYMOUS
                };
                self.map(call, before..after, &backing);
            }
            Some(before) if after < before => {
                self.remove(&(after..before), call.entered_ns);
            }
            _ => {}
        }
    }

    /// Takes away the parts of a segment that lie as they were attached: the kernel (ipc/shm.c, ksys_shmdt) goes by the
    /// distance from the given address, which must be the offset in the segment.
    fn detach(&mut self, call: &Call, start: u64) {
        let in_place = |piece: &Piece| {
            let file = piece.file.filter(|_| piece.kind == Kind::Shared)?;
            (piece.start.checked_sub(start)? == file.offset).then_some(file.id)
        };
        let Some(first) = self
            .pieces
            .overlapping(&(start..u64::MAX))
            .find_map(in_place)
        else {
            return;
        };
        let going: Vec<Range<u64>> = self
            .pieces
            .overlapping(&(start..u64::MAX))
            .filter(|piece| in_place(piece) == Some(first))
            .map(Piece::range)
            .collect();
        for range in going {
            self.remove(&range, call.entered_ns);
        }
    }

    /// Adds a piece where nothing is, and to the totals.
    pub(super) fn place(&mut self, piece: Piece) {
        self.totals.entry(piece.origin).or_default().mapped += piece.len();
        self.pieces.insert(piece);
    }

    /// Removes what came to `range` no later than `until_ns`; the bytes removed.
    pub(super) fn remove(&mut self, range: &Range<u64>, until_ns: u64) -> u64 {
        let taken = self.pieces.take(range, until_ns);
        for piece in &taken {
            self.totals.entry(piece.origin).or_default().unmapped += piece.len();
        }
        taken.iter().map(Piece::len).sum()
    }

    /// Changes whether a range allows access, as the maps say.
    pub(super) fn set_reserved(&mut self, range: &Range<u64>, reserved: bool) {
        self.pieces
            .change(range, u64::MAX, |piece| piece.reserved = reserved);
    }

    /// The end of the heap was found to be elsewhere.
    pub(super) fn heap_ends_at(&mut self, end: u64) {
        self.brk = Some(end);
    }
}

/// Pages like a piece's, as they would be at `address` if the piece went on so far.
fn continuation(model: Option<&Piece>, address: u64) -> Backing {
    match model {
        Some(piece) => Backing {
            kind: piece.kind,
            reserved: piece.reserved,
            dont_fork: piece.dont_fork,
            file: piece
                .file
                .map(|file| file.further(address.wrapping_sub(piece.start))),
        },
        None => Backing::ANONYMOUS,
    }
}

/// The vsyscall page is every process's and nobody's.
pub(super) fn is_of_the_process(mapping: &Mapping) -> bool {
    mapping.end <= 1 << 63
}
