//! A moment that growth is shown since.

use std::collections::{BTreeMap, HashMap};

use jiff::Timestamp;

use super::data::{Data, Tab, TraceId};
use super::rows::{self, Key};
use super::stacks;
use crate::profile::machine::By;
use crate::profile::{Measure, Profile};

/// How things stood.
#[derive(Clone, Debug, Default)]
pub struct Baseline {
    /// When.
    pub time: Timestamp,
    processes: HashMap<(Key, Tab), (Measure, u64)>,
    /// Bytes of each stack, by trace and source.
    stacks: BTreeMap<(TraceId, Tab), HashMap<u64, u64>>,
}

/// How much something has grown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Since {
    /// It was there, and has grown by so many bytes.
    Bytes(i64),
    /// It was not there.
    New,
    /// It was not followed.
    Unknown,
}

impl Baseline {
    /// Now; a row is a process, or what they are grouped by.
    pub fn of(data: &Data, by: By) -> Self {
        let time = data.machine.as_ref().map(|machine| machine.meta.time);
        let mut baseline = Self {
            time: time.unwrap_or_else(Timestamp::now),
            ..Self::default()
        };
        for tab in [Tab::Heap, Tab::Space] {
            for by in [By::Process, by] {
                let rows = rows::all(data, tab, by).into_iter();
                let figures = rows.map(|row| ((row.key, tab), row.followed));
                baseline.processes.extend(figures);
            }
        }
        for (id, profile) in &data.traces {
            for tab in Tab::ALL {
                if profile.has(tab.source()) {
                    let bytes = bytes_by_stack(profile, tab);
                    baseline.stacks.insert((*id, tab), bytes);
                }
            }
        }
        baseline
    }

    /// How much a row has grown since.
    pub fn row(&self, key: &Key, tab: Tab, followed: (Measure, u64)) -> Since {
        match self.processes.get(&(key.clone(), tab)) {
            Some((measure, before)) if *measure == followed.0 => {
                Since::Bytes(crate::profile::difference(followed.1, *before))
            }
            Some(_) => Since::Unknown,
            None => Since::New,
        }
    }

    /// How much a stack has grown since.
    pub fn stack(&self, id: TraceId, tab: Tab, stack: u64, bytes: u64) -> Since {
        match self.stacks.get(&(id, tab)) {
            None => Since::Unknown,
            Some(before) => match before.get(&stack) {
                None => Since::New,
                Some(before) => Since::Bytes(crate::profile::difference(bytes, *before)),
            },
        }
    }
}

fn bytes_by_stack(profile: &Profile, tab: Tab) -> HashMap<u64, u64> {
    let source = tab.source();
    let mut bytes: HashMap<u64, u64> = HashMap::new();
    for sample in profile.samples_of(source) {
        let own = bytes.entry(stacks::identity(profile, sample)).or_default();
        *own += profile.amount(sample, source.level());
    }
    bytes
}
