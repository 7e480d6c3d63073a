//! What the view rests on: the last profile of the machine, of each trace, and how processes went on.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::history::History;
use crate::profile::machine::MachineSection;
use crate::profile::{Measure, Profile, Source, Subject};

/// What is looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Tab {
    /// Blocks of the allocator.
    #[default]
    Heap,
    /// Mappings.
    Space,
    /// The kernel's own memory.
    Kernel,
}

impl Tab {
    /// All of them, in their order.
    pub const ALL: [Self; 3] = [Self::Heap, Self::Space, Self::Kernel];

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Heap => "heap",
            Self::Space => "address space",
            Self::Kernel => "kernel",
        }
    }

    /// Where its samples come from.
    pub const fn source(self) -> Source {
        match self {
            Self::Heap => Source::Heap,
            Self::Space => Source::AddressSpace,
            Self::Kernel => Source::Kernel,
        }
    }

    /// The next one, or the one before; they go round.
    pub fn step(self, by: usize) -> Self {
        Self::ALL[(self as usize + by) % Self::ALL.len()]
    }
}

/// Which trace a profile is of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TraceId {
    /// What the command line asked for.
    Target,
    /// A process that was opened in the view.
    Process(u32),
    /// The kernel's own memory.
    Kernel,
}

/// The last profiles, and what went before.
#[derive(Clone, Debug, Default)]
pub struct Data {
    /// The machine.
    pub machine: Option<Arc<Profile>>,
    /// The traces.
    pub traces: BTreeMap<TraceId, Arc<Profile>>,
    /// Resident memory of memlens itself.
    pub own_rss: Option<u64>,
    /// How the figures of processes went on.
    pub history: History,
}

impl Data {
    /// The profile of the kernel's memory.
    pub fn kernel(&self) -> Option<&Arc<Profile>> {
        self.traces.get(&TraceId::Kernel)
    }

    /// The traces of processes.
    pub fn processes(&self) -> impl Iterator<Item = (TraceId, &Arc<Profile>)> {
        let all = self.traces.iter().map(|(id, profile)| (*id, profile));
        all.filter(|(id, _)| *id != TraceId::Kernel)
    }

    /// The trace that a process is in, and the index of its subject. One of its own knows most.
    pub fn traced(&self, pid: u32) -> Option<(&Arc<Profile>, u32)> {
        let own = self.traces.get(&TraceId::Process(pid));
        let all = own.into_iter().chain(self.traces.get(&TraceId::Target));
        let mut found = all.filter_map(|profile| Some((profile, subject_of(profile, pid)?)));
        found.next()
    }

    /// The machine's own figures.
    pub fn machine(&self) -> Option<&MachineSection> {
        self.machine.as_ref()?.sections.machine.as_ref()
    }

    /// Takes in a profile of the machine, and how its processes stand now.
    pub fn take_machine(&mut self, profile: Arc<Profile>, own_rss: Option<u64>) {
        let mut history = std::mem::take(&mut self.history);
        history.begin(profile.meta.elapsed.as_secs_f64());
        for subject in &profile.subjects {
            let Some(pid) = subject.pid else { continue };
            let traced = self.traced(pid).and_then(|(of, index)| of.subject(index));
            for tab in [Tab::Heap, Tab::Space] {
                let (measure, value) = followed(tab, subject, traced);
                history.push(pid, tab, &subject.command, measure, value);
            }
        }
        history.end();
        self.history = history;
        self.machine = Some(profile);
        self.own_rss = own_rss;
    }
}

/// The figure of a process whose course is shown, and its value: of what is traced, or else of what `/proc` tells.
fn followed(tab: Tab, process: &Subject, traced: Option<&Subject>) -> (Measure, u64) {
    let (of_trace, of_process) = match tab {
        Tab::Heap => (Measure::HeapLiveBytes, Measure::ProcessTotalBytes),
        Tab::Space | Tab::Kernel => (Measure::VmMappedBytes, Measure::ProcessVirtualBytes),
    };
    let own = traced.filter(|traced| traced.totals.get(of_trace).is_some());
    match own {
        Some(traced) => (of_trace, traced.totals.amount(of_trace)),
        None => (of_process, process.totals.amount(of_process)),
    }
}

/// Index of the newest program of a process.
fn subject_of(profile: &Profile, pid: u32) -> Option<u32> {
    let own = (0..)
        .zip(&profile.subjects)
        .filter(|(_, subject)| subject.pid == Some(pid));
    let newest = own.max_by_key(|(_, subject)| subject.image)?;
    Some(newest.0)
}
