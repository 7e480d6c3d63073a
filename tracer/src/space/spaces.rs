//! The address spaces of all traced processes: forked, shared, replaced and left.

use std::collections::HashMap;

use super::address_space::AddressSpace;
use super::call::Call;

/// An address space and how many processes live in it.
#[derive(Debug, Default)]
struct Inhabited {
    space: AddressSpace,
    processes: usize,
}

/// What a process that left an address space left behind.
#[derive(Debug, PartialEq, Eq)]
pub enum Ended {
    /// Nobody lives in it any more: as it was last.
    Space(AddressSpace),
    /// Others live in it (`vfork`, `CLONE_VM`).
    Shared,
    /// The process was not known.
    Unknown,
}

/// Address spaces by the processes that live in them.
#[derive(Debug, Default)]
pub struct Spaces {
    spaces: HashMap<u64, Inhabited>,
    of_process: HashMap<u32, u64>,
    next: u64,
}

impl Spaces {
    /// A process begins to be traced, or has replaced its program.
    pub fn begin(&mut self, pid: u32, space: AddressSpace) -> Ended {
        let ended = self.end(pid);
        self.next += 1;
        let inhabited = Inhabited {
            space,
            processes: 1,
        };
        self.spaces.insert(self.next, inhabited);
        self.of_process.insert(pid, self.next);
        ended
    }

    /// A process has forked: the child has a copy.
    pub fn fork(&mut self, parent: u32, child: u32) {
        if let Some(space) = self.get(parent) {
            let space = space.forked();
            self.begin(child, space);
        }
    }

    /// A process has made another one that lives in the same address space.
    pub fn share(&mut self, parent: u32, child: u32) {
        if parent == child {
            return; // a thread
        }
        self.end(child);
        let Some(id) = self.of_process.get(&parent).copied() else {
            return;
        };
        if let Some(inhabited) = self.spaces.get_mut(&id) {
            inhabited.processes += 1;
            self.of_process.insert(child, id);
        }
    }

    /// A process leaves its address space, by its end or by `exec`.
    pub fn end(&mut self, pid: u32) -> Ended {
        let Some(id) = self.of_process.remove(&pid) else {
            return Ended::Unknown;
        };
        let Some(inhabited) = self.spaces.get_mut(&id) else {
            return Ended::Unknown;
        };
        inhabited.processes -= 1;
        if inhabited.processes > 0 {
            return Ended::Shared;
        }
        self.spaces
            .remove(&id)
            .map_or(Ended::Unknown, |last| Ended::Space(last.space))
    }

    /// Takes a call of a process into account.
    pub fn apply(&mut self, pid: u32, call: &Call) {
        if let Some(space) = self.get_mut(pid) {
            space.apply(call);
        }
    }

    /// The address space of a process.
    pub fn get(&self, pid: u32) -> Option<&AddressSpace> {
        let id = self.of_process.get(&pid)?;
        self.spaces.get(id).map(|inhabited| &inhabited.space)
    }

    /// The address space of a process, to be changed.
    pub fn get_mut(&mut self, pid: u32) -> Option<&mut AddressSpace> {
        let id = self.of_process.get(&pid)?;
        let inhabited = self.spaces.get_mut(id)?;
        Some(&mut inhabited.space)
    }
}
