//! Page faults: who brings pages into memory, by a sample, by stack and by what was touched.

mod write;

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use tracer_common::faults::{FaultEvent, FaultKind, PROTECTION, WRITE, weight};
use tracer_common::key::Owner;

use super::address_space::space::{AddressSpace, Kind, Origin, PAGE};
use crate::process::maps::FileId;
use crate::process::pagemap::PageMap;
use crate::profile::{KernelFaults, Measure, Values};

/// A stack grows by no more than this at one touch (the gap that the kernel keeps below stacks, and large frames).
const STACK_GROWTH: u64 = 8 << 20;

/// Bytes of a huge page on x86-64, as the kernel gives it unasked.
const HUGE_PAGE: u64 = 2 << 20;

/// What was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Place {
    kind: Option<Kind>,
    file: Option<FileId>,
    origin: Option<Origin>,
}

/// Sums of the sample's weights.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Sums {
    faults: f64,
    major: f64,
    new_bytes: f64,
    /// Of `faults`: each fault is in the sample or not, by a chance known before, and stands for as many as that says.
    variance: f64,
    samples: u64,
}

impl Sums {
    fn add(&mut self, other: &Self) {
        self.faults += other.faults;
        self.major += other.major;
        self.new_bytes += other.new_bytes;
        self.variance += other.variance;
        self.samples += other.samples;
    }

    fn take(&mut self, other: &Self) {
        self.faults -= other.faults;
        self.new_bytes -= other.new_bytes;
        self.variance -= other.variance;
        self.samples -= other.samples;
    }

    /// As values: estimates, unless each fault was seen.
    fn values(&self) -> Values {
        Values::default()
            .with(Measure::FaultsCount, whole(self.faults))
            .with(Measure::FaultsMajor, whole(self.major))
            .with(Measure::FaultsNewBytes, self.new_bytes())
            .with(Measure::FaultsError, whole(self.variance.max(0.0).sqrt()))
            .with(Measure::FaultsSamples, self.samples)
    }

    /// Bytes of whole pages.
    fn new_bytes(&self) -> u64 {
        whole(self.new_bytes / PAGE as f64) * PAGE
    }
}

fn whole(value: f64) -> u64 {
    value.round().max(0.0) as u64
}

/// Time after which a page that was touched is there, as a rule: a huge one is cleared first.
const SERVED_NS: u64 = 2_000_000;
/// Time after which a page that is not there has come and gone.
const GIVEN_UP_NS: u64 = 1_000_000_000;

/// A fault that may have brought in a huge page.
struct Unmeasured {
    time_ns: u64,
    /// When to look.
    due_ns: u64,
    address: u64,
    stack: (Owner, u32),
    place: Place,
    weight: f64,
}

/// The fault of a thread that was told last: what came of it may still be told.
struct Last {
    stack: (Owner, u32),
    place: Place,
    sums: Sums,
}

/// The faults of all programs.
#[derive(Default)]
pub(super) struct Faults {
    stacks: HashMap<(Owner, u32), HashMap<Place, Sums>>,
    /// By process and thread.
    last: HashMap<(Owner, u32), Last>,
    /// Programs of which a fault was told.
    met: HashSet<Owner>,
    /// Of each program, the kernel's count when its account began.
    counted: HashMap<Owner, KernelFaults>,
    unmeasured: Vec<Unmeasured>,
    /// Where it is seen whether a page that came is a huge one.
    page_maps: HashMap<u32, PageMap>,
    /// Memory that each stack had brought in at the last report.
    before: HashMap<(Owner, u32), u64>,
}

impl Faults {
    /// Takes what was told of a fault into account; `space` is what was mapped at that time. Whether it is the first of
    /// its program.
    pub fn apply(&mut self, event: &FaultEvent, space: &AddressSpace) -> bool {
        let thread = (event.owner, event.tid);
        match FaultKind::from_raw(event.kind) {
            Some(FaultKind::Touched) => {
                let stack = (event.owner, event.stack);
                let place = place(space, event.address);
                let weight = weight(event.interval);
                let sums = Sums {
                    faults: weight,
                    major: 0.0,
                    new_bytes: match brings_in(place.kind, u64::from(event.error)) {
                        true => weight * PAGE as f64,
                        false => 0.0,
                    },
                    variance: weight * (weight - 1.0),
                    samples: 1,
                };
                self.sums(stack, place).add(&sums);
                if sums.new_bytes > 0.0 && has_room_for_huge(space, event.address) {
                    self.unmeasured.push(Unmeasured {
                        time_ns: event.time_ns,
                        due_ns: event.time_ns + SERVED_NS,
                        address: event.address,
                        stack,
                        place,
                        weight,
                    });
                }
                self.last.insert(thread, Last { stack, place, sums });
            }
            Some(FaultKind::WasMajor) => {
                if let Some(last) = self.last.remove(&thread) {
                    let weight = last.sums.faults;
                    let sums = self.sums(last.stack, last.place);
                    sums.major += weight;
                    if last.sums.new_bytes == 0.0 {
                        // What comes back from the swap is memory, although it is only read.
                        sums.new_bytes += weight * PAGE as f64;
                    }
                }
            }
            Some(FaultKind::WasNone) => {
                if let Some(last) = self.last.remove(&thread) {
                    self.sums(last.stack, last.place).take(&last.sums);
                }
            }
            None => {}
        }
        self.met.insert(event.owner)
    }

    /// Looks which of the pages that were touched some time before `now` are huge ones.
    pub fn measure(&mut self, now: u64) {
        for mut fault in std::mem::take(&mut self.unmeasured) {
            if fault.due_ns > now {
                self.unmeasured.push(fault);
                continue;
            }
            let tgid = fault.stack.0.tgid;
            let map = match self.page_maps.entry(tgid) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) => match PageMap::open(tgid) {
                    Ok(map) => new.insert(map),
                    Err(_) => continue, // it has ended
                },
            };
            let age = now.saturating_sub(fault.time_ns);
            match map.is_huge(fault.address) {
                Some(true) => {
                    let more = fault.weight * (HUGE_PAGE - PAGE) as f64;
                    self.sums(fault.stack, fault.place).new_bytes += more;
                }
                None if age < GIVEN_UP_NS => {
                    fault.due_ns = now + 4 * age;
                    self.unmeasured.push(fault);
                }
                Some(false) | None => {}
            }
        }
    }

    fn sums(&mut self, stack: (Owner, u32), place: Place) -> &mut Sums {
        let places = self.stacks.entry(stack).or_default();
        places.entry(place).or_default()
    }

    /// A program begins to be traced, unless it is already: what the kernel counts from here on is of the trace.
    pub fn begin(&mut self, owner: Owner) {
        if !self.counted.contains_key(&owner) {
            self.counted
                .extend(counters(owner.tgid).map(|counted| (owner, counted)));
        }
    }

    /// Rows of the stacks that mapped what was touched.
    pub fn mappers(&self) -> impl Iterator<Item = u32> {
        let places = self.stacks.values().flat_map(HashMap::keys);
        places.filter_map(|place| match place.origin {
            Some(Origin::Call(row)) => Some(row),
            Some(Origin::Before | Origin::Found) | None => None,
        })
    }

    /// A program is not reported any more.
    pub fn forget(&mut self, tgid: u32) {
        self.stacks.retain(|(owner, _), _| owner.tgid != tgid);
        self.last.retain(|(owner, _), _| owner.tgid != tgid);
        self.before.retain(|(owner, _), _| owner.tgid != tgid);
        self.counted.retain(|owner, _| owner.tgid != tgid);
        self.met.retain(|owner| owner.tgid != tgid);
        self.close(tgid);
    }

    /// A program is over: its page map is another one's, if any.
    pub fn close(&mut self, tgid: u32) {
        self.page_maps.remove(&tgid);
        self.unmeasured.retain(|fault| fault.stack.0.tgid != tgid);
    }

    /// What the kernel has counted since the beginning, of all programs; `None` where one of them is gone.
    fn kernel(&self) -> Option<KernelFaults> {
        let mut sum = KernelFaults::default();
        for (owner, before) in &self.counted {
            let now = counters(owner.tgid)?;
            sum.minor += now.minor.saturating_sub(before.minor);
            sum.major += now.major.saturating_sub(before.major);
        }
        Some(sum)
    }
}

/// What lies at an address that was touched.
fn place(space: &AddressSpace, address: u64) -> Place {
    if let Some(piece) = space.pieces().at(address) {
        return Place {
            kind: Some(piece.kind),
            file: piece.file.map(|file| file.id),
            origin: Some(piece.origin),
        };
    }
    // The kernel lets the first thread's stack grow where it is touched below its end.
    let above = address..address.saturating_add(STACK_GROWTH);
    let next = space.pieces().overlapping(&above).next();
    let stack = next.filter(|piece| piece.kind == Kind::Stack);
    Place {
        kind: stack.map(|piece| piece.kind),
        file: None,
        origin: stack.map(|piece| piece.origin),
    }
}

/// Whether a huge page may lie around an address: only mapped memory is.
fn has_room_for_huge(space: &AddressSpace, address: u64) -> bool {
    let start = address & !(HUGE_PAGE - 1);
    space.pieces().gaps(&(start..start + HUGE_PAGE)).is_empty()
}

/// Whether a fault brings in a page that counts as memory of the process: one that was not there. Private memory that
/// is only read gets the page of zeros, which counts nowhere; a page that may not be written yet is replaced by a copy
/// of it.
fn brings_in(kind: Option<Kind>, error: u64) -> bool {
    let is_written = error & WRITE != 0;
    error & PROTECTION == 0
        && match kind {
            Some(Kind::Brk | Kind::Anonymous | Kind::Stack) | None => is_written,
            Some(Kind::File | Kind::Shared) => true,
            Some(Kind::Kernel) => false,
        }
}

/// What the kernel has counted for a process.
fn counters(pid: u32) -> Option<KernelFaults> {
    let process = procfs::process::Process::new(pid.cast_signed()).ok()?;
    let stat = process.stat().ok()?;
    Some(KernelFaults {
        minor: stat.minflt,
        major: stat.majflt,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::address_space::space::{Backing, Call, What};

    const OWNER: Owner = Owner { tgid: 7, image: 1 };
    const START: u64 = 0x7f00_0000_0000;

    fn space() -> AddressSpace {
        let mut space = AddressSpace::default();
        let map = |start, kind, stack| Call {
            entered_ns: 1,
            left_ns: 2,
            stack,
            what: What::Map {
                start,
                len: 16 * PAGE,
                backing: Backing {
                    kind,
                    reserved: false,
                    dont_fork: false,
                    file: None,
                },
            },
        };
        space.apply(&map(START, Kind::Anonymous, 9001));
        space.apply(&map(START + (1 << 30), Kind::Stack, 9002));
        space
    }

    fn touched(address: u64, error: u64, interval: u32) -> FaultEvent {
        FaultEvent {
            address,
            owner: OWNER,
            stack: 9000,
            tid: 70,
            interval,
            error: error as u32,
            kind: FaultKind::Touched as u32,
            ..FaultEvent::default()
        }
    }

    fn outcome(kind: FaultKind) -> FaultEvent {
        FaultEvent {
            kind: kind as u32,
            ..touched(0, 0, 0)
        }
    }

    fn only(faults: &Faults) -> (Place, Sums) {
        let places = &faults.stacks[&(OWNER, 9000)];
        assert_eq!(places.len(), 1, "{places:?}");
        places
            .iter()
            .next()
            .map(|(place, sums)| (*place, *sums))
            .expect("one")
    }

    /// Faults, major ones, bytes of new memory, standard error, samples.
    fn amounts(sums: &Sums) -> [u64; 5] {
        let values = sums.values();
        [
            Measure::FaultsCount,
            Measure::FaultsMajor,
            Measure::FaultsNewBytes,
            Measure::FaultsError,
            Measure::FaultsSamples,
        ]
        .map(|measure| values.amount(measure))
    }

    #[test]
    fn a_touch_belongs_to_its_range_and_its_call() {
        let mut faults = Faults::default();
        faults.apply(&touched(START + 5, WRITE, 1), &space());
        let (place, sums) = only(&faults);
        assert_eq!(place.kind, Some(Kind::Anonymous));
        assert_eq!(place.origin, Some(Origin::Call(9001)));
        assert_eq!(amounts(&sums), [1, 0, PAGE, 0, 1]);
    }

    #[test]
    fn a_sample_stands_for_many_with_its_error() {
        let mut faults = Faults::default();
        for _ in 0..100 {
            faults.apply(&touched(START, WRITE, 100), &space());
        }
        assert_eq!(
            amounts(&only(&faults).1),
            [10_050, 0, 10_050 * PAGE, 1000, 100]
        );
    }

    /// Pages of zeros, copies, code of the kernel's own.
    #[test]
    fn not_each_fault_is_new_memory() {
        for (kind, error, expected) in [
            (Kind::Anonymous, WRITE, true),
            (Kind::Anonymous, 0, false),
            (Kind::Anonymous, WRITE | PROTECTION, false),
            (Kind::File, 0, true),
            (Kind::File, WRITE | PROTECTION, false),
            (Kind::Kernel, 0, false),
        ] {
            assert_eq!(brings_in(Some(kind), error), expected, "{kind:?} {error}");
        }
    }

    #[test]
    fn what_comes_from_the_swap_is_major_and_new() {
        let mut faults = Faults::default();
        faults.apply(&touched(START, 0, 2), &space());
        faults.apply(&outcome(FaultKind::WasMajor), &space());
        // Told twice, or of a fault that was lost.
        faults.apply(&outcome(FaultKind::WasMajor), &space());
        let [faults, major, new_bytes, ..] = amounts(&only(&faults).1);
        assert_eq!((faults, major, new_bytes), (3, 3, 3 * PAGE));
    }

    #[test]
    fn what_was_no_fault_leaves_nothing() {
        let mut faults = Faults::default();
        faults.apply(&touched(START, WRITE, 50), &space());
        faults.apply(&outcome(FaultKind::WasNone), &space());
        assert_eq!(only(&faults).1, Sums::default());
    }

    #[test]
    fn a_stack_grows_below_its_end() {
        let end = START + (1 << 30);
        assert_eq!(place(&space(), end - 100).kind, Some(Kind::Stack));
        assert_eq!(place(&space(), end - (64 << 20)).kind, None);
        assert_eq!(place(&space(), end + 64 * PAGE).origin, None);
    }
}
