//! Which files' tables are known, which processes use them, and which ones leave when room is short. Pure.

use std::collections::{BTreeSet, HashMap};

use tracer_common::unwind::Rule;

use crate::bpf::TablePlace;
use crate::process::maps::FileId;
use crate::unwind::{Segment, Size, Table};

/// Which table a mapping needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Key {
    /// A file's, by the kernel's device and inode.
    File(FileId),
    /// The same image in every 64-bit process.
    Vdso,
    /// Code that a runtime generates in a process: the process, and the runtime's own address of the heap.
    Generated(u32, u64),
}

/// What is known of a file's code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum State {
    /// Its table is being built, and will likely be so large.
    Wanted(Size),
    /// Built, not in the kernel yet.
    Built(Table),
    /// In the kernel.
    Stored(Stored),
    /// One rule holds in all of it.
    Uniform(Rule),
    /// Its table, of this size, has no room.
    LeftOut(Size),
}

/// A table in the kernel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// The file's executable segments.
    pub segments: Vec<Segment>,
    /// SVMA that the rows' addresses count from.
    pub base: u64,
    /// Where it is.
    pub place: TablePlace,
}

impl Stored {
    /// Room that it takes.
    pub fn size(&self) -> Size {
        Size {
            rows: self.place.rows.count.into(),
            buckets: self.place.buckets.count.into(),
        }
    }
}

#[derive(Debug)]
struct File {
    state: State,
    /// Live processes that have it mapped.
    users: BTreeSet<u32>,
    /// When a process's mappings of it were last published.
    used: u64,
}

/// All files seen.
#[derive(Debug, Default)]
pub struct Files {
    files: HashMap<Key, File>,
    processes: HashMap<u32, BTreeSet<Key>>,
    clock: u64,
}

impl Files {
    /// What is known of a file.
    pub fn state(&self, key: &Key) -> Option<&State> {
        self.files.get(key).map(|file| &file.state)
    }

    /// All files with what is known of them.
    pub fn states(&self) -> impl Iterator<Item = (Key, &State)> {
        self.files.iter().map(|(key, file)| (*key, &file.state))
    }

    /// Notes what is known of a file by now.
    pub fn set(&mut self, key: Key, state: State) {
        match self.files.get_mut(&key) {
            Some(file) => file.state = state,
            None => {
                let users = self.processes.iter();
                let users = users
                    .filter(|(_, keys)| keys.contains(&key))
                    .map(|(pid, _)| *pid)
                    .collect();
                let used = self.clock;
                self.files.insert(key, File { state, users, used });
            }
        }
    }

    /// Takes a built table out, to be stored; what comes of it must be [`Self::set`].
    pub fn take_built(&mut self, key: &Key) -> Option<Table> {
        let file = self.files.get_mut(key)?;
        match std::mem::replace(&mut file.state, State::Wanted(Size::default())) {
            State::Built(table) => Some(table),
            other => {
                file.state = other;
                None
            }
        }
    }

    /// Notes which files a process has mapped by now.
    pub fn uses(&mut self, pid: u32, keys: BTreeSet<Key>) {
        self.clock += 1;
        let before = self.processes.insert(pid, keys).unwrap_or_default();
        let keys = &self.processes[&pid];
        for key in before.difference(keys) {
            if let Some(file) = self.files.get_mut(key) {
                file.users.remove(&pid);
            }
        }
        for key in keys {
            if let Some(file) = self.files.get_mut(key) {
                file.users.insert(pid);
                file.used = self.clock;
            }
        }
    }

    /// Forgets a process that has ended. Whether a file has one user less.
    pub fn ended(&mut self, pid: u32) -> bool {
        let keys = self.processes.remove(&pid).unwrap_or_default();
        for key in &keys {
            if let Some(file) = self.files.get_mut(key) {
                file.users.remove(&pid);
            }
        }
        !keys.is_empty()
    }

    /// Processes that have a file mapped.
    pub fn users(&self, key: &Key) -> impl Iterator<Item = u32> {
        let file = self.files.get(key);
        file.into_iter().flat_map(|file| file.users.iter().copied())
    }

    /// Whether tables of files that a process has mapped are still being built.
    pub fn is_waiting(&self, pid: u32) -> bool {
        let keys = self.processes.get(&pid);
        let is_wanted = |key| matches!(self.state(key), Some(State::Wanted(_)));
        keys.is_some_and(|keys| keys.iter().any(is_wanted))
    }

    /// Files whose tables are built and not in the kernel yet, the most used first.
    pub fn built(&self) -> Vec<Key> {
        let built = self.states();
        let mut built: Vec<Key> = built
            .filter(|(_, state)| matches!(state, State::Built(_)))
            .map(|(key, _)| key)
            .collect();
        built.sort_by_key(|key| (std::cmp::Reverse(self.users(key).count()), *key));
        built
    }

    /// Files that should leave so that `newcomer`'s table can be stored, the least used first: those that no process
    /// has mapped, then those that fewer processes have mapped than the newcomer; among them those that were used
    /// longest ago. None if all that may leave would not make `missing` room.
    ///
    /// A file only gives way to one with more users, so two of them never take turns. Beyond what is needed as many
    /// unused ones leave as make up `spare`, since each departure has to wait for the kernel.
    pub fn leaving(&self, newcomer: &Key, missing: Size, spare: Size) -> Vec<Key> {
        let claim = self.users(newcomer).count();
        let mut candidates: Vec<(usize, u64, Key, Size)> = Vec::new();
        for (key, file) in &self.files {
            if let State::Stored(stored) = &file.state
                && (file.users.is_empty() || file.users.len() < claim)
                && *key != Key::Vdso
            {
                candidates.push((file.users.len(), file.used, *key, stored.size()));
            }
        }
        candidates.sort_by_key(|(users, used, key, _)| (*users, *used, *key));
        let reaches =
            |freed: Size, goal: Size| freed.rows >= goal.rows && freed.buckets >= goal.buckets;
        let (mut freed, mut leaving) = (Size::default(), Vec::new());
        for (users, _, key, size) in candidates {
            let goal = if users == 0 { spare } else { missing };
            if reaches(freed, missing) && reaches(freed, goal) {
                break;
            }
            freed += size;
            leaving.push(key);
        }
        if leaving.is_empty() || !reaches(freed, missing) {
            return Vec::new();
        }
        leaving
    }

    /// Files without room for their tables that processes have mapped.
    pub fn left_out(&self) -> impl Iterator<Item = (Key, Size)> {
        self.files
            .iter()
            .filter_map(|(key, file)| match file.state {
                State::LeftOut(size) if !file.users.is_empty() => Some((*key, size)),
                _ => None,
            })
    }
}
