//! The account of each traced program's address space, fed by events and held against the maps.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use tracer_common::key::Owner;
use tracer_common::space::SpaceEvent;

use super::space::{AddressSpace, Decoded, Difference, Kind, Origin, decode, lasting};
use crate::engine::monotonic_ns;
use crate::process::maps::{self, FileId, Mapping, MappingName};
use crate::process::{ProcessError, info};

/// Between the first two looks at the maps where they differ, and twice as long each time: calls that are under way are
/// told by then. A thread that the kernel has stopped between the change and its telling may take a few of its time
/// slices, or until its cgroup may run again (100 ms, kernel/sched/core.c, default_cfs_period).
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);
/// Looks at the maps before a difference counts: 126 ms after the first.
const LOOKS: u32 = 7;

/// What the maps showed and no call had reported, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Corrections {
    /// Mapped.
    pub found: u64,
    /// Not mapped any more.
    pub gone: u64,
    /// Access was other.
    pub access: u64,
    /// Found where events were known to be lost; not counted above.
    pub repaired: u64,
}

impl Corrections {
    /// Whether nothing was corrected but what is known to have been lost.
    pub const fn are_explained(&self) -> bool {
        self.found + self.gone + self.access == 0
    }
}

/// The address space of one program.
#[derive(Default)]
pub struct Account {
    /// Whose.
    pub owner: Owner,
    /// What is mapped.
    pub space: AddressSpace,
    /// How it was found to differ from the maps.
    pub corrections: Corrections,
    /// Paths of the files in it, as the maps showed them.
    pub names: HashMap<FileId, PathBuf>,
    /// Calls told.
    pub calls: u64,
    /// The program has ended; what is left is its last state.
    pub over: bool,
    /// Whether the maps have been read, or those of the parent that it was forked from: what it began with is known.
    pub map_known: bool,
    /// When it was forked from a parent whose ranges it has a copy of: `CLOCK_MONOTONIC`, nanoseconds.
    pub born_ns: Option<u64>,
    /// Whether the account has agreed with the maps once, or was corrected. Until then calls may have been under way
    /// when it began.
    settled: bool,
    /// Something was mapped of which the kernel side could not tell how much, since the last look at the maps.
    unmeasured: bool,
    /// Events lost, all programs together, when the maps were last looked at.
    lost_before: u64,
    /// What calls change while the maps are being read.
    touched: Option<Vec<Range<u64>>>,
}

impl Account {
    /// The account of a program whose calls are being told from now on, and whose maps were read after that; of a new
    /// one, from its first instruction on. So many events of all programs were lost before.
    pub fn begin(owner: Owner, maps: &[Mapping], is_new: bool, lost: u64) -> Self {
        let heap_start = match maps.is_empty() {
            true => None,
            false => info::heap_start(owner.tgid),
        };
        // It began without a heap: what there is by now came by calls that are told.
        let was_there = |mapping: &&Mapping| !is_new || Kind::of_mapping(mapping) != Kind::Brk;
        // Whatever is told later was done later, or is in the maps already.
        let maps_then: Vec<Mapping> = maps.iter().filter(was_there).cloned().collect();
        let mut account = Self {
            owner,
            space: AddressSpace::from_maps(&maps_then, heap_start, 0),
            // Those of a program that is ending are empty.
            map_known: !maps.is_empty(),
            lost_before: lost,
            ..Self::default()
        };
        account.learn_names(maps);
        account
    }

    /// The account of a child that has just been forked: it has a copy of all ranges, with their stacks and ages.
    pub fn fork(&self, child: Owner, time_ns: u64) -> Self {
        Self {
            owner: child,
            space: self.space.forked(),
            names: self.names.clone(),
            map_known: self.map_known,
            born_ns: Some(time_ns),
            lost_before: self.lost_before,
            ..Self::default()
        }
    }

    /// Takes a call into account.
    pub fn apply(&mut self, event: &SpaceEvent, huge_page: u64) {
        self.calls += 1;
        match decode(event, huge_page) {
            Some(Decoded::Known(call)) => {
                if let Some(touched) = &mut self.touched {
                    let ranges = call.what.touches(self.space.heap_end());
                    touched.extend(ranges.into_iter().filter(|range| !range.is_empty()));
                }
                self.space.apply(&call);
            }
            Some(Decoded::Unmeasured) => self.unmeasured = true,
            None => {}
        }
    }

    /// From here on what calls change is noted, since the maps are about to be read.
    pub fn look_begins(&mut self) {
        self.touched = Some(Vec::new());
    }

    /// Reads the maps; those of a program that is ending are no answer.
    pub fn read_maps(&self) -> Result<Option<Vec<Mapping>>, ProcessError> {
        let maps = maps::read(self.owner.tgid)?;
        Ok((!maps.is_empty()).then_some(maps))
    }

    /// The maps could not be read: the program is ending.
    pub fn look_fails(&mut self) {
        self.touched = None;
    }

    /// Where the maps differ, but for what calls have changed since the look began.
    pub fn look_ends(&mut self, maps: &[Mapping]) -> Vec<Difference> {
        let mut touched = self.touched.take().unwrap_or_default();
        touched.sort_by_key(|range| range.start);
        self.learn_names(maps);
        self.space.differences(maps, &touched)
    }

    /// Takes over what has been found to differ; so many events of all programs are lost by now. What the first look
    /// finds was there at the beginning: calls were under way.
    pub fn correct(&mut self, maps: &[Mapping], differences: &[Difference], lost: u64) {
        let known = lost > self.lost_before || self.unmeasured;
        let is_beginning = !self.settled && !known;
        let origin = match is_beginning {
            true => Origin::Before,
            false => Origin::Found,
        };
        let explained = |difference: &Difference| difference.is_the_kernels_own();
        let (own, others): (Vec<_>, Vec<_>) = differences.iter().cloned().partition(explained);
        let now = monotonic_ns();
        self.space.repair(maps, &own, origin, now);
        let repair = self.space.repair(maps, &others, origin, now);
        self.settled = true;
        self.map_known = true;
        self.lost_before = lost;
        self.unmeasured = false;
        if known {
            self.corrections.repaired += repair.found + repair.gone + repair.access;
        } else if !is_beginning {
            self.corrections.found += repair.found;
            self.corrections.gone += repair.gone;
            self.corrections.access += repair.access;
        }
    }

    fn learn_names(&mut self, maps: &[Mapping]) {
        for mapping in maps.iter().filter(|mapping| mapping.file.inode != 0) {
            if let MappingName::File { path, .. } = &mapping.name
                && !self.names.contains_key(&mapping.file)
            {
                self.names.insert(mapping.file, path.clone());
            }
        }
    }
}

/// An account that is held against the maps, and how it differed when they were read last.
struct Looked {
    owner: Owner,
    before: Option<Vec<Difference>>,
}

/// Holds accounts against the maps, and corrects what has differed in several looks. All are looked at, then those
/// again that differ. `drain` takes in the calls that were told by now, `lost` tells how many events of all programs
/// were lost by now. The differences that were corrected.
pub fn reconcile<T>(
    state: &mut T,
    owners: impl IntoIterator<Item = Owner>,
    account: impl Fn(&mut T, Owner) -> Option<&mut Account>,
    drain: impl Fn(&mut T),
    lost: impl Fn(&T) -> u64,
) -> Vec<(Owner, Difference)> {
    let mut corrected = Vec::new();
    let lost_before = lost(state);
    let owners = owners.into_iter();
    let mut looked: Vec<Looked> = owners
        .map(|owner| Looked {
            owner,
            before: None,
        })
        .collect();
    for look in 1..=LOOKS {
        if looked.is_empty() {
            break;
        }
        if look > 1 {
            std::thread::sleep(BETWEEN_LOOKS * (1 << (look - 2)));
        }
        let all = std::mem::take(&mut looked);
        for Looked { owner, before } in all {
            drain(state);
            let Some(maps) = account(state, owner).and_then(look_at_maps) else {
                continue;
            };
            drain(state);
            let Some(looked_at) = account(state, owner) else {
                continue;
            };
            let mut differences = looked_at.look_ends(&maps);
            if let Some(before) = &before {
                differences = lasting(before, &differences);
            }
            if differences.is_empty() {
                looked_at.correct(&maps, &[], lost_before);
            } else if look < LOOKS {
                looked.push(Looked {
                    owner,
                    before: Some(differences),
                });
            } else {
                let lost = lost(state);
                if let Some(account) = account(state, owner) {
                    account.correct(&maps, &differences, lost);
                }
                let told = differences.into_iter();
                corrected.extend(told.map(|difference| (owner, difference)));
            }
        }
    }
    corrected
}

/// Reads the maps, and has noted what calls change meanwhile; `None` if the program is ending.
fn look_at_maps(account: &mut Account) -> Option<Vec<Mapping>> {
    account.look_begins();
    match account.read_maps() {
        Ok(Some(maps)) => Some(maps),
        _ => {
            account.look_fails();
            None
        }
    }
}
