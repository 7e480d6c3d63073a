//! `memlens leaks`: outstanding heap memory per call stack, report after report.

mod follow;
mod host;
mod once;
mod rows;

use std::collections::{HashMap, VecDeque};
use std::time::Instant;

use anyhow::{Context, Result};
use tracer_common::config::Admission;
use tracer_common::diagnostic::Diagnostic;
use tracer_common::key::Owner;
use tracer_common::stack::StackMeta;

use super::attach::Prober;
use super::interrupt::Interrupt;
use super::output::Printer;
use super::progress::{Log, Step};
use super::target::{self, Targets};
use super::unwind::{Scope, Unwinder};
use super::watch::{Image, Watcher};
use super::{refuse_if_unable, start};
use crate::bpf::{Events, Method, Settings, Tracer};
use crate::cli::{EXIT_DONE, EXIT_LEAKS, Invocation, LeaksConfig, Unwind};
use crate::heap::Heap;
use crate::preflight::Facts;
use crate::process::command::Running;
use crate::process::maps::Mapping;
use crate::report::{BlockFilter, CommandExit, units};
use crate::symbolize::Symbolizer;

use host::WholeHost;

/// Runs `memlens leaks`.
pub fn run(invocation: &Invocation, config: &LeaksConfig) -> Result<u8> {
    let facts = refuse_if_unable("load BPF programs")?;
    let interrupt = Interrupt::install()?;
    Printer::new(&config.output, invocation, config.show_allocs).check_files()?;
    let host = WholeHost::new(config)?;
    let targets = match host {
        Some(_) => None,
        None => Some(target::resolve(&config.target)?),
    };
    let log = Log::new(invocation.verbose);
    let unwinder = (config.unwind != Unwind::Fp).then(|| {
        let building = Instant::now();
        let unwinder = match (&targets, &host) {
            (Some(targets), _) => start::prepared_unwinder(config.unwind_memory, targets),
            (None, Some(host)) => host.expecting_unwinder(config.unwind_memory),
            (None, None) => Unwinder::new(config.unwind_memory),
        };
        log.timing("building unwind tables", building);
        unwinder
    });
    let mut settings = settings(config, unwinder.as_ref(), &facts, host.is_some());
    settings.diagnostics = log.diagnostics();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut leaks = Leaks::load(invocation, config, &settings, unwinder, host)?;
        match targets {
            Some(targets) => eprintln!("memlens: tracing {}", leaks.begin(targets)?),
            None => leaks.begin_everywhere(&settings)?,
        }
        leaks.follow(interrupt).await?;
        Ok(leaks.exit_code())
    })
}

fn settings(
    config: &LeaksConfig,
    unwinder: Option<&Unwinder>,
    facts: &Facts,
    whole_host: bool,
) -> Settings {
    let scope = match whole_host {
        true => Scope::Host,
        false => Scope::Processes,
    };
    Settings {
        unwind: unwinder.map(|unwinder| unwinder.size(scope)),
        sample_bytes: config.sample_bytes.map(u64::from),
        min_size: config.sizes.min,
        max_size: config.sizes.max,
        stack_depth: config.stack_depth,
        max_live: config.max_live,
        trace_calls: false,
        space_ring: 0,
        faults: None,
        method: start::method(facts),
        admit: match whole_host {
            true => Admission::Calls,
            false => Admission::Named,
        },
        adaptive: whole_host,
        diagnostics: 0,
    }
}

/// A running trace.
pub(super) struct Leaks<'a> {
    config: &'a LeaksConfig,
    printer: Printer<'a>,
    log: Log,
    method: Method,
    tracer: Tracer,
    /// What the programs say, with `-vvv`.
    diagnostics: Events<Diagnostic>,
    prober: Prober,
    watcher: Watcher,
    symbolizer: Symbolizer,
    unwinder: Option<Unwinder>,
    heap: Heap,
    images: Vec<Image>,
    /// Code that was mapped for programs that have not begun to run.
    loaded: HashMap<u32, Vec<Mapping>>,
    command: Option<Running>,
    command_exit: Option<CommandExit>,
    notes: Vec<String>,
    started: Instant,
    /// Stacks to look up, oldest first.
    unresolved: VecDeque<u32>,
    reports: u64,
    /// Programs that are gone and whose blocks were removed from the live map.
    swept: usize,
    live_at_last_report: u64,
    /// Set in a trace of the whole host.
    host: Option<WholeHost>,
}

impl<'a> Leaks<'a> {
    /// Loads the kernel side; nothing is probed yet.
    fn load(
        invocation: &Invocation,
        config: &'a LeaksConfig,
        settings: &Settings,
        unwinder: Option<Unwinder>,
        host: Option<WholeHost>,
    ) -> Result<Self> {
        let log = Log::new(invocation.verbose);
        let _step = Step::new("loading the BPF programs");
        let loading = Instant::now();
        let mut tracer = Tracer::load(settings)?;
        let lifecycle = tracer.take_lifecycle()?;
        let watcher =
            Watcher::new(lifecycle, host.is_some()).context("cannot watch for new mappings")?;
        log.timing("loading", loading);
        Ok(Self {
            config,
            printer: Printer::new(&config.output, invocation, config.show_allocs),
            log,
            method: settings.method,
            diagnostics: tracer.take_diagnostics()?,
            tracer,
            prober: Prober::new(&config.allocator, false),
            watcher,
            symbolizer: Symbolizer::new(),
            unwinder,
            heap: Heap::default(),
            images: Vec::new(),
            loaded: HashMap::new(),
            command: None,
            command_exit: None,
            notes: Vec::new(),
            started: Instant::now(),
            unresolved: VecDeque::new(),
            reports: 0,
            swept: 0,
            live_at_last_report: 0,
            host,
        })
    }

    /// Places the probes on named processes and lets the trace begin; what is traced, in words.
    fn begin(&mut self, targets: Targets) -> Result<String> {
        let step = Step::new("placing probes");
        let attaching = Instant::now();
        let ready = start::begin(
            &mut self.tracer,
            &mut self.prober,
            &mut self.watcher,
            self.unwinder.as_mut(),
            targets,
        )?;
        drop(step);
        self.log.timing("attaching", attaching);
        let details = start::attach_details(&self.prober, &ready, &mut self.tracer);
        self.log.details(|| details);
        self.started = Instant::now();
        self.images = ready.images;
        self.command = ready.command;
        self.note_left_out();
        for image in &self.images {
            // A process that ends at once is reported by its end.
            let _ = self.symbolizer.snapshot(image.code());
        }
        Ok(ready.summary)
    }

    /// The blocks that reports count.
    fn block_filter(&self) -> BlockFilter {
        BlockFilter {
            older: self.config.older,
            min_size: self.config.sizes.min,
            max_size: self.config.sizes.max,
        }
    }

    /// 1 if the last report holds more than the user allows, which is then said.
    fn exit_code(&self) -> u8 {
        let Some(limit) = self.config.fail_over else {
            return EXIT_DONE;
        };
        if self.live_at_last_report <= limit {
            return EXIT_DONE;
        }
        let which = self.block_filter().words();
        eprintln!(
            "memlens: {} live{} exceeds --fail-over {}",
            units::bytes(self.live_at_last_report),
            which.map_or_else(String::new, |words| format!(" ({words})")),
            units::bytes(limit)
        );
        EXIT_LEAKS
    }
}

/// What a stack's addresses are known by to the symbolizer.
fn code_of(meta: &StackMeta) -> Owner {
    Owner {
        tgid: meta.owner.tgid,
        image: meta.code,
    }
}
