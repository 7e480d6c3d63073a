//! Processes that ended during a trace of a scope: each that matters, and all others summed by name, in bounded memory.

use std::cmp::Reverse;
use std::collections::HashMap;
use std::time::Duration;

use crate::profile::{Ended, EndedName, EndedProcess, Measure, Values};

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

/// Gathers processes as they end.
#[derive(Clone, Debug, Default)]
pub struct EndedTally {
    processes: Vec<EndedProcess>,
    names: HashMap<String, EndedName>,
    count: u64,
    totals: Values,
}

/// Bytes that make one process matter more than another: of its heap, or of the memory that it has mapped.
fn bytes(totals: &Values) -> u64 {
    let measures = [Measure::HeapLiveBytes, Measure::VmAnonymousBytes];
    measures
        .into_iter()
        .map(|measure| totals.amount(measure))
        .sum()
}

/// Whether a process is summed up with others of its name: it was not traced for long, and did not hold much.
pub fn is_short_lived(process: &EndedProcess) -> bool {
    process.traced < SHORT_LIVED && bytes(&process.totals) <= MUCH
}

impl EndedTally {
    /// Adds one process.
    pub fn add(&mut self, process: EndedProcess) {
        self.count += 1;
        self.totals.add(&process.totals);
        if is_short_lived(&process) {
            return self.sum(&process);
        }
        self.processes.push(process);
        if self.processes.len() <= MOST_PROCESSES {
            return;
        }
        let least =
            (0..self.processes.len()).min_by_key(|index| bytes(&self.processes[*index].totals));
        if let Some(index) = least {
            let least = self.processes.remove(index);
            self.sum(&least);
        }
    }

    fn sum(&mut self, process: &EndedProcess) {
        let is_kept = self.names.contains_key(&process.command) || self.names.len() < MOST_NAMES;
        let command = if is_kept {
            process.command.as_str()
        } else {
            OTHERS
        };
        let name = self
            .names
            .entry(command.to_owned())
            .or_insert_with(|| EndedName {
                command: command.to_owned(),
                ..EndedName::default()
            });
        name.processes += 1;
        name.last_at = name.last_at.max(process.at);
        name.totals.add(&process.totals);
    }

    /// All of them until now.
    pub fn ended(&self) -> Ended {
        let mut names: Vec<EndedName> = self.names.values().cloned().collect();
        names.sort_by(|a, b| {
            let key = |name: &EndedName| Reverse((bytes(&name.totals), name.processes));
            key(a).cmp(&key(b)).then_with(|| a.command.cmp(&b.command))
        });
        Ended {
            count: self.count,
            totals: self.totals.clone(),
            processes: self.processes.clone(),
            names,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::Place;

    fn process(command: &str, seconds: u64, live_bytes: u64) -> EndedProcess {
        EndedProcess {
            pid: 812,
            command: command.to_owned(),
            place: Place::default(),
            user: "root".to_owned(),
            at: Duration::from_secs(100),
            traced: Duration::from_secs(seconds),
            totals: Values::default()
                .with(Measure::HeapLiveBytes, live_bytes)
                .with(Measure::HeapLiveBlocks, u64::from(live_bytes > 0))
                .with(Measure::HeapAllocBlocks, 2_u64),
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
        let named: Vec<&str> = ended.processes.iter().map(|p| p.command.as_str()).collect();
        assert_eq!(named, ["cc1", "perl"]);
        let names: Vec<_> = ended
            .names
            .iter()
            .map(|name| {
                let amount = |measure| name.totals.amount(measure);
                (
                    name.command.as_str(),
                    name.processes,
                    amount(Measure::HeapLiveBytes),
                    amount(Measure::HeapAllocBlocks),
                )
            })
            .collect();
        assert_eq!(names, [("sh", 2_000, 200_000, 4_000), ("true", 1, 0, 2)]);
        assert_eq!(ended.count, 2_003);
        assert_eq!(ended.totals.amount(Measure::HeapLiveBytes), 5_200_000);
        assert_eq!(ended.totals.amount(Measure::HeapLiveBlocks), 2_001);
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
        let named: u64 = ended.names.iter().map(|name| name.processes).sum();
        assert_eq!(ended.processes.len() as u64 + named, 2 * all);
        assert_eq!(
            ended.totals.amount(Measure::HeapLiveBytes),
            all * (all - 1) / 2 + all
        );
        let least = ended
            .processes
            .iter()
            .map(|process| bytes(&process.totals))
            .min();
        assert_eq!(least, Some(all - MOST_PROCESSES as u64));
        assert!(ended.names.iter().any(|name| name.command == OTHERS));
    }
}
