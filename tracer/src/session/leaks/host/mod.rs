//! A trace of the whole host: probes belong to files, processes come by themselves at their first call, and a guard
//! watches what it all costs.

mod cost;
mod files;
mod follow;
mod members;
mod report;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use tracer_common::key::Owner;

use super::Leaks;
use crate::bpf::{Settings, Tracer};
use crate::cli::{HostConfig, LeaksConfig, Target};
use crate::guard::{Costs, Guard};
use crate::process::identity::Identities;
use crate::process::info;
use crate::process::maps;
use crate::process::scope::{Filter, Scope};
use crate::process::users::Users;
use crate::report::{EndedTally, GuardStep, LateFile};
use crate::session::progress::Step;
use crate::session::unwind::Unwinder;

use members::Member;

/// What a hit of an empty program costs where it could not be measured; `docs/performance.md` has 450 ns.
const ASSUMED_HIT: Duration = Duration::from_nanos(500);

/// What only a trace of the whole host keeps.
pub(super) struct WholeHost {
    settings: HostConfig,
    scope: Scope,
    filter: Filter,
    users: Users,
    identities: Identities,
    guard: Guard,
    /// CPUs of the machine.
    cpus: f64,
    /// The programs that run and that the trace is about.
    members: BTreeMap<Owner, Member>,
    /// Programs that run and that the trace is not about.
    strangers: HashSet<Owner>,
    /// Rows of the process table.
    rows: HashMap<Owner, u32>,
    ended: EndedTally,
    /// Programs that are over, and whose blocks and rows are still there.
    over: Vec<Over>,
    steps: Vec<GuardStep>,
    late: Vec<LateFile>,
    programs: Programs,
    /// The last step that was taken for each program.
    precedents: HashMap<u32, usize>,
    /// When the trace began, in clock ticks since boot.
    began: u64,
    /// Process events that were lost and repaired.
    lost_events: u64,
    /// Elapsed time of the previous report.
    previous: Duration,
}

/// Numbers of executables.
#[derive(Default)]
struct Programs {
    numbers: HashMap<PathBuf, u32>,
    paths: Vec<PathBuf>,
}

impl Programs {
    /// The number of an executable.
    fn number(&mut self, path: PathBuf) -> u32 {
        let next = self.paths.len() as u32;
        *self.numbers.entry(path).or_insert_with_key(|path| {
            self.paths.push(path.clone());
            next
        })
    }

    /// The name of the file.
    fn name(&self, number: u32) -> Option<String> {
        let name = self.paths.get(number as usize)?.file_name()?;
        Some(name.to_string_lossy().into_owned())
    }
}

/// A program that is over.
struct Over {
    owner: Owner,
    /// Its process's row, if the process has ended too.
    row: Option<u32>,
}

impl WholeHost {
    /// For what the command line asks.
    pub(super) fn new(config: &LeaksConfig) -> Result<Option<Self>> {
        let (Target::Host(scope), Some(settings)) = (&config.target, &config.host) else {
            return Ok(None);
        };
        allow_many_files();
        let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        Ok(Some(Self {
            settings: settings.clone(),
            filter: scope.filter()?,
            scope: scope.clone(),
            users: Users::default(),
            identities: Identities::default(),
            guard: Guard::new(
                None,
                Costs::from_empty_hit(ASSUMED_HIT.as_nanos() as f64),
                0,
            ),
            cpus,
            members: BTreeMap::new(),
            strangers: HashSet::new(),
            rows: HashMap::new(),
            ended: EndedTally::default(),
            over: Vec::new(),
            steps: Vec::new(),
            late: Vec::new(),
            programs: Programs::default(),
            precedents: HashMap::new(),
            began: info::now_in_ticks(),
            lost_events: 0,
            previous: Duration::ZERO,
        }))
    }

    /// Measures what a probe hit costs here, and sets the guard up for it.
    fn calibrate(&mut self, tracer: &mut Tracer, settings: &Settings) -> Result<Duration> {
        let hit = tracer.time_of_a_hit()?.unwrap_or(ASSUMED_HIT);
        let budget = self.settings.cpu_budget_percent;
        self.guard = Guard::new(
            budget.map(|percent| percent / 100.0 * self.cpus),
            Costs::from_empty_hit(hit.as_nanos() as f64),
            settings.sample_bytes.unwrap_or(0),
        );
        Ok(hit)
    }
}

/// Lets us open as many files as the administrator allows at all: links, and every file with code on the host.
fn allow_many_files() {
    use nix::sys::resource::{Resource, getrlimit, setrlimit};
    if let Ok((_, most)) = getrlimit(Resource::RLIMIT_NOFILE) {
        // If it fails, files that cannot be opened are told of one by one.
        let _ = setrlimit(Resource::RLIMIT_NOFILE, most, most);
    }
}

/// An unwinder with the tables begun of what is mapped on the host.
pub(super) fn expecting_unwinder(config: &LeaksConfig) -> Unwinder {
    let mut unwinder = Unwinder::new(config.unwind_memory);
    for pid in info::all_pids().unwrap_or_default() {
        // A process that has ended meanwhile needs none.
        if let Ok(maps) = maps::read(pid) {
            unwinder.expect(pid, &maps);
        }
    }
    unwinder
}

impl Leaks<'_> {
    /// Probes every allocator that is mapped on the host, and begins to count.
    pub(super) fn begin_everywhere(&mut self, settings: &Settings) -> Result<()> {
        let step = Step::new("placing probes");
        let attaching = Instant::now();
        let hit = match &mut self.host {
            Some(host) => host.calibrate(&mut self.tracer, settings)?,
            None => return Ok(()),
        };
        // memlens itself is on the host, and is not traced.
        self.tracer.exclude_process(std::process::id())?;
        let files = self.probe_everything()?;
        self.tracer.enable();
        self.started = Instant::now();
        drop(step);
        self.log.timing("attaching", attaching);
        let scope = self.host.as_ref().map(|host| host.scope.words());
        eprintln!(
            "memlens: tracing {}: {files} with allocators; a probe hit costs {} ns here; Ctrl-C ends",
            scope.unwrap_or_default(),
            hit.as_nanos()
        );
        Ok(())
    }

    /// Keeps account of the stacks that are new.
    pub(super) fn take_in_new_stacks(&mut self) {
        self.tracer.new_stacks();
    }
}
