//! Any sequence of calls leaves each page as a model with one entry for each page has it.

use std::collections::HashMap;

use proptest::prelude::*;

use super::super::*;
use crate::process::maps::{FileId, Mapping, MappingName};

/// First page of the model.
pub const BASE: u64 = 0x10_0000;
/// Pages of the model.
pub const PAGES: usize = 40;

/// What the model knows of a page.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Page {
    pub origin: Origin,
    pub mapped_ns: u64,
    pub kind: Kind,
    pub reserved: bool,
    pub dont_fork: bool,
    pub file: Option<FilePart>,
}

/// One entry for each page.
#[derive(Clone, Debug)]
pub struct Model {
    pub pages: Vec<Option<Page>>,
    brk: Option<usize>,
}

impl Default for Model {
    fn default() -> Self {
        Self {
            pages: vec![None; PAGES],
            brk: None,
        }
    }
}

pub fn address(page: usize) -> u64 {
    BASE + page as u64 * PAGE
}

fn index(address: u64) -> usize {
    ((address - BASE) / PAGE) as usize
}

fn page_count(len: u64) -> usize {
    len.div_ceil(PAGE) as usize
}

/// A file at `pages` pages further on.
fn further(file: Option<FilePart>, pages: i64) -> Option<FilePart> {
    file.map(|file| FilePart {
        offset: file.offset.wrapping_add_signed(pages * PAGE as i64),
        ..file
    })
}

impl Model {
    pub fn apply(&mut self, call: &Call) {
        let new_page = |backing: &Backing, pages: i64| {
            Some(Page {
                origin: Origin::Call(call.stack),
                mapped_ns: call.left_ns,
                kind: backing.kind,
                reserved: backing.reserved,
                dont_fork: backing.dont_fork,
                file: further(backing.file, pages),
            })
        };
        match call.what {
            What::Map {
                start,
                len,
                backing,
            } => {
                for at in 0..page_count(len) {
                    self.pages[index(start) + at] = new_page(&backing, at as i64);
                }
            }
            What::Unmap { start, len } => {
                self.pages[index(start)..][..page_count(len)].fill(None);
            }
            What::Protect {
                start,
                len,
                reserved,
            } => {
                let pages = &mut self.pages[index(start)..][..page_count(len)];
                pages
                    .iter_mut()
                    .flatten()
                    .for_each(|page| page.reserved = reserved);
            }
            What::ForkAdvice { start, len, dont } => {
                let pages = &mut self.pages[index(start)..][..page_count(len)];
                pages
                    .iter_mut()
                    .flatten()
                    .for_each(|page| page.dont_fork = dont);
            }
            What::Break { from, to } => {
                let to = page_count(to - BASE);
                let from = from.map(|from| page_count(from - BASE)).or(self.brk);
                let backing = Backing {
                    kind: Kind::Brk,
                    ..Backing::ANONYMOUS
                };
                for at in from.unwrap_or(to)..to {
                    self.pages[at] = new_page(&backing, 0);
                }
                if let Some(from) = from.filter(|from| to < *from) {
                    self.pages[to..from].fill(None);
                }
                self.brk = Some(to);
            }
            What::Remap {
                old,
                old_len,
                new,
                new_len,
                keep_old,
                ..
            } => {
                let (old, new) = (index(old), index(new));
                let (old_len, new_len) = (page_count(old_len), page_count(new_len));
                if old_len == 0 {
                    let model = self.pages[old];
                    for at in 0..new_len {
                        self.pages[new + at] = self.like(call, model, at as i64);
                    }
                    return;
                }
                let moving = self.pages[old..old + old_len.min(new_len)].to_vec();
                let last = moving.len() - 1;
                let like_last =
                    |model: &Self, at: usize| model.like(call, moving[last], (at - last) as i64);
                if !keep_old && old != new {
                    self.pages[old..old + old_len].fill(None);
                }
                if old == new && new_len < old_len {
                    self.pages[old + new_len..old + old_len].fill(None);
                }
                for at in 0..new_len {
                    let page = match moving.get(at) {
                        Some(_) if old == new => continue,
                        Some(Some(page)) if keep_old => self.like(call, Some(*page), 0),
                        Some(Some(page)) => Some(*page),
                        Some(None) => continue,
                        None => like_last(self, at),
                    };
                    self.pages[new + at] = page;
                }
            }
            What::Detach { start } => {
                let in_place = |(at, page): (usize, &Option<Page>)| {
                    let page = page.filter(|page| page.kind == Kind::Shared)?;
                    let file = page.file?;
                    (address(at).checked_sub(start)? == file.offset).then_some(file.id)
                };
                let first = self.pages.iter().enumerate().find_map(in_place);
                let gone: Vec<bool> = self
                    .pages
                    .iter()
                    .enumerate()
                    .map(|page| first.is_some() && in_place(page) == first)
                    .collect();
                for (page, gone) in self.pages.iter_mut().zip(gone) {
                    *page = page.filter(|_| !gone);
                }
            }
        }
    }

    /// Whether the kernel would carry the call out: pages that are to move must be there.
    fn allows(&self, what: &What) -> bool {
        let What::Remap {
            old,
            old_len,
            new_len,
            fixed,
            ..
        } = *what
        else {
            return true;
        };
        let pages = &self.pages[index(old)..][..page_count(old_len).max(1)];
        let some_are_enough = fixed && page_count(old_len) == page_count(new_len);
        match some_are_enough {
            true => pages.iter().any(Option::is_some),
            false => pages.iter().all(Option::is_some),
        }
    }

    /// A page that the call makes in the likeness of another, `pages` further on.
    fn like(&self, call: &Call, model: Option<Page>, pages: i64) -> Option<Page> {
        Some(Page {
            origin: Origin::Call(call.stack),
            mapped_ns: call.left_ns,
            file: further(model?.file, pages),
            ..model?
        })
    }

    /// The model as the kernel would print it: pages that are alike are one mapping, as far as maps tell them apart.
    pub fn maps(&self) -> Vec<Mapping> {
        let mut maps: Vec<Mapping> = Vec::new();
        for (at, page) in self.pages.iter().enumerate() {
            let Some(page) = page else { continue };
            let next = mapping(at, page);
            match maps.last_mut() {
                Some(last)
                    if last.end == next.start
                        && last.name == next.name
                        && last.read == next.read
                        && last.file == next.file
                        && (next.file.inode == 0
                            || last.offset.wrapping_add(last.end - last.start) == next.offset) =>
                {
                    last.end = next.end;
                }
                _ => maps.push(next),
            }
        }
        maps
    }
}

fn mapping(at: usize, page: &Page) -> Mapping {
    let name = match page.kind {
        Kind::Brk => MappingName::Special("[heap]".into()),
        Kind::Stack => MappingName::Special("[stack]".into()),
        Kind::Kernel => MappingName::Special("[vdso]".into()),
        Kind::Anonymous => MappingName::Anonymous,
        Kind::File => MappingName::File {
            path: "/some/file".into(),
            deleted: false,
        },
        Kind::Shared => MappingName::File {
            path: "/SYSV00000000".into(),
            deleted: true,
        },
    };
    Mapping {
        start: address(at),
        end: address(at + 1),
        read: !page.reserved,
        write: false,
        execute: false,
        shared: page.kind == Kind::Shared,
        offset: page.file.map_or(0, |file| file.offset),
        file: page.file.map_or(
            FileId {
                dev: (0, 0),
                inode: 0,
            },
            |file| file.id,
        ),
        name,
    }
}

/// The account's pages, as the model has them.
pub fn pages_of(space: &AddressSpace) -> Vec<Option<Page>> {
    let page = |at: usize| {
        let piece = space.pieces().at(address(at))?;
        let within = ((address(at) - piece.start) / PAGE) as i64;
        Some(Page {
            origin: piece.origin,
            mapped_ns: piece.mapped_ns,
            kind: piece.kind,
            reserved: piece.reserved,
            dont_fork: piece.dont_fork,
            file: further(piece.file, within),
        })
    };
    (0..PAGES).map(page).collect()
}

fn spans() -> impl Strategy<Value = (usize, usize)> {
    (0..PAGES - 1, 1usize..12).prop_map(|(start, len)| (start, len.min(PAGES - start)))
}

/// A length that the kernel rounds up to so many pages.
fn length(pages: usize, short_by: u64) -> u64 {
    pages as u64 * PAGE - short_by
}

fn backings() -> impl Strategy<Value = Backing> {
    let file = (1u64..4, 0u64..8).prop_map(|(inode, page)| FilePart {
        id: FileId { dev: (8, 1), inode },
        offset: page * PAGE,
    });
    (0..4, any::<bool>(), file).prop_map(|(kind, reserved, file)| match kind {
        0 => Backing {
            kind: Kind::File,
            reserved,
            file: Some(file),
            dont_fork: false,
        },
        1 => Backing {
            kind: Kind::Shared,
            reserved: false,
            file: Some(FilePart { offset: 0, ..file }),
            dont_fork: false,
        },
        _ => Backing {
            reserved,
            ..Backing::ANONYMOUS
        },
    })
}

fn remaps() -> impl Strategy<Value = What> {
    let flags = (any::<bool>(), any::<bool>(), 0..6, 0..PAGE);
    (spans(), spans(), flags).prop_map(|(old, new, (moves, fixed, odd, short_by))| {
        let overlap = old.0 < new.0 + new.1.max(old.1) && new.0 < old.0 + old.1;
        // The kernel takes no overlap, so a move that would overlap happens in place.
        let moves = moves && !overlap && new.0 + old.1 <= PAGES;
        let keep_old = moves && odd == 0;
        let twice = moves && odd == 1;
        let new_start = if moves { new.0 } else { old.0 };
        let new_len = if keep_old { old.1 } else { new.1 };
        What::Remap {
            old: address(old.0),
            old_len: if twice { 0 } else { length(old.1, short_by) },
            new: address(new_start),
            new_len: length(new_len.min(PAGES - new_start), short_by),
            keep_old,
            fixed: moves && fixed,
        }
    })
}

/// Calls of all kinds, anywhere in the model.
pub fn whats() -> impl Strategy<Value = What> {
    let maps =
        (spans(), 0..PAGE, backings()).prop_map(|((start, len), short_by, backing)| What::Map {
            start: address(start),
            len: length(len, short_by),
            backing,
        });
    let unmaps = (spans(), 0..PAGE).prop_map(|((start, len), short_by)| What::Unmap {
        start: address(start),
        len: length(len, short_by),
    });
    let protects = (spans(), any::<bool>()).prop_map(|((start, len), reserved)| What::Protect {
        start: address(start),
        len: length(len, 0),
        reserved,
    });
    let advice = (spans(), any::<bool>()).prop_map(|((start, len), dont)| What::ForkAdvice {
        start: address(start),
        len: length(len, 0),
        dont,
    });
    let breaks = (0..PAGES as u64 * PAGE).prop_map(|to| What::Break {
        from: None,
        to: BASE + to,
    });
    let detaches = (0..PAGES).prop_map(|at| What::Detach { start: address(at) });
    prop_oneof![4 => maps, 3 => unmaps, 2 => protects, 1 => advice, 2 => breaks, 1 => detaches, 4 => remaps()]
}

/// Calls one after the other, each by a stack of its own.
pub fn calls(whats: &[What]) -> Vec<Call> {
    (1..)
        .zip(whats)
        .map(|(turn, what)| Call {
            entered_ns: 10 * u64::from(turn),
            left_ns: 10 * u64::from(turn) + 5,
            stack: turn,
            what: *what,
        })
        .collect()
}

/// Calls that the kernel would not refuse, one after the other, each by a stack of its own.
pub fn possible(whats: &[What]) -> Vec<Call> {
    let mut model = Model::default();
    let mut calls = calls(whats);
    calls.retain(|call| {
        let possible = model.allows(&call.what);
        if possible {
            model.apply(call);
        }
        possible
    });
    calls
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    /// Every page, and what each call has mapped and lost.
    #[test]
    fn every_page_is_as_in_the_model(whats in prop::collection::vec(whats(), 0..30)) {
        let (mut space, mut model) = (AddressSpace::default(), Model::default());
        for call in possible(&whats) {
            space.apply(&call);
            model.apply(&call);
            prop_assert_eq!(pages_of(&space), model.pages.clone(), "after {:?}", call.what);
            let mut live: HashMap<Origin, u64> = HashMap::new();
            for page in model.pages.iter().flatten() {
                *live.entry(page.origin).or_default() += PAGE;
            }
            for (origin, totals) in space.totals() {
                prop_assert_eq!(totals.mapped - totals.unmapped, live.remove(origin).unwrap_or(0));
            }
            prop_assert!(live.is_empty());
            prop_assert_eq!(space.differences(&model.maps(), &[]), []);
        }
    }

    /// A child has its parent's pages but those it was not to get, and from then on its own.
    #[test]
    fn a_child_has_its_parents_pages(before in prop::collection::vec(whats(), 0..15), after in prop::collection::vec(whats(), 0..5)) {
        let (mut parent, mut model) = (AddressSpace::default(), Model::default());
        let calls = possible(&[before.clone(), after].concat());
        let (first, then) = calls.split_at(before.len().min(calls.len()));
        for call in first {
            parent.apply(call);
            model.apply(call);
        }
        let mut child = parent.forked();
        model.pages.iter_mut().for_each(|page| *page = page.filter(|page| !page.dont_fork));
        let frozen = parent.clone();
        for call in then {
            // The child has not all that its parent has.
            if !model.allows(&call.what) {
                continue;
            }
            child.apply(call);
            model.apply(call);
        }
        prop_assert_eq!(pages_of(&child), model.pages);
        prop_assert_eq!(parent, frozen);
    }

    /// Maps that are read while calls go on: the calls from before the read are told as well, and change nothing in the
    /// end.
    #[test]
    fn calls_from_before_the_maps_were_read_do_no_harm(
        whats in prop::collection::vec(whats(), 1..30), begin: prop::sample::Index, read: prop::sample::Index,
    ) {
        // A gap that is given to another call before the maps are read would be taken for pages that moved.
        let whats: Vec<What> = whats.into_iter().filter(|what| !matches!(what, What::Remap { fixed: true, .. })).collect();
        let calls = possible(&whats);
        let read = read.index(calls.len() + 1);
        let begin = begin.index(read + 1);
        let mut model = Model::default();
        calls[..read].iter().for_each(|call| model.apply(call));
        let start_brk = model.brk.map(address);
        let mut space = AddressSpace::from_maps(&model.maps(), start_brk, 10 * begin as u64 + 6);
        calls[read..].iter().for_each(|call| model.apply(call));
        // Each call says where the heap ended before it. The first one moves nothing, as it does in the model.
        let mut brk = None;
        for (turn, call) in calls.iter().enumerate() {
            let mut call = *call;
            if let What::Break { from, to } = &mut call.what {
                *from = brk.or(Some(*to));
                brk = Some(*to);
            }
            if turn >= begin {
                space.apply(&call);
            }
        }
        let mut differences = space.differences(&model.maps(), &[]);
        // Of pages that moved before the maps were read it is not known whether they allowed access, nor whether they
        // were of a segment, so that a detach took them along: the next comparison repairs that, and nothing is left of
        // it.
        if calls[begin..read].iter().any(|call| matches!(call.what, What::Remap { .. })) {
            let is_access = |difference: &Difference| matches!(difference.unlike, Unlike::Access(_));
            let is_detached = calls[begin..].iter().any(|call| matches!(call.what, What::Detach { .. }));
            prop_assert!(is_detached || differences.iter().all(is_access), "{:?}", differences);
            space.repair(&model.maps(), &differences, Origin::Before, u64::MAX);
            differences = space.differences(&model.maps(), &[]);
        }
        prop_assert_eq!(differences, []);
    }
}
