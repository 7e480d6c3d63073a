//! How each process moves, without a row for it: what is asked after every pass must not read anything.

use super::{Details, Observer};
use crate::profile::machine::Of;
use crate::profile::series::of_series;
use crate::profile::{Growth, Subject};
use crate::sources::machine::scan::ProcessKey;

/// A process and how its resident and swapped memory moves.
#[derive(Clone, Debug, PartialEq)]
pub struct Rising {
    /// Which process.
    pub key: ProcessKey,
    /// Its name.
    pub command: String,
    /// How its resident and swapped memory moves.
    pub growth: Growth,
}

impl Observer {
    /// All processes that were seen at least twice, in no order.
    pub fn rising(&self) -> Vec<Rising> {
        let measure = Of::Total.measure();
        let all = self.processes.iter().filter_map(|(key, tracked)| {
            Some(Rising {
                key: *key,
                command: tracked.name.clone(),
                growth: of_series(&tracked.series, false, |figures| figures.get(measure))?,
            })
        });
        all.collect()
    }

    /// How the resident and swapped memory of a process moves, as long as it is there.
    pub fn growth_of(&self, key: ProcessKey) -> Option<Growth> {
        let tracked = self.processes.get(&key)?;
        let measure = Of::Total.measure();
        of_series(&tracked.series, false, |figures| figures.get(measure))
    }

    /// The resident and swapped memory of a process at the last pass, and when that was, in seconds.
    pub fn total_of(&self, key: ProcessKey) -> Option<(f64, u64)> {
        let series = &self.processes.get(&key)?.series;
        Some((series.last_at(), series.last().get(Of::Total.measure())?))
    }

    /// The process that has a PID now.
    pub fn key_of(&self, pid: u32) -> Option<ProcessKey> {
        let mut keys = self.processes.keys();
        keys.find(|key| key.pid == pid).copied()
    }

    /// The row of a process that is still there.
    pub fn row_of(&self, key: ProcessKey, details: &mut dyn Details) -> Option<Subject> {
        self.process(key, details)
    }

    /// Passes so far.
    pub fn passes(&self) -> u64 {
        self.passes
    }
}
