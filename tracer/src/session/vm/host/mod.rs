//! Address spaces of the whole host: processes come by themselves, by a fork or at their first call, and what those that
//! end have held is remembered.

mod follow;
mod members;

use std::collections::HashSet;
use std::time::{Duration, Instant};

use anyhow::Result;
use tracer_common::key::Owner;

use super::account::Account;
use super::{Vm, maps_of};
use crate::bpf::LoadError;
use crate::cli::{Target, VmConfig};
use crate::process::identity::Identities;
use crate::process::info;
use crate::process::maps::Mapping;
use crate::report::space::{SpaceHeld, SpaceHost, SpaceProcessHost};
use crate::report::units::counted_processes;
use crate::report::{EndedTally, Grouping, Rates};
use crate::session::over::Over;
use crate::session::population::Population;
use crate::session::progress::Step;
use crate::session::start;
use crate::session::unwind::Unwinder;
use crate::session::watch::Image;

/// For how long the start waits for unwind tables. A host with a few hundred processes has them by then; of a larger one the
/// first stacks are cut.
const TABLES_AWAITED: Duration = Duration::from_millis(300);

/// What only a trace of the whole host keeps.
pub(super) struct WholeHost {
    by: Grouping,
    people: Population,
    identities: Identities,
    ended: EndedTally<SpaceHeld>,
    /// Programs that are over and whose rows are still there.
    over: Vec<Over>,
    /// Programs that are over and whose stacks a child's ranges still refer to.
    survived: HashSet<Owner>,
    /// Elapsed time of the previous report.
    previous: Duration,
}

impl WholeHost {
    /// For what the command line asks.
    pub(super) fn new(config: &VmConfig) -> Result<Option<Self>> {
        let (Target::Host(scope), Some(by)) = (&config.target, config.by) else {
            return Ok(None);
        };
        Ok(Some(Self {
            by,
            people: Population::new(scope)?,
            identities: Identities::default(),
            ended: EndedTally::default(),
            over: Vec::new(),
            survived: HashSet::new(),
            previous: Duration::ZERO,
        }))
    }

    /// An unwinder with the tables begun of what the trace is about.
    pub(super) fn expecting_unwinder(&self, memory: u64) -> Unwinder {
        start::expecting_unwinder(memory, &self.people)
    }

    /// What only the host's report tells of a process, whose account has come to so many mapped bytes.
    pub(super) fn row(
        &mut self,
        account: &Account,
        mapped: u64,
        elapsed: Duration,
    ) -> Option<SpaceProcessHost> {
        let member = self.people.members_mut().get_mut(&account.owner)?;
        member.rates.add(elapsed, mapped, account.calls);
        Some(SpaceProcessHost {
            member: member.reported(),
            calls_per_second: member.rates.allocs_per_second(),
            map_known: account.map_known,
        })
    }
}

impl Vm<'_> {
    /// Begins the accounts of all processes of the host. First the calls are told, then the maps are read; processes that come
    /// meanwhile are told of by the kernel side.
    pub(super) fn begin_everywhere(&mut self) -> Result<()> {
        let step = Step::new("reading maps");
        let reading = Instant::now();
        // memlens itself is on the host, and is not traced.
        self.tracer.exclude_process(std::process::id())?;
        if let Some(unwinder) = &mut self.unwinder {
            unwinder.collect(&mut self.tracer);
        }
        self.learn_identities();
        self.tracer.enable();
        self.started = Instant::now();
        self.admit_those_that_run()?;
        let owners: Vec<Owner> = self.images.iter().map(|image| image.owner).collect();
        self.reconcile(owners);
        drop(step);
        self.log.timing("reading maps", reading);
        self.wait_for_tables();
        let scope = self.host.as_ref().map(|host| host.people.scope());
        eprintln!(
            "memlens: tracing the address spaces of {}: {}; Ctrl-C ends",
            scope.unwrap_or_default(),
            counted_processes(self.images.len() as u64)
        );
        Ok(())
    }

    /// Takes in all processes that run. A process whose parent was not known yet may come while the list is read: so
    /// it is read until there is nobody new.
    fn admit_those_that_run(&mut self) -> Result<()> {
        let mut looked_at = HashSet::from([std::process::id()]);
        loop {
            let mut pids = info::all_pids()?;
            pids.retain(|pid| looked_at.insert(*pid));
            if pids.is_empty() {
                return Ok(());
            }
            let lost = self.lost();
            for pid in pids {
                self.admit_running(pid, lost)?;
            }
        }
    }

    fn admit_running(&mut self, pid: u32, lost: u64) -> Result<()> {
        // One that has ended meanwhile is none of ours; threads of the kernel have no address space.
        let Ok(info) = info::read(pid) else {
            return Ok(());
        };
        if info.kernel_thread {
            return Ok(());
        }
        let owner = match self.tracer.add_process(pid) {
            Ok(owner) => owner,
            Err(error @ LoadError::TooManyProcesses) => {
                self.note_once(format!("some processes are not followed: {error}"));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let Some(row) = self.tracer.row_of(pid) else {
            return Ok(());
        };
        let comm = info.comm.clone();
        let Some(host) = &mut self.host else {
            return Ok(());
        };
        let admitted = host
            .people
            .admit_running(&self.tracer, owner, row, info, Duration::ZERO);
        if admitted.is_some() {
            let mut maps = maps_of(owner);
            self.images.push(Image::new(owner, comm));
            self.begin_account(owner, &maps, false, lost);
            self.begin_rates(owner);
            self.expect_code(pid, &mut maps);
        }
        Ok(())
    }

    /// Learns which files the kernel means on filesystems that have no device of their own.
    fn learn_identities(&mut self) {
        match (self.tracer.code_areas(), &mut self.host) {
            (Ok(areas), Some(host)) => host.identities.learn(&areas),
            (Err(error), _) => {
                self.note_once(format!("the first stacks may be cut: {error}"));
            }
            (Ok(_), None) => {}
        }
    }

    /// Has the unwind tables built of what a process has mapped: its first call is then walked by them, before anybody has
    /// looked at it.
    fn expect_code(&mut self, pid: u32, maps: &mut [Mapping]) {
        if let (Some(host), Some(unwinder)) = (&mut self.host, &mut self.unwinder) {
            host.identities.translate(pid, maps);
            unwinder.expect(pid, maps);
        }
    }

    /// Gives the unwind tables some time, the most urgent of which are built first.
    fn wait_for_tables(&mut self) {
        let waiting = Instant::now();
        if let Some(unwinder) = &mut self.unwinder {
            let step = Step::new("building unwind tables");
            unwinder.finish_within(&step, TABLES_AWAITED);
            unwinder.collect(&mut self.tracer);
        }
        self.log.timing("waiting for unwind tables", waiting);
    }

    /// A program grows by what it maps from now on.
    fn begin_rates(&mut self, owner: Owner) {
        let at = self.started.elapsed();
        let mapped = self
            .accounts
            .get(&owner)
            .map(|account| account.space.mapped());
        if let (Some(host), Some(mapped)) = (&mut self.host, mapped)
            && let Some(member) = host.people.members_mut().get_mut(&owner)
        {
            member.rates = Rates::with(at, mapped);
        }
    }

    /// What the host's report leaves out, in sentences.
    pub(super) fn host_notes(&self) -> Vec<String> {
        let host = self.host.as_ref();
        host.and_then(|host| host.people.left_out())
            .into_iter()
            .collect()
    }

    /// What else the report tells of the host.
    pub(super) fn host_report(&mut self, elapsed: Duration) -> Option<SpaceHost> {
        let host = self.host.as_mut()?;
        Some(SpaceHost {
            scope: host.people.scope(),
            by: host.by,
            previous: std::mem::replace(&mut host.previous, elapsed),
            top: self.config.output.top,
            ended: host.ended.ended(),
            own_rss_bytes: info::own_resident_bytes(),
        })
    }

    /// Adds a note, unless it was made before.
    fn note_once(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }
}
