//! A trace of the whole host: probes belong to files, processes come by themselves at their first call, and a guard
//! watches what it all costs.

mod cost;
mod files;
mod follow;
mod members;
mod report;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Result;
use tracer_common::key::Owner;

use super::Leaks;
use crate::bpf::{Settings, Tracer};
use crate::cli::{HostConfig, LeaksConfig, Target};
use crate::guard::{Costs, Guard};
use crate::process::identity::Identities;
use crate::report::{EndedTally, GuardStep, LateFile};
use crate::session::over::Over;
use crate::session::population::{Member, Population};
use crate::session::progress::Step;
use crate::session::start;
use crate::session::unwind::Unwinder;

/// What a hit of an empty program costs where it could not be measured; `docs/performance.md` has 450 ns.
const ASSUMED_HIT: Duration = Duration::from_nanos(500);

/// What only a trace of the whole host keeps.
pub(super) struct WholeHost {
    settings: HostConfig,
    people: Population,
    identities: Identities,
    guard: Guard,
    /// CPUs of the machine.
    cpus: f64,
    /// When the guard took the probes off a program that runs.
    probes_off: HashMap<Owner, Duration>,
    ended: EndedTally,
    /// Programs that are over, and whose blocks and rows are still there.
    over: Vec<Over>,
    steps: Vec<GuardStep>,
    late: Vec<LateFile>,
    programs: Programs,
    /// The last step that was taken for each program.
    precedents: HashMap<u32, usize>,
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
    /// The number of a process's executable, where that could be read.
    fn number(&mut self, member: &Member) -> Option<u32> {
        let path = member.exe.as_ref()?;
        let next = self.paths.len() as u32;
        let number = *self.numbers.entry(path.clone()).or_insert(next);
        if number == next {
            self.paths.push(path.clone());
        }
        Some(number)
    }

    /// The same, if it has one by now.
    fn known(&self, member: &Member) -> Option<u32> {
        self.numbers.get(member.exe.as_ref()?).copied()
    }

    /// The name of the file.
    fn name(&self, number: u32) -> Option<String> {
        let name = self.paths.get(number as usize)?.file_name()?;
        Some(name.to_string_lossy().into_owned())
    }
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
            people: Population::new(scope)?,
            identities: Identities::default(),
            guard: Guard::new(
                None,
                Costs::from_empty_hit(ASSUMED_HIT.as_nanos() as f64),
                0,
            ),
            cpus,
            probes_off: HashMap::new(),
            ended: EndedTally::default(),
            over: Vec::new(),
            steps: Vec::new(),
            late: Vec::new(),
            programs: Programs::default(),
            precedents: HashMap::new(),
            previous: Duration::ZERO,
        }))
    }

    /// An unwinder with the tables begun of what the trace is about.
    pub(super) fn expecting_unwinder(&self, memory: u64) -> Unwinder {
        start::expecting_unwinder(memory, &self.people)
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
        let scope = self.host.as_ref().map(|host| host.people.scope());
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
