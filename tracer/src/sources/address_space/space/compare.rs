//! Holds an address space against `/proc/PID/maps`, names the differences and repairs them.
//!
//! The kernel joins neighbouring mappings that are alike and splits them where it must, so pages are compared, not
//! boundaries.

use std::fmt;
use std::ops::Range;

use super::address_space::{AddressSpace, is_of_the_process};
use super::piece::{Kind, Origin, Piece, is_reserved};
use crate::process::maps::Mapping;

/// How tracked and mapped pages differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Unlike {
    /// Mapped, and no call for it is known.
    NotTracked(Kind),
    /// Tracked, and not mapped any more.
    NotMapped(Kind),
    /// Access is allowed here and not there; `true` where the maps allow none.
    Access(bool),
}

/// A range in which tracked and mapped pages differ.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Where.
    pub range: Range<u64>,
    /// How.
    pub unlike: Unlike,
}

impl Difference {
    /// Bytes.
    pub fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Whether there is nothing in it; no difference is empty.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }

    /// The kernel made it without a call: a stack that grew, pages for probes.
    pub fn is_the_kernels_own(&self) -> bool {
        matches!(
            self.unlike,
            Unlike::NotTracked(Kind::Stack | Kind::Kernel) | Unlike::NotMapped(Kind::Kernel)
        )
    }
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Range { start, end } = self.range;
        write!(f, "{start:#x}-{end:#x} ")?;
        match self.unlike {
            Unlike::NotTracked(kind) => write!(f, "is mapped ({}) and not tracked", kind.name()),
            Unlike::NotMapped(kind) => write!(f, "is tracked ({}) and not mapped", kind.name()),
            Unlike::Access(true) => f.write_str("allows no access and is tracked as if it did"),
            Unlike::Access(false) => f.write_str("allows access and is tracked as if it did not"),
        }
    }
}

/// What a repair changed, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Repair {
    /// Mapped without a call that was seen.
    pub found: u64,
    /// Unmapped without a call that was seen.
    pub gone: u64,
    /// Access was changed without a call that was seen.
    pub access: u64,
}

impl Repair {
    /// Whether anything was changed.
    pub fn is_nothing(&self) -> bool {
        *self == Self::default()
    }

    /// Adds another one.
    pub fn add(&mut self, other: Self) {
        self.found += other.found;
        self.gone += other.gone;
        self.access += other.access;
    }
}

impl AddressSpace {
    /// Where the maps differ from what is tracked, by ascending address. Ranges in `unsettled` are left out: calls
    /// changed them while the maps were read.
    pub fn differences(&self, maps: &[Mapping], unsettled: &[Range<u64>]) -> Vec<Difference> {
        let mut found: Vec<Difference> = Vec::new();
        let mut free_from = 0;
        for mapping in maps.iter().filter(|mapping| is_of_the_process(mapping)) {
            self.not_mapped(free_from..mapping.start, &mut found);
            self.unlike(mapping, &mut found);
            free_from = mapping.end;
        }
        self.not_mapped(free_from..u64::MAX, &mut found);
        found.sort_by_key(|difference| difference.range.start);
        let settled = found.into_iter().flat_map(|difference| {
            let unlike = difference.unlike;
            outside(difference.range, unsettled)
                .into_iter()
                .map(move |range| Difference { range, unlike })
        });
        joined(settled)
    }

    /// What is tracked in a range where nothing is mapped.
    fn not_mapped(&self, range: Range<u64>, found: &mut Vec<Difference>) {
        if range.is_empty() {
            return;
        }
        let gone = self.pieces().overlapping(&range).map(|piece| Difference {
            range: piece.part(&range).range(),
            unlike: Unlike::NotMapped(piece.kind),
        });
        found.extend(gone);
    }

    /// What is not tracked of a mapping, or otherwise.
    fn unlike(&self, mapping: &Mapping, found: &mut Vec<Difference>) {
        let range = mapping.start..mapping.end;
        let gaps = self.pieces().gaps(&range).into_iter();
        found.extend(gaps.map(|range| Difference {
            range,
            unlike: Unlike::NotTracked(Kind::of_mapping(mapping)),
        }));
        let reserved = is_reserved(mapping);
        let other = self.pieces().overlapping(&range);
        let other = other.filter(|piece| piece.reserved != reserved);
        found.extend(other.map(|piece| Difference {
            range: piece.part(&range).range(),
            unlike: Unlike::Access(reserved),
        }));
    }

    /// Takes over from the maps what differs, as of this origin; `time_ns` is when they were read.
    pub fn repair(
        &mut self,
        maps: &[Mapping],
        differences: &[Difference],
        origin: Origin,
        time_ns: u64,
    ) -> Repair {
        let mut repair = Repair::default();
        for difference in differences {
            match difference.unlike {
                Unlike::NotMapped(_) => repair.gone += self.remove(&difference.range, u64::MAX),
                Unlike::NotTracked(_) => {
                    repair.found += difference.len();
                    self.adopt(maps, &difference.range, origin, time_ns);
                }
                Unlike::Access(reserved) => {
                    repair.access += difference.len();
                    self.set_reserved(&difference.range, reserved);
                }
            }
        }
        let heap = self.pieces().iter().filter(|piece| piece.kind == Kind::Brk);
        if let (false, Some(end)) = (repair.is_nothing(), heap.map(|piece| piece.end).max()) {
            self.heap_ends_at(end);
        }
        repair
    }

    fn adopt(&mut self, maps: &[Mapping], range: &Range<u64>, origin: Origin, time_ns: u64) {
        let first = maps.partition_point(|mapping| mapping.end <= range.start);
        let mappings = maps[first..].iter();
        for mapping in mappings.take_while(|mapping| mapping.start < range.end) {
            self.place(Piece::of_mapping(mapping, origin, time_ns).part(range));
        }
    }
}

/// What is in both lists: differences that have lasted.
pub fn lasting(before: &[Difference], now: &[Difference]) -> Vec<Difference> {
    let both = |now: &Difference, before: &Difference| {
        let range = now.range.start.max(before.range.start)..now.range.end.min(before.range.end);
        let unlike = now.unlike;
        (unlike == before.unlike && !range.is_empty()).then_some(Difference { range, unlike })
    };
    now.iter()
        .flat_map(|now| before.iter().filter_map(move |before| both(now, before)))
        .collect()
}

/// The parts of a range that none of the others covers.
fn outside(range: Range<u64>, others: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = vec![range];
    for other in others {
        left = left
            .into_iter()
            .flat_map(|part| {
                let before = part.start..part.end.min(other.start);
                let behind = part.start.max(other.end)..part.end;
                [before, behind]
            })
            .filter(|part| !part.is_empty())
            .collect();
    }
    left
}

/// Neighbours that differ in the same way, as one.
fn joined(differences: impl Iterator<Item = Difference>) -> Vec<Difference> {
    let mut joined: Vec<Difference> = Vec::new();
    for difference in differences {
        match joined.last_mut() {
            Some(last)
                if last.range.end == difference.range.start && last.unlike == difference.unlike =>
            {
                last.range.end = difference.range.end;
            }
            _ => joined.push(difference),
        }
    }
    joined
}
