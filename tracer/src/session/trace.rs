//! `memlens trace`: one line for each call, as fast as the pipe takes them.

use std::collections::HashMap;
use std::io::{self, Write};
use std::time::Duration;

use anyhow::{Context, Result};
use tokio::time::{MissedTickBehavior, interval};
use tracer_common::config::Admission;
use tracer_common::event::CallEvent;
use tracer_common::key::Owner;
use tracer_common::loss::Loss;

use super::attach::Prober;
use super::interrupt::Interrupt;
use super::output::{Reader, reader};
use super::progress::{Log, clear_echo};
use super::watch::{Change, Watcher, readable};
use super::{error, refuse_if_unable, start, target};
use crate::bpf::{Events, Method, Settings, Tracer};
use crate::cli::{EXIT_DONE, Invocation, TraceConfig};
use crate::symbolize::{Frame, Symbolizer};

/// How often the ring is emptied when it does not fill by itself.
const DRAIN_EVERY: Duration = Duration::from_millis(5);
/// Lines printed before anything else is looked at.
const DRAIN_AT_ONCE: usize = 16_384;

/// Runs `memlens trace`.
pub fn run(invocation: &Invocation, config: &TraceConfig) -> Result<u8> {
    let facts = refuse_if_unable("load BPF programs")?;
    let interrupt = Interrupt::install()?;
    let targets = target::resolve(&config.target)?;
    let settings = Settings {
        sample_bytes: None,
        min_size: config.sizes.min,
        max_size: config.sizes.max,
        stack_depth: 1,
        max_live: 1,
        trace_calls: true,
        unwind: None,
        space_ring: 0,
        faults: None,
        method: start::method(&facts),
        admit: Admission::Named,
        adaptive: false,
        diagnostics: 0,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let mut tracer = Tracer::load(&settings)?;
        let mut prober = Prober::new(&config.allocator, true);
        let mut watcher = Watcher::new(tracer.take_lifecycle()?, false)
            .context("cannot watch for new mappings")?;
        let calls = tracer.take_calls()?;
        let ready = start::begin(&mut tracer, &mut prober, &mut watcher, None, targets)?;
        eprintln!("memlens: tracing {}", ready.summary);
        for note in start::left_out_notes(&prober) {
            eprintln!("memlens: {note}");
        }
        let log = Log::new(invocation.verbose);
        log.details(|| start::attach_details(&prober, &ready, &mut tracer));
        let mut callers = Callers::default();
        let mut names = HashMap::new();
        for image in &ready.images {
            callers.begin(image.owner);
            names.insert(image.owner.tgid, image.comm.clone());
        }
        let mut trace = Trace {
            log,
            method: settings.method,
            names,
            tracer,
            prober,
            watcher,
            lines: Lines::new(),
            callers,
        };
        trace.follow(calls, interrupt).await?;
        Ok(EXIT_DONE)
    })
}

struct Trace {
    log: Log,
    method: Method,
    /// Names of the processes at the start.
    names: HashMap<u32, String>,
    tracer: Tracer,
    prober: Prober,
    watcher: Watcher,
    lines: Lines,
    callers: Callers,
}

impl Trace {
    async fn follow(&mut self, calls: Events<CallEvent>, mut interrupt: Interrupt) -> Result<()> {
        let mut calls = readable(calls)?;
        let mut drain = interval(DRAIN_EVERY);
        drain.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut listening = Reader::Listening;
        while listening == Reader::Listening && self.watcher.running() > 0 {
            tokio::select! {
                biased;
                () = interrupt.wait() => break,
                changes = self.watcher.changes() => self.apply(&changes.context("cannot wait for process events")?),
                _ = drain.tick() => {}
                ready = calls.readable() => ready?.clear_ready(),
            }
            listening = self.lines.print(
                calls.get_mut(),
                &self.prober,
                &mut self.callers,
                DRAIN_AT_ONCE,
            )?;
        }
        if interrupt.is_set() {
            clear_echo();
        }
        self.tracer.disable();
        start::announce_detaching(self.method, &self.prober);
        self.tracer.links().0.detach();
        if listening == Reader::Listening {
            self.lines
                .print(calls.get_mut(), &self.prober, &mut self.callers, usize::MAX)?;
        }
        let lost = self
            .tracer
            .losses()?
            .get(&Loss::RingBufferFull)
            .copied()
            .unwrap_or(0);
        match lost {
            0 => eprintln!("memlens: {} events, none lost", self.lines.printed),
            _ => eprintln!(
                "memlens: {} events, and {lost} lost because they came faster than they were read: the lines have gaps; \
                 name a size range (--min-size) or write to a file",
                self.lines.printed
            ),
        }
        Ok(())
    }

    fn apply(&mut self, changes: &[Change]) {
        for change in changes {
            self.log.event(|| change.words());
            let pid = match change {
                Change::Exec(new) => {
                    self.callers.begin(new.owner);
                    new.owner.tgid
                }
                Change::Map(pid, _) | Change::Look(pid) => *pid,
                Change::Exit(pid) => {
                    let name = self.names.get(pid).map_or("?", String::as_str);
                    eprintln!("memlens: process {pid} ({name}) has exited");
                    continue;
                }
                Change::Load(..)
                | Change::Unload(_)
                | Change::Admitted(..)
                | Change::Ended(_)
                | Change::Lost => continue,
            };
            if let Err(failure) = self.prober.attach_new(&mut self.tracer, pid)
                && self.watcher.is_running(pid)
            {
                let why = error::plain(&failure.to_string());
                eprintln!("memlens: process {pid}: {why}");
            }
        }
    }
}

/// Names of the callers, each looked up once.
#[derive(Default)]
struct Callers {
    symbolizer: Symbolizer,
    owners: HashMap<u32, Owner>,
    names: HashMap<(u32, u64), String>,
}

impl Callers {
    /// A program begins: what was known of an earlier one in this process no longer holds.
    fn begin(&mut self, owner: Owner) {
        self.names.retain(|(tgid, _), _| *tgid != owner.tgid);
        if let Some(old) = self.owners.insert(owner.tgid, owner) {
            self.symbolizer.forget(old);
        }
        // If it ends at once its callers go without names.
        let _ = self.symbolizer.snapshot(owner);
    }

    /// `function+0xoffset`, `module+0xoffset` or the bare address.
    fn name(&mut self, tgid: u32, address: u64) -> &str {
        let Self {
            symbolizer,
            owners,
            names,
        } = self;
        names.entry((tgid, address)).or_insert_with(|| {
            let owner = owners
                .get(&tgid)
                .copied()
                .unwrap_or(Owner { tgid, image: 0 });
            let frames = symbolizer.symbolize(owner, &[address], true);
            frames.last().map_or_else(|| format!("{address:#x}"), place)
        })
    }
}

fn place(frame: &Frame) -> String {
    match (
        &frame.symbol,
        frame.offset,
        &frame.module,
        frame.module_offset,
    ) {
        (Some(symbol), Some(offset), _, _) => format!("{symbol}+{offset:#x}"),
        (Some(symbol), None, _, _) => symbol.clone(),
        (None, _, Some(module), Some(offset)) => format!("{}+{offset:#x}", module.display()),
        _ => format!("{:#x}", frame.address),
    }
}

/// Event lines on standard output.
struct Lines {
    out: io::BufWriter<io::Stdout>,
    printed: u64,
    header: bool,
}

impl Lines {
    fn new() -> Self {
        Self {
            out: io::BufWriter::with_capacity(256 << 10, io::stdout()),
            printed: 0,
            header: false,
        }
    }

    /// Prints up to `most` events that wait in the ring.
    fn print(
        &mut self,
        calls: &mut Events<CallEvent>,
        prober: &Prober,
        callers: &mut Callers,
        most: usize,
    ) -> Result<Reader> {
        let mut written = Ok(());
        let mut left = most;
        while left > 0
            && written.is_ok()
            && let Some(event) = calls.take_next()
        {
            written = self.line(
                &event,
                prober.function(event.function),
                prober.releases(event.function),
                callers.name(event.tgid, event.caller),
            );
            left -= 1;
        }
        reader(written.and_then(|()| self.out.flush()))
    }

    fn line(
        &mut self,
        event: &CallEvent,
        function: &str,
        releases: bool,
        caller: &str,
    ) -> io::Result<()> {
        if !self.header {
            self.header = true;
            writeln!(self.out, "# TIME PID TID FUNCTION SIZE ADDRESS CALLER")?;
        }
        self.printed += 1;
        write!(
            self.out,
            "{}.{:06} {} {} {function} ",
            event.time_ns / 1_000_000_000,
            event.time_ns / 1000 % 1_000_000,
            event.tgid,
            event.tid,
        )?;
        // The allocator is not told how large a block is that it takes back.
        match releases {
            true => write!(self.out, "-")?,
            false => write!(self.out, "{}", event.size)?,
        }
        write!(self.out, " {:#x} {caller}", event.addr)?;
        if event.old != 0 {
            write!(self.out, " old={:#x}", event.old)?;
        }
        writeln!(self.out)
    }
}
