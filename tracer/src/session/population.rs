//! The processes of a trace of the whole host: which of them it is about, as they come, replace their program and end.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use tracer_common::key::Owner;
use tracer_common::loss::Loss;

use super::watch::Program;
use crate::bpf::Tracer;
use crate::process::cgroup::Place;
use crate::process::info::{Machine, ProcessInfo};
use crate::process::scope::{Candidate, Filter, Scope, ScopeError};
use crate::process::users::Users;
use crate::process::{info, maps};
use crate::report::{MemberRow, Rates};

/// Names of programs that are left out and told of.
const MOST_NAMES: usize = 20;

/// A process that the trace is about.
pub struct Member {
    /// Its row in the process table.
    pub row: u32,
    /// Its name.
    pub comm: String,
    /// Its executable, where it could be read.
    pub exe: Option<PathBuf>,
    /// Its container, unit and cgroup.
    pub place: Place,
    /// User id that it runs as.
    pub uid: u32,
    /// That user's name.
    pub user: String,
    /// Elapsed time of the trace when it was first seen.
    pub first_seen: Duration,
    /// Whether it started during the trace.
    pub started_in_trace: bool,
    /// How fast it grows.
    pub rates: Rates,
}

impl Member {
    /// What reports tell of it.
    pub fn reported(&self) -> MemberRow {
        MemberRow {
            place: self.place.clone(),
            uid: self.uid,
            user: self.user.clone(),
            first_seen: self.first_seen,
            started_in_trace: self.started_in_trace,
            growth_per_minute: self.rates.growth_per_minute(),
        }
    }
}

/// The processes of the host, as far as the trace has met them.
pub struct Population {
    scope: Scope,
    filter: Filter,
    users: Users,
    /// The programs that run and that the trace is about.
    members: BTreeMap<Owner, Member>,
    /// Programs that run and that the trace is not about.
    strangers: HashSet<Owner>,
    /// Rows of the process table.
    rows: HashMap<Owner, u32>,
    /// Names of 32-bit programs that would be in the trace if they could be followed.
    too_narrow: BTreeSet<String>,
    /// When the trace began, in clock ticks since boot.
    began: u64,
    /// Process events that were lost and repaired.
    lost_events: u64,
}

/// How what is known differs from the process table, after events were lost.
#[derive(Default)]
pub struct OutOfStep {
    /// Programs that are gone.
    pub gone: Vec<Owner>,
    /// Programs that nobody has told of, with their rows.
    pub new: Vec<(Program, u32)>,
}

/// What a process looks like from outside.
struct Looks {
    exe: Option<PathBuf>,
    cgroup: String,
}

impl Population {
    /// Nobody yet; the trace begins now.
    ///
    /// # Errors
    /// [`ScopeError`] where this system has no such user or cgroup.
    pub fn new(scope: &Scope) -> Result<Self, ScopeError> {
        Ok(Self {
            filter: scope.filter()?,
            scope: scope.clone(),
            users: Users::default(),
            members: BTreeMap::new(),
            strangers: HashSet::new(),
            rows: HashMap::new(),
            too_narrow: BTreeSet::new(),
            began: info::now_in_ticks(),
            lost_events: 0,
        })
    }

    /// Which processes the trace is about, in words.
    pub fn scope(&self) -> String {
        self.scope.words()
    }

    /// The programs that run and that the trace is about.
    pub fn members(&self) -> &BTreeMap<Owner, Member> {
        &self.members
    }

    /// The same, to be changed.
    pub fn members_mut(&mut self) -> &mut BTreeMap<Owner, Member> {
        &mut self.members
    }

    /// Whether the trace is about a process that runs, as far as can be told now.
    pub fn is_about(&self, pid: u32) -> bool {
        if self.scope.is_everything() {
            return true;
        }
        let Ok(info) = info::read(pid) else {
            return false;
        };
        self.filter.matches(&Candidate {
            pid,
            comm: &info.comm,
            exe: info.exe.as_deref(),
            uid: info.uid,
            cgroup: &cgroup_text(pid),
        })
    }

    /// What is not followed although it is in the scope, in a sentence; `None` if there is nothing.
    pub fn left_out(&self) -> Option<String> {
        let names: Vec<&str> = self.too_narrow.iter().map(String::as_str).collect();
        (!names.is_empty()).then(|| {
            let names = names.join(", ");
            format!("32-bit programs are not followed, as their system calls are others: {names}")
        })
    }

    /// Row of a program in the process table, whether the trace is about it or not.
    pub fn row(&self, owner: Owner) -> Option<u32> {
        self.rows.get(&owner).copied()
    }

    /// The rows of all programs that run.
    pub fn rows(&self) -> impl Iterator<Item = u32> {
        self.rows.values().copied()
    }

    /// The program of this process in this row.
    pub fn owner_in(&self, row: u32, tgid: u32) -> Option<Owner> {
        let mut rows = self.rows.iter();
        let found = rows.find(|(owner, known)| **known == row && owner.tgid == tgid);
        found.map(|(owner, _)| *owner)
    }

    /// A program has come, in this row of the process table, at this elapsed time. `None`: the trace is not about it, and
    /// its calls are passed over from now on.
    pub fn admit(
        &mut self,
        tracer: &Tracer,
        new: &Program,
        row: u32,
        at: Duration,
    ) -> Option<&Member> {
        let owner = new.owner;
        let mut cgroup = cgroup_text(owner.tgid);
        // Asked afterwards: if it still has an executable, it ran when it was asked where it is.
        let info = info::read(owner.tgid).ok();
        let exe = info.as_ref().and_then(|info| info.exe.clone());
        if exe.is_none() && new.parent != 0 {
            // It has ended already: nothing is told of it, or that it is nowhere (v1, kernel/cgroup/cgroup.c,
            // proc_cgroup_show). It began where its parent is.
            cgroup.push_str(&cgroup_text(new.parent));
        }
        let looks = Looks { exe, cgroup };
        self.judge(tracer, new, row, at, looks, info.as_ref())
    }

    /// As [`Self::admit`], for a process that ran before the trace and was just looked at.
    pub fn admit_running(
        &mut self,
        tracer: &Tracer,
        owner: Owner,
        row: u32,
        info: ProcessInfo,
        at: Duration,
    ) -> Option<&Member> {
        let program = Program {
            owner,
            comm: info.comm.clone(),
            uid: info.uid,
            parent: info.parent,
        };
        let looks = Looks {
            exe: info.exe.clone(),
            cgroup: cgroup_text(owner.tgid),
        };
        self.judge(tracer, &program, row, at, looks, Some(&info))
    }

    /// Whether the trace is about a program that looks like this.
    fn judge(
        &mut self,
        tracer: &Tracer,
        new: &Program,
        row: u32,
        at: Duration,
        looks: Looks,
        info: Option<&ProcessInfo>,
    ) -> Option<&Member> {
        let owner = new.owner;
        self.rows.insert(owner, row);
        let candidate = Candidate {
            pid: owner.tgid,
            comm: &new.comm,
            exe: looks.exe.as_deref(),
            uid: new.uid,
            cgroup: &looks.cgroup,
        };
        let is_in_scope = self.filter.matches(&candidate);
        let is_32_bit = is_32_bit(info);
        if is_in_scope && is_32_bit && self.too_narrow.len() < MOST_NAMES {
            self.too_narrow.insert(new.comm.clone());
        }
        if !is_in_scope || is_32_bit {
            self.strangers.insert(owner);
            tracer.set_active(row, false);
            return None;
        }
        let member = Member {
            row,
            comm: new.comm.clone(),
            exe: looks.exe,
            place: Place::of(&looks.cgroup),
            uid: new.uid,
            user: self.users.name(new.uid).to_owned(),
            first_seen: at,
            started_in_trace: is_new(info, self.began),
            rates: Rates::new(at),
        };
        self.members.insert(owner, member);
        self.members.get(&owner)
    }

    /// A process has replaced its program: the old one, if it was known, which is to be removed, and the row of both.
    pub fn replaced(&mut self, tracer: &mut Tracer, new: Owner) -> (Option<Owner>, Option<u32>) {
        let mut known = self.rows.keys();
        let old = known.find(|old| old.tgid == new.tgid && **old != new);
        match old.copied() {
            Some(old) => (Some(old), self.forget_row(old)),
            // Its admission was not told: the ring was full then.
            None => (None, tracer.row_of(new.tgid)),
        }
    }

    /// A process has ended: its row, if it was known.
    pub fn forget_row(&mut self, owner: Owner) -> Option<u32> {
        self.strangers.remove(&owner);
        self.rows.remove(&owner)
    }

    /// Takes a program out of the trace; `None` if the trace was not about it.
    pub fn remove(&mut self, owner: Owner) -> Option<Member> {
        self.members.remove(&owner)
    }

    /// Whether process events were lost since this was asked before.
    pub fn has_lost_events(&mut self, tracer: &Tracer) -> bool {
        let lost = tracer.loss(Loss::LifecycleFull).unwrap_or(0);
        std::mem::replace(&mut self.lost_events, lost) < lost
    }

    /// How what is known differs from the process table.
    pub fn out_of_step(&self, tracer: &Tracer) -> OutOfStep {
        let rows: Vec<_> = tracer.process_rows().collect();
        let is_gone = |(owner, row): &(&Owner, &u32)| {
            let now = rows.iter().find(|(number, _)| number == *row);
            now.is_none_or(|(_, process)| process.owner.tgid != owner.tgid || process.active == 0)
                && maps::read(owner.tgid).is_err()
        };
        let gone = self.rows.iter().filter(is_gone).map(|(owner, _)| *owner);
        let new = rows
            .iter()
            .filter(|(_, process)| process.active != 0 && !self.rows.contains_key(&process.owner))
            .filter_map(|(row, process)| Some((running_program(process.owner)?, *row)));
        OutOfStep {
            gone: gone.collect(),
            new: new.collect(),
        }
    }
}

/// What the kernel side would have told of a program that runs; `None` if it has ended.
fn running_program(owner: Owner) -> Option<Program> {
    let info = info::read(owner.tgid).ok()?;
    Some(Program {
        owner,
        comm: info.comm,
        uid: info.uid,
        // It runs: it can be asked itself.
        parent: 0,
    })
}

/// Where a process belongs; nowhere if it has ended.
pub fn place(pid: u32) -> Place {
    Place::of(&cgroup_text(pid))
}

fn cgroup_text(pid: u32) -> String {
    // Names of cgroups need not be UTF-8.
    let bytes = std::fs::read(format!("/proc/{pid}/cgroup")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Whether a process began after the trace did, at `began` clock ticks after boot.
fn is_new(info: Option<&ProcessInfo>, began: u64) -> bool {
    // One that has ended already was short-lived.
    info.is_none_or(|info| info.image.start_time > began)
}

/// 32-bit programs have other system calls, and other registers at each call.
fn is_32_bit(info: Option<&ProcessInfo>) -> bool {
    info.and_then(|info| info.machine) == Some(Machine::ThirtyTwoBit)
}
