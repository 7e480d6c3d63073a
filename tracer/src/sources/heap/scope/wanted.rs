//! Which processes of a scope are wanted, where not all are: the others get no probes, and cost nothing.

use std::collections::{BTreeSet, HashSet};
use std::path::Path;

use super::Heap;
use crate::engine::Core;
use crate::process::targets::has_name;
use crate::process::{info, maps};

/// Processes that are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wanted {
    /// These.
    pub pids: BTreeSet<u32>,
    /// And those that start to run and have one of these names.
    pub names: Vec<String>,
    /// Those that were, until they are told by their PIDs.
    pub(super) taken: BTreeSet<u32>,
}

impl Wanted {
    /// These processes, and those that start to run and have one of these names.
    pub fn new(pids: BTreeSet<u32>, names: Vec<String>) -> Self {
        Self {
            pids,
            names,
            taken: BTreeSet::new(),
        }
    }

    /// Whether a process is wanted.
    pub fn has(&self, pid: u32) -> bool {
        self.pids.contains(&pid) || self.taken.contains(&pid)
    }

    /// Whether a process is wanted that has just been started; one that has a name that is, is from now on.
    pub(super) fn takes(&mut self, pid: u32) -> bool {
        if self.has(pid) {
            return true;
        }
        let is_named = !self.names.is_empty()
            && info::read(pid).is_ok_and(|info| self.names(&info.comm, info.exe.as_deref()));
        if is_named {
            self.taken.insert(pid);
        }
        is_named
    }

    /// Whether a process of that name is wanted.
    pub fn names(&self, comm: &str, exe: Option<&Path>) -> bool {
        let mut names = self.names.iter();
        names.any(|name| has_name(comm, exe, name.as_ref()))
    }
}

impl Heap {
    /// Only these processes of a scope have probes when it begins.
    pub fn begin_with(&mut self, wanted: Wanted) {
        self.wanted = Some(wanted);
    }

    /// From now on only these processes of the scope have probes. Those that have some and are not among them lose
    /// them, and are not reported any more. Whether that changes anything.
    pub fn want(&mut self, core: &mut Core, mut wanted: Wanted) -> bool {
        // Those that were taken by their name just now are not known to others yet.
        if let Some(before) = &self.wanted {
            let own = before
                .taken
                .iter()
                .filter(|pid| info::vitals(**pid).is_some());
            wanted.taken = own.copied().collect();
            wanted.taken.retain(|pid| !wanted.pids.contains(pid));
        }
        if self.wanted.as_ref() == Some(&wanted) {
            return false;
        }
        let probed: HashSet<u32> = self.prober.probed().collect();
        for pid in probed.into_iter().filter(|pid| !wanted.has(*pid)) {
            self.displace(core, pid);
        }
        // Their stacks are to be whole when they get their probes.
        let before = self.wanted.as_ref().map(|before| &before.pids);
        let new = wanted.pids.iter();
        let new = new.filter(|pid| before.is_none_or(|before| !before.contains(pid)));
        for pid in new {
            if let (Some(unwinder), Ok(maps)) = (&mut core.unwinder, maps::read(*pid)) {
                unwinder.expect(*pid, &maps);
            }
        }
        self.wanted = Some(wanted);
        // Those that are new are looked at with the next tick.
        if let Some(scope) = &mut self.scope {
            scope.looked = None;
        }
        true
    }

    /// How many processes have probes.
    pub fn probed(&self) -> usize {
        self.prober.probed().count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_wanted_by_pid_or_name() {
        let own = std::process::id();
        let name = info::name(own);
        let mut wanted = Wanted::new(BTreeSet::from([1]), vec![name]);
        assert!(wanted.has(1) && !wanted.has(own));
        assert!(wanted.takes(own) && wanted.has(own));
        assert!(!wanted.takes(2));
        assert!(!Wanted::default().takes(own));
    }
}
