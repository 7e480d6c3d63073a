//! The programs that a trace is about, as they come, replace one another and end: named ones, a command's, or those of
//! a scope.

pub mod out_of_step;

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use tracer_common::key::Owner;
use tracer_common::loss::Loss;

use super::member::Member;
use super::watch::Program;
use crate::bpf::Tracer;
use crate::process::cgroup;
use crate::process::info::{self, Machine, ProcessInfo};
use crate::process::maps::Mapping;
use crate::process::scope::{Candidate, Filter, Scope, ScopeError};
use crate::process::users::Users;
use crate::profile::{Place, State};

/// Names of programs that are left out and reported.
const MOST_NAMES: usize = 20;

/// A program that a process has begun to load.
#[derive(Default)]
pub struct Loading {
    /// Its name, as far as it is known.
    pub command: String,
    /// Code that was mapped for it.
    pub mappings: Vec<Mapping>,
}

/// The programs of a trace.
pub struct Members {
    programs: BTreeMap<Owner, Member>,
    users: Users,
    loading: HashMap<u32, Loading>,
    scope: Option<InScope>,
    /// Programs that one source has counted in by itself, or begun anew, and of which all are to be told; and whether
    /// all that they have done since their first instruction is told of.
    untold: Vec<(Owner, bool)>,
}

/// What only a trace of a scope keeps, whose processes come by themselves.
struct InScope {
    scope: Scope,
    filter: Filter,
    /// Rows of the process table, also of programs that the trace is not about.
    rows: HashMap<Owner, u32>,
    /// Programs that run and that the trace is not about.
    outside: HashSet<Owner>,
    /// Names of 32-bit programs that would be in the trace if they could be followed.
    unsupported: BTreeSet<String>,
    /// When the trace began, in clock ticks since boot.
    began: u64,
    /// Process events that were lost and repaired.
    lost_events: u64,
}

/// What a process looks like from outside.
struct Looks {
    exe: Option<PathBuf>,
    cgroup: String,
}

impl Members {
    /// Nobody yet, of a trace of named processes or of a command.
    pub fn named() -> Self {
        Self {
            programs: BTreeMap::new(),
            users: Users::default(),
            loading: HashMap::new(),
            scope: None,
            untold: Vec::new(),
        }
    }

    /// Nobody yet, of a trace of a scope that begins now.
    ///
    /// # Errors
    /// [`ScopeError`] where this system has no such user or cgroup.
    pub fn of_scope(scope: &Scope) -> Result<Self, ScopeError> {
        let scope = InScope {
            filter: scope.filter()?,
            scope: scope.clone(),
            rows: HashMap::new(),
            outside: HashSet::new(),
            unsupported: BTreeSet::new(),
            began: info::now_in_ticks(),
            lost_events: 0,
        };
        Ok(Self {
            scope: Some(scope),
            ..Self::named()
        })
    }

    /// Whether the trace is about every process of the host.
    pub fn is_about_everything(&self) -> bool {
        let scope = self.scope.as_ref();
        scope.is_some_and(|scope| scope.scope.is_everything())
    }

    /// Which processes the trace is about, in words; `None` where they were named.
    pub fn scope(&self) -> Option<String> {
        self.scope.as_ref().map(|scope| scope.scope.words())
    }

    /// Whether processes come by themselves.
    pub fn come_by_themselves(&self) -> bool {
        self.scope.is_some()
    }

    /// The programs: of a scope those that run, else also those that ended.
    pub fn iter(&self) -> impl Iterator<Item = &Member> {
        self.programs.values()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.programs.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    /// A program.
    pub fn get(&self, owner: Owner) -> Option<&Member> {
        self.programs.get(&owner)
    }

    /// The program that runs in a process.
    pub fn running(&self, pid: u32) -> Option<&Member> {
        self.of_process(pid).rfind(|member| member.state.is_alive())
    }

    fn of_process(&self, pid: u32) -> impl DoubleEndedIterator<Item = &Member> {
        let bound = |image| Owner { tgid: pid, image };
        self.programs
            .range(bound(0)..=bound(u32::MAX))
            .map(|(_, member)| member)
    }

    /// The last program of a process, whether it runs or not.
    pub fn last(&self, pid: u32) -> Option<&Member> {
        self.of_process(pid).next_back()
    }

    /// What the present code of a process that runs is known by.
    pub fn code(&self, pid: u32) -> Option<Owner> {
        self.running(pid).map(Member::code)
    }

    /// A library of a program was unmapped: what its addresses mean from now on.
    pub fn set_code(&mut self, code: Owner) {
        if let Some(owner) = self.running(code.tgid).map(|member| member.owner)
            && let Some(member) = self.programs.get_mut(&owner)
        {
            member.code = code.image;
        }
    }

    /// The program that runs in a process is over, in this way.
    pub fn close(&mut self, pid: u32, state: State) -> Option<&Member> {
        let owner = self.running(pid)?.owner;
        let member = self.programs.get_mut(&owner)?;
        member.state = state;
        Some(member)
    }

    /// A process begins to load another program: what it maps from now on is the new one's.
    pub fn loads(&mut self, pid: u32, command: String) {
        self.loading.insert(
            pid,
            Loading {
                command,
                mappings: Vec::new(),
            },
        );
    }

    /// Whether a process is loading another program; then this mapping is the new one's.
    pub fn maps_for_next(&mut self, pid: u32, mapping: &Mapping) -> bool {
        let loading = self.loading.get_mut(&pid);
        loading
            .map(|loading| loading.mappings.push(mapping.clone()))
            .is_some()
    }

    /// What was learned of a program before it began to run.
    pub fn loaded(&mut self, pid: u32) -> Loading {
        self.loading.remove(&pid).unwrap_or_default()
    }

    /// Adds a program that was named, or that replaces one.
    pub fn add(&mut self, owner: Owner, row: u32, command: String, at: Duration) {
        let info = info::read(owner.tgid).ok();
        let looks = Looks {
            exe: info.as_ref().and_then(|info| info.exe.clone()),
            cgroup: cgroup_text(owner.tgid),
        };
        let uid = info.as_ref().map(|info| info.uid);
        self.insert(owner, row, command, at, looks, uid, !at.is_zero());
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "all that is known of a new member, from two callers"
    )]
    fn insert(
        &mut self,
        owner: Owner,
        row: u32,
        command: String,
        at: Duration,
        looks: Looks,
        uid: Option<u32>,
        is_new: bool,
    ) {
        let member = Member {
            owner,
            code: owner.image,
            row,
            command,
            exe: looks.exe,
            state: State::Running,
            place: cgroup::place(&looks.cgroup),
            uid,
            user: uid.map(|uid| self.users.name(uid).to_owned()),
            first_seen: at,
            started_in_trace: is_new,
        };
        self.programs.insert(owner, member);
    }

    /// Takes a program out of the trace; `None` if the trace was not about it.
    pub fn remove(&mut self, owner: Owner) -> Option<Member> {
        self.programs.remove(&owner)
    }

    /// Whether the trace is about a process that runs, as far as can be told now.
    pub fn is_about(&self, pid: u32) -> bool {
        let Some(scope) = self
            .scope
            .as_ref()
            .filter(|scope| !scope.scope.is_everything())
        else {
            return true;
        };
        let Ok(info) = info::read(pid) else {
            return false;
        };
        scope.filter.matches(&Candidate {
            pid,
            comm: &info.comm,
            exe: info.exe.as_deref(),
            uid: info.uid,
            cgroup: &cgroup_text(pid),
        })
    }

    /// What is not followed although it is in the scope, in a sentence; `None` if there is nothing.
    pub fn left_out(&self) -> Option<String> {
        let names: Vec<&str> = self
            .scope
            .iter()
            .flat_map(|scope| &scope.unsupported)
            .map(String::as_str)
            .collect();
        (!names.is_empty()).then(|| {
            let names = names.join(", ");
            format!("32-bit programs are not followed, as their system calls are others: {names}")
        })
    }

    /// Row of a program of a scope, whether the trace is about it or not.
    pub fn row(&self, owner: Owner) -> Option<u32> {
        self.scope.as_ref()?.rows.get(&owner).copied()
    }

    /// The rows of all programs of a scope that run.
    pub fn rows(&self) -> impl Iterator<Item = u32> {
        self.scope
            .iter()
            .flat_map(|scope| scope.rows.values().copied())
    }

    /// The program of this process in this row.
    pub fn owner_in(&self, row: u32, tgid: u32) -> Option<Owner> {
        let mut rows = self.scope.as_ref()?.rows.iter();
        let found = rows.find(|(owner, known)| **known == row && owner.tgid == tgid);
        found.map(|(owner, _)| *owner)
    }

    /// A program has come by itself, in this row of the process table, at this elapsed time. Whether the trace is about
    /// it; if not, its calls are passed over from now on.
    pub fn admit(&mut self, tracer: &Tracer, new: &Program, row: u32, at: Duration) -> bool {
        let owner = new.owner;
        let mut cgroup = cgroup_text(owner.tgid);
        // Asked afterwards: if it still has an executable, it ran when it was asked where it is.
        let info = info::read(owner.tgid).ok();
        let exe = info.as_ref().and_then(|info| info.exe.clone());
        if exe.is_none() && new.parent != 0 {
            // It has ended already: the kernel tells nothing of it, or that it is in no cgroup (v1,
            // kernel/cgroup/cgroup.c, proc_cgroup_show). It began in its parent's.
            cgroup.push_str(&cgroup_text(new.parent));
        }
        self.judge(tracer, new, row, at, Looks { exe, cgroup }, info.as_ref())
    }

    /// As [`Self::admit`], for a process that ran before the trace and was just looked at.
    pub fn admit_running(
        &mut self,
        tracer: &Tracer,
        owner: Owner,
        row: u32,
        info: ProcessInfo,
        at: Duration,
    ) -> bool {
        let program = Program {
            owner,
            comm: info.comm.clone(),
            uid: info.uid,
            parent: info.parent,
            at_ns: 0,
        };
        let looks = Looks {
            exe: info.exe.clone(),
            cgroup: cgroup_text(owner.tgid),
        };
        let is_admitted = self.judge(tracer, &program, row, at, looks, Some(&info));
        if is_admitted {
            let is_new = self.get(owner).is_some_and(|own| own.started_in_trace);
            self.untold.push((owner, is_new));
        }
        is_admitted
    }

    /// Programs that a source has counted in by itself since this was asked before, and whether each is new.
    pub fn take_untold(&mut self) -> Vec<(Owner, bool)> {
        let mut untold = std::mem::take(&mut self.untold);
        untold.retain(|(owner, _)| self.programs.contains_key(owner));
        untold
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
    ) -> bool {
        let owner = new.owner;
        let Some(scope) = &mut self.scope else {
            return false;
        };
        scope.rows.insert(owner, row);
        let candidate = Candidate {
            pid: owner.tgid,
            comm: &new.comm,
            exe: looks.exe.as_deref(),
            uid: new.uid,
            cgroup: &looks.cgroup,
        };
        let is_in_scope = scope.filter.matches(&candidate);
        let is_32_bit = is_32_bit(info);
        if is_in_scope && is_32_bit && scope.unsupported.len() < MOST_NAMES {
            scope.unsupported.insert(new.comm.clone());
        }
        if !is_in_scope || is_32_bit {
            scope.outside.insert(owner);
            tracer.set_active(row, false);
            return false;
        }
        let is_new = is_new(info, scope.began);
        self.insert(
            owner,
            row,
            new.comm.clone(),
            at,
            looks,
            Some(new.uid),
            is_new,
        );
        true
    }

    /// The program of a process is known by another owner id from now on, as which it begins anew; what it was before.
    pub fn renew(&mut self, old: Owner, new: Owner) -> Option<Member> {
        let before = self.programs.remove(&old)?;
        if let Some(scope) = &mut self.scope
            && let Some(row) = scope.rows.remove(&old)
        {
            scope.rows.insert(new, row);
        }
        let member = Member {
            owner: new,
            code: new.image,
            ..before.clone()
        };
        self.programs.insert(new, member);
        // What it has done until now was told of the old one.
        self.untold.push((new, false));
        Some(before)
    }

    /// Notes since when a program is traced, as elapsed time of the trace.
    pub fn set_first_seen(&mut self, owner: Owner, at: Duration) {
        if let Some(member) = self.programs.get_mut(&owner) {
            member.first_seen = at;
        }
    }

    /// A process of a scope has replaced its program: the old one, if it was known, which is to be removed, and the row
    /// of both.
    pub fn replaced(&mut self, tracer: &mut Tracer, new: Owner) -> (Option<Owner>, Option<u32>) {
        let mut known = self.scope.iter().flat_map(|scope| scope.rows.keys());
        let old = known
            .find(|old| old.tgid == new.tgid && **old != new)
            .copied();
        match old {
            Some(old) => (Some(old), self.forget_row(old)),
            // No event has reported its admission: the ring was full then.
            None => (None, tracer.row_of(new.tgid)),
        }
    }

    /// A process of a scope has ended: its row, if it was known.
    pub fn forget_row(&mut self, owner: Owner) -> Option<u32> {
        self.loading.remove(&owner.tgid);
        let scope = self.scope.as_mut()?;
        scope.outside.remove(&owner);
        scope.rows.remove(&owner)
    }

    /// Whether process events were lost since this was asked before.
    pub fn have_lost_events(&mut self, tracer: &Tracer) -> bool {
        let Some(scope) = &mut self.scope else {
            return false;
        };
        let lost = tracer.loss(Loss::LifecycleFull).unwrap_or(0);
        std::mem::replace(&mut scope.lost_events, lost) < lost
    }
}

/// Where a process belongs; nowhere if it has ended.
pub fn place(pid: u32) -> Place {
    cgroup::place(&cgroup_text(pid))
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
