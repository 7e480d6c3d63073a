//! The account of each traced program's address space, fed by events and held against the maps.

use std::collections::HashMap;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use tracer_common::key::Owner;
use tracer_common::space::SpaceEvent;

use crate::process::maps::{self, FileId, Mapping, MappingName};
use crate::process::{ProcessError, info};
use crate::report::space::Corrections;
use crate::session::start::monotonic_ns;
use crate::space::{AddressSpace, Decoded, Difference, Kind, Origin, decode, lasting};

/// Between two looks at the maps where they differ: calls that are under way are told by then.
const BETWEEN_LOOKS: Duration = Duration::from_millis(2);
/// Looks at the maps before a difference counts.
const LOOKS: u32 = 3;

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
    /// Something was mapped of which the kernel side could not tell how much, since the last look at the maps.
    unmeasured: bool,
    /// Events lost, all programs together, when the maps were last looked at.
    lost_before: u64,
    /// What calls change while the maps are being read.
    touched: Option<Vec<Range<u64>>>,
}

/// Where differences from the maps come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// The account has just begun: calls were under way.
    Beginning,
    /// Nothing explains them, unless events were lost; how many of all programs by now.
    Running {
        /// Events lost.
        lost: u64,
    },
}

impl Account {
    /// The account of a program whose calls are being told from now on; of a new one, from its first instruction on.
    pub fn begin(owner: Owner, is_new: bool) -> Self {
        let mut account = Self {
            owner,
            ..Self::default()
        };
        if let Ok(mut maps) = maps::read(owner.tgid) {
            if is_new {
                // It began without a heap: what there is by now came by calls that are told.
                maps.retain(|mapping| Kind::of_mapping(mapping) != Kind::Brk);
            }
            // Whatever is told later was done later, or is in the maps already.
            account.space = AddressSpace::from_maps(&maps, info::heap_start(owner.tgid), 0);
            account.learn_names(&maps);
        }
        account
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

    /// Takes over what has been found to differ.
    pub fn correct(&mut self, maps: &[Mapping], differences: &[Difference], cause: Cause) {
        let (origin, lost) = match cause {
            Cause::Beginning => (Origin::Before, None),
            Cause::Running { lost } => (Origin::Found, Some(lost)),
        };
        let explained = |difference: &Difference| difference.is_the_kernels_own();
        let (own, others): (Vec<_>, Vec<_>) = differences.iter().cloned().partition(explained);
        let now = monotonic_ns();
        self.space.repair(maps, &own, origin, now);
        let repair = self.space.repair(maps, &others, origin, now);
        let Some(lost) = lost else {
            return;
        };
        let known = lost > self.lost_before || self.unmeasured;
        self.lost_before = lost;
        self.unmeasured = false;
        if known {
            self.corrections.repaired += repair.found + repair.gone + repair.access;
        } else {
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

/// Holds an account against the maps, and corrects what has differed in several looks. `drain` takes in the calls that were
/// told by now. The differences that were corrected.
pub fn reconcile<T>(
    state: &mut T,
    account: impl Fn(&mut T) -> Option<&mut Account>,
    drain: impl Fn(&mut T),
    cause: Cause,
) -> Vec<Difference> {
    let mut before: Option<Vec<Difference>> = None;
    for look in 0..LOOKS {
        if look > 0 {
            std::thread::sleep(BETWEEN_LOOKS);
        }
        drain(state);
        let Some(looked) = account(state) else { break };
        looked.look_begins();
        let maps = looked.read_maps();
        drain(state);
        let Some(looked) = account(state) else { break };
        let Ok(Some(maps)) = maps else {
            looked.look_fails();
            break;
        };
        let mut differences = looked.look_ends(&maps);
        if let Some(before) = &before {
            differences = lasting(before, &differences);
        }
        if differences.is_empty() || look + 1 == LOOKS {
            looked.correct(&maps, &differences, cause);
            return differences;
        }
        before = Some(differences);
    }
    Vec::new()
}
