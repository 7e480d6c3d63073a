//! Counts that only go up, of groups whose processes come and go: what each process adds is added, and what has ended
//! stays counted.

use std::collections::{BTreeMap, HashMap};

use crate::profile::{Measure, Profile, Subject};

/// Groups that are remembered although none of their processes is there.
const MOST_GONE: usize = 200;

/// Whose figures a row of metrics has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Whose {
    /// Name of the processes.
    pub comm: String,
    /// Their container, as `docker:3f2a9c1b7d4e`; empty outside of containers.
    pub container: String,
    /// Their systemd unit; empty where there is none.
    pub unit: String,
    /// The PID, where each process has a row.
    pub pid: Option<u32>,
}

impl Whose {
    /// Of a process.
    pub fn of(subject: &Subject, with_pid: bool) -> Self {
        let container = subject.place.container.as_ref();
        Self {
            comm: subject.command.clone(),
            container: container.map(ToString::to_string).unwrap_or_default(),
            unit: subject.place.unit.clone().unwrap_or_default(),
            pid: subject.pid.filter(|_| with_pid),
        }
    }
}

/// The counters that rows have.
pub const COUNTED: [Measure; 4] = [
    Measure::HeapAllocBytes,
    Measure::HeapAllocBlocks,
    Measure::HeapFreeBytes,
    Measure::HeapFreeBlocks,
];

/// One value for each of [`COUNTED`].
pub type Counts = [u64; COUNTED.len()];

#[derive(Debug, Default)]
struct Group {
    sums: Counts,
    is_there: bool,
}

/// The counters of all groups.
#[derive(Debug, Default)]
pub struct Counters {
    last: HashMap<(u32, u32), Counts>,
    groups: BTreeMap<Whose, Group>,
}

impl Counters {
    /// Takes a profile in.
    pub fn add(&mut self, profile: &Profile, with_pid: bool) {
        self.groups
            .values_mut()
            .for_each(|group| group.is_there = false);
        let mut last = HashMap::new();
        for subject in &profile.subjects {
            let now = COUNTED.map(|measure| subject.totals.amount(measure));
            let key = (subject.pid.unwrap_or_default(), subject.image);
            let before = self.last.get(&key).copied().unwrap_or_default();
            let group = self.groups.entry(Whose::of(subject, with_pid)).or_default();
            group.is_there = true;
            for ((sum, now), before) in group.sums.iter_mut().zip(now).zip(before) {
                *sum = sum.saturating_add(now.saturating_sub(before));
            }
            last.insert(key, now);
        }
        self.last = last;
        self.forget();
    }

    fn forget(&mut self) {
        let gone = self.groups.iter().filter(|(_, group)| !group.is_there);
        let gone: Vec<Whose> = gone.map(|(whose, _)| whose.clone()).collect();
        let too_many = gone.len().saturating_sub(MOST_GONE);
        for whose in &gone[..too_many] {
            self.groups.remove(whose);
        }
    }

    /// The counters of the groups that are there.
    pub fn all(&self) -> impl Iterator<Item = (&Whose, &Counts)> {
        let there = self.groups.iter().filter(|(_, group)| group.is_there);
        there.map(|(whose, group)| (whose, &group.sums))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn profile(processes: &[(u32, u64)]) -> Profile {
        let subject = |(pid, bytes): &(u32, u64)| {
            let mut subject = Subject::process(*pid, "app");
            subject.totals.set(Measure::HeapAllocBytes, *bytes);
            subject
        };
        Profile {
            subjects: processes.iter().map(subject).collect(),
            ..Profile::default()
        }
    }

    #[test]
    fn a_counter_never_goes_down() {
        let mut counters = Counters::default();
        let bytes = |counters: &Counters| counters.all().map(|(_, counts)| counts[0]).sum::<u64>();
        counters.add(&profile(&[(1, 100), (2, 50)]), false);
        assert_eq!(bytes(&counters), 150);
        counters.add(&profile(&[(1, 120)]), false);
        assert_eq!(bytes(&counters), 170);
        counters.add(&profile(&[(1, 130), (3, 10)]), false);
        assert_eq!(bytes(&counters), 190);
        counters.add(&profile(&[]), false);
        assert_eq!(counters.all().count(), 0);
        counters.add(&profile(&[(4, 5)]), false);
        assert_eq!(bytes(&counters), 195);
    }

    #[test]
    fn groups_are_bounded() {
        let mut counters = Counters::default();
        for pid in 1..2_000 {
            counters.add(&profile(&[(pid, 1)]), true);
        }
        assert!(counters.groups.len() <= MOST_GONE + 1 && counters.last.len() == 1);
    }
}
