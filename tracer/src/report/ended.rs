//! Processes that ended during a trace of the whole host: each that matters, and all others summed by name.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use super::host::{Ended, EndedName, EndedProcess, HeapHeld, Held};
use super::names;
use super::units::duration;

/// A process that was traced for a shorter time is short-lived.
const SHORT_LIVED: Duration = Duration::from_secs(10);

/// One that held more than this is named even so.
const MUCH: u64 = 1 << 20;

/// Processes that are named; of more, those that held least go to their names.
const MOST_PROCESSES: usize = 256;

/// Names that are kept: programs may choose theirs at random.
const MOST_NAMES: usize = 1_024;

/// What sums up those whose names are too many.
const OTHERS: &str = "(other names)";

/// Gathers processes as they end. Its memory is bounded, however many there are.
#[derive(Clone, Debug, Default)]
pub struct EndedTally<H = HeapHeld> {
    processes: Vec<EndedProcess<H>>,
    names: HashMap<String, EndedName<H>>,
}

impl<H: Held> EndedTally<H> {
    /// Adds one process.
    pub fn add(&mut self, process: EndedProcess<H>) {
        if process.is_short_lived() {
            return self.sum(&process);
        }
        self.processes.push(process);
        if self.processes.len() <= MOST_PROCESSES {
            return;
        }
        let held = |index: &usize| self.processes[*index].held.bytes();
        let least = (0..self.processes.len()).min_by_key(held);
        if let Some(index) = least {
            let least = self.processes.remove(index);
            self.sum(&least);
        }
    }

    fn sum(&mut self, process: &EndedProcess<H>) {
        let known = self.names.contains_key(&process.comm);
        let key = match known || self.names.len() < MOST_NAMES {
            true => process.comm.as_str(),
            false => OTHERS,
        };
        let name = self
            .names
            .entry(key.to_owned())
            .or_insert_with(|| EndedName {
                comm: key.to_owned(),
                processes: 0,
                last_at: Duration::ZERO,
                held: H::default(),
            });
        name.processes += 1;
        name.last_at = name.last_at.max(process.at);
        name.held.add(&process.held);
    }

    /// All of them until now.
    pub fn ended(&self) -> Ended<H> {
        let mut names: Vec<EndedName<H>> = self.names.values().cloned().collect();
        names.sort_by(|a, b| {
            let key = |name: &EndedName<H>| Reverse((name.held.bytes(), name.processes));
            key(a).cmp(&key(b)).then_with(|| a.comm.cmp(&b.comm))
        });
        Ended {
            processes: self.processes.clone(),
            names,
        }
    }
}

impl<H: Held> EndedProcess<H> {
    /// Whether it is summed up with others of its name: it was not traced for long, and did not hold much.
    pub fn is_short_lived(&self) -> bool {
        self.traced < SHORT_LIVED && self.held.bytes() <= MUCH
    }

    /// What is said of it when it ends: "process 812 (perl, docker:3f2a9c1b7d4e) ended after 12.3s and held 29.3 KiB in
    /// 3 blocks".
    pub fn sentence(&self) -> String {
        let held = self.held.words();
        let whose = names::whose(self.pid, &self.comm, &self.place);
        format!(
            "{whose} ended after {} and held {held}",
            duration(self.traced)
        )
    }
}

impl<H: Held> Ended<H> {
    /// How many processes ended.
    pub fn count(&self) -> u64 {
        self.processes.len() as u64 + self.names.iter().map(|name| name.processes).sum::<u64>()
    }

    /// What all of them held.
    pub fn held(&self) -> H {
        let mut sum = H::default();
        let processes = self.processes.iter().map(|process| &process.held);
        let names = self.names.iter().map(|name| &name.held);
        processes.chain(names).for_each(|held| sum.add(held));
        sum
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::cgroup::Place;

    fn process(comm: &str, seconds: u64, live_bytes: u64) -> EndedProcess {
        EndedProcess {
            pid: 812,
            comm: comm.to_owned(),
            place: Place::of("0::/system.slice/cron.service"),
            user: "root".to_owned(),
            at: Duration::from_secs(100),
            traced: Duration::from_secs(seconds),
            held: HeapHeld {
                live_bytes,
                live_count: u64::from(live_bytes > 0),
                alloc_bytes: 2 * live_bytes,
                alloc_count: 2,
            },
        }
    }

    #[test]
    fn short_lived_processes_are_summed_by_name() {
        let mut tally = EndedTally::default();
        for _ in 0..2_000 {
            tally.add(process("sh", 1, 100));
        }
        tally.add(process("cc1", 9, 5_000_000));
        tally.add(process("perl", 60, 0));
        tally.add(process("true", 1, 0));
        let ended = tally.ended();
        let named: Vec<&str> = ended.processes.iter().map(|p| p.comm.as_str()).collect();
        assert_eq!(named, ["cc1", "perl"]);
        let names: Vec<_> = ended
            .names
            .iter()
            .map(|name| {
                (
                    name.comm.as_str(),
                    name.processes,
                    name.held.live_bytes,
                    name.held.alloc_count,
                )
            })
            .collect();
        assert_eq!(names, [("sh", 2_000, 200_000, 4_000), ("true", 1, 0, 2)]);
        assert_eq!(ended.count(), 2_003);
        let held = ended.held();
        assert_eq!((held.live_bytes, held.live_count), (5_200_000, 2_001));
    }

    #[test]
    fn memory_is_bounded_and_nothing_is_lost() {
        let mut tally = EndedTally::default();
        let all = 5_000;
        for n in 0..all {
            tally.add(process(&format!("p{n}"), 60, n));
            tally.add(process(&format!("q{n}"), 0, 1));
        }
        let ended = tally.ended();
        assert_eq!(ended.processes.len(), MOST_PROCESSES);
        assert!(ended.names.len() <= MOST_NAMES + 1, "{}", ended.names.len());
        assert_eq!(ended.count(), 2 * all);
        assert_eq!(ended.held().live_bytes, all * (all - 1) / 2 + all);
        let least = ended
            .processes
            .iter()
            .map(|process| process.held.live_bytes)
            .min();
        assert_eq!(least, Some(all - MOST_PROCESSES as u64));
        assert!(ended.names.iter().any(|name| name.comm == OTHERS));
    }

    #[test]
    fn what_a_process_is_called_cannot_drive_the_terminal() {
        let said = process("a\x1b[2J\n", 12, 0).sentence();
        assert!(
            said.starts_with("process 812 (a?[2J?, cron.service) ended"),
            "{said}"
        );
    }

    #[test]
    fn an_end_is_one_sentence() {
        let held = process("perl", 12, 30_000).sentence();
        let expected =
            "process 812 (perl, cron.service) ended after 12.0s and held 29.3 KiB in 1 block";
        assert_eq!(held, expected);
        let nothing = process("perl", 12, 0).sentence();
        assert!(
            nothing.ends_with("ended after 12.0s and held nothing"),
            "{nothing}"
        );
    }
}
