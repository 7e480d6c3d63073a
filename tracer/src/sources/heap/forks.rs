//! Forked children: those that are not traced must not pay for the breakpoints in their copy of the memory, and those
//! that are get probes of their own.

use std::collections::BTreeSet;
use std::time::Duration;

use super::Heap;
use crate::engine::{Core, monotonic_ns};
use crate::process::info;
use crate::words::units::{count, duration};

/// Time for a child to replace its program, which drops the copy.
const GRACE: Duration = Duration::from_millis(10);

/// A child with a copy of a traced process's memory.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fork {
    pub parent: u32,
    pub child: u32,
    pub at: Duration,
}

/// How much later than their birth children have got their probes.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Births {
    children: u64,
    longest: Duration,
}

impl Births {
    /// What was missed, in a sentence; `None` if there were no children.
    pub fn note(&self) -> Option<String> {
        let late = duration(self.longest);
        match self.children {
            0 => None,
            1 => Some(format!(
                "a child process was traced from {late} after its birth on: its calls before that were not seen"
            )),
            many => Some(format!(
                "{} child processes were traced from up to {late} after their birth on: their calls before that were not seen",
                count(many)
            )),
        }
    }
}

impl Heap {
    /// Has the kernel clear the copies of children that still have them.
    pub(super) fn clear_copies(&mut self, core: &mut Core) {
        let now = core.elapsed();
        let (due, later) = self
            .forks
            .drain(..)
            .partition(|fork| now >= fork.at + GRACE);
        self.forks = later;
        let due: Vec<Fork> = due;
        let parents: BTreeSet<u32> = due
            .iter()
            .filter(|fork| {
                let (parent, child) = (info::image(fork.parent), info::image(fork.child));
                matches!((parent, child), (Ok(parent), Ok(child)) if parent.is_copied_by(&child))
            })
            .map(|fork| fork.parent)
            .collect();
        for parent in parents {
            self.prober.clear_copies(&mut core.tracer, parent);
        }
    }

    /// A child of a traced process, which is traced as well: it gets the probes of its parent.
    pub(super) fn probe_child(&mut self, core: &mut Core, pid: u32, parent: u32, born_ns: u64) {
        let placed = self.prober.place_like(&mut core.tracer, parent, pid);
        if let Err(error) = placed
            && info::vitals(pid).is_some()
        {
            core.notes.add(error.to_string());
        }
        let late = Duration::from_nanos(monotonic_ns().saturating_sub(born_ns));
        self.births.children += 1;
        self.births.longest = self.births.longest.max(late);
    }
}
