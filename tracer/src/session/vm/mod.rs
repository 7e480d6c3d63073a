//! `memlens vm`: what is mapped, by whom, and how much of it is memory, report after report.

mod account;
mod faults;
mod follow;
mod host;
mod once;
mod rows;

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use anyhow::{Context, Result};
use tokio::io::unix::AsyncFd;
use tracer_common::config::Admission;
use tracer_common::faults::SpaceRecord;
use tracer_common::key::Owner;
use tracer_common::limits;

use self::account::Account;
use self::faults::Faults;
use self::host::WholeHost;
use super::interrupt::Interrupt;
use super::output::Printer;
use super::progress::{Log, Step};
use super::target::{self, Targets};
use super::unwind::{Scope, Unwinder};
use super::watch::{Image, Watcher, readable};
use super::{refuse_if_unable, start};
use crate::bpf::{Events, Method, Settings, Tracer};
use crate::cli::{EXIT_DONE, Invocation, Unwind, VmConfig};
use crate::process::command::Running;
use crate::process::info;
use crate::process::maps::{self, Mapping};
use crate::report::CommandExit;
use crate::symbolize::Symbolizer;

pub(super) use self::once::Since;

/// Runs `memlens vm`.
pub fn run(invocation: &Invocation, config: &VmConfig) -> Result<u8> {
    refuse_if_unable("load BPF programs")?;
    let interrupt = Interrupt::install()?;
    Printer::new(&config.output, invocation, false).check_files()?;
    let host = WholeHost::new(config)?;
    let targets = match host {
        Some(_) => None,
        None => Some(target::resolve(&config.target)?),
    };
    let log = Log::new(invocation.verbose);
    let building = Instant::now();
    let unwinder = (config.unwind != Unwind::Fp).then(|| match (&targets, &host) {
        (Some(targets), _) => start::prepared_unwinder(config.unwind_memory, targets),
        (None, Some(host)) => host.expecting_unwinder(config.unwind_memory),
        (None, None) => Unwinder::new(config.unwind_memory),
    });
    log.timing("building unwind tables", building);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut vm = Vm::load(invocation, config, unwinder, host)?;
        match targets {
            Some(targets) => vm.begin(targets)?,
            None => vm.begin_everywhere()?,
        }
        vm.follow(interrupt).await?;
        Ok(EXIT_DONE)
    })
}

fn settings(config: &VmConfig, unwinder: Option<&Unwinder>, whole_host: bool) -> Settings {
    let (scope, admit) = match whole_host {
        true => (Scope::Host, Admission::Births),
        false => (Scope::Processes, Admission::Named),
    };
    Settings {
        unwind: unwinder.map(|unwinder| unwinder.size(scope)),
        sample_bytes: None,
        min_size: 0,
        max_size: u64::MAX,
        stack_depth: config.stack_depth,
        max_live: 1,
        trace_calls: false,
        space_ring: ring_bytes(),
        faults: config.faults,
        // No probe is placed.
        method: Method::PerfEvents,
        admit,
        adaptive: false,
        diagnostics: 0,
    }
}

/// Bytes of the ring; `MEMLENS_SPACE_RING` makes it another, for tests.
fn ring_bytes() -> u32 {
    let given = std::env::var("MEMLENS_SPACE_RING").ok();
    let given = given.and_then(|bytes| bytes.parse::<u32>().ok());
    given
        .filter(|bytes| bytes.is_power_of_two() && *bytes >= 4096)
        .unwrap_or(limits::SPACE_RING_BYTES)
}

/// Bytes of a huge page where a program does not say which; 2 MiB where the kernel does not tell.
fn default_huge_page() -> u64 {
    use procfs::Current;
    let told = procfs::Meminfo::current().ok();
    told.and_then(|told| told.hugepagesize).unwrap_or(2 << 20)
}

/// A running trace of address spaces.
pub(super) struct Vm<'a> {
    /// Says nothing on standard error of what goes well: another trace does.
    quiet: bool,
    config: &'a VmConfig,
    printer: Printer<'a>,
    log: Log,
    tracer: Tracer,
    events: AsyncFd<Events<SpaceRecord>>,
    watcher: Watcher,
    symbolizer: Symbolizer,
    unwinder: Option<Unwinder>,
    images: Vec<Image>,
    accounts: HashMap<Owner, Account>,
    /// Page faults, where they are followed.
    faults: Option<Faults>,
    /// Events of programs whose `exec` has not been told yet.
    early: HashMap<Owner, Vec<SpaceRecord>>,
    /// Processes that have made their first call of the trace.
    awake: Vec<u32>,
    /// Code that programs map before they begin to run.
    loading: HashMap<u32, (String, Vec<Mapping>)>,
    command: Option<Running>,
    command_exit: Option<CommandExit>,
    notes: Vec<String>,
    started: Instant,
    /// Stacks to look up, oldest first.
    unresolved: VecDeque<u32>,
    reports: u64,
    /// Bytes mapped at the last report: of each program, and of each stack.
    mapped_before: rows::Before,
    huge_page: u64,
    /// Set in a trace of the whole host.
    host: Option<WholeHost>,
}

impl<'a> Vm<'a> {
    /// Loads the kernel side; nothing is told yet.
    fn load(
        invocation: &Invocation,
        config: &'a VmConfig,
        unwinder: Option<Unwinder>,
        host: Option<WholeHost>,
    ) -> Result<Self> {
        let log = Log::new(invocation.verbose);
        let _step = Step::new("loading the BPF programs");
        let loading = Instant::now();
        let mut tracer = Tracer::load(&settings(config, unwinder.as_ref(), host.is_some()))?;
        let events = readable(tracer.attach_space()?).context("cannot wait for events")?;
        if config.faults.is_some() {
            tracer.attach_faults()?;
        }
        let lifecycle = tracer.take_lifecycle()?;
        let watcher =
            Watcher::new(lifecycle, host.is_some()).context("cannot watch for new mappings")?;
        log.timing("loading", loading);
        Ok(Self {
            quiet: false,
            config,
            printer: Printer::new(&config.output, invocation, false),
            log,
            tracer,
            events,
            watcher,
            symbolizer: Symbolizer::new(),
            unwinder,
            images: Vec::new(),
            accounts: HashMap::new(),
            faults: config.faults.is_some().then(Faults::default),
            early: HashMap::new(),
            awake: Vec::new(),
            loading: HashMap::new(),
            command: None,
            command_exit: None,
            notes: Vec::new(),
            started: Instant::now(),
            unresolved: VecDeque::new(),
            reports: 0,
            mapped_before: rows::Before::default(),
            huge_page: default_huge_page(),
            host,
        })
    }

    /// Lets the trace begin: first the calls are told, then the maps are read.
    fn begin(&mut self, targets: Targets) -> Result<()> {
        for process in &targets.processes {
            if let Err(error) = self.watcher.add(process.pid) {
                info::read(process.pid)?;
                return Err(error.into());
            }
            let owner = self.tracer.add_process(process.pid)?;
            self.images.push(Image::new(owner, process.comm.clone()));
        }
        if let Some(unwinder) = &mut self.unwinder {
            unwinder.collect(&mut self.tracer);
            for image in &self.images {
                unwinder.publish(&mut self.tracer, image.owner.tgid);
            }
        }
        self.tracer.enable();
        self.started = Instant::now();
        let owners: Vec<Owner> = self.images.iter().map(|image| image.owner).collect();
        for owner in owners {
            self.open_account(owner, false);
            // A process that ends at once is reported by its end.
            let _ = self.symbolizer.snapshot(owner);
        }
        if let Some((stopped, _)) = targets.command {
            self.command = Some(stopped.release()?);
        }
        let who = match self.images.as_slice() {
            [image] => format!("process {} ({})", image.owner.tgid, image.comm),
            images => format!("{} processes", images.len()),
        };
        if !self.quiet {
            eprintln!("memlens: tracing the address space of {who}; Ctrl-C ends");
        }
        Ok(())
    }

    /// Begins the account of a program; of a new one, once it has called `exec`.
    fn open_account(&mut self, owner: Owner, is_new: bool) {
        let lost = self.lost();
        self.begin_account(owner, &maps_of(owner), is_new, lost);
        self.reconcile([owner]);
    }

    /// Begins the account of a program from its maps, and from what was told of it before; so many events of all programs were lost
    /// before the maps were read.
    fn begin_account(&mut self, owner: Owner, maps: &[Mapping], is_new: bool, lost: u64) {
        if let Some(faults) = &mut self.faults {
            faults.begin(owner);
        }
        let account = Account::begin(owner, maps, is_new, lost);
        self.accounts.insert(owner, account);
        for record in self.early.remove(&owner).unwrap_or_default() {
            self.take_in(&record);
        }
    }
}

/// What a program has mapped; nothing if it has ended.
fn maps_of(owner: Owner) -> Vec<Mapping> {
    maps::read(owner.tgid).unwrap_or_default()
}
