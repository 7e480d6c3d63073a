//! Single calls of the allocator: one line each on standard output, as fast as the pipe takes them.

use std::collections::HashMap;
use std::io::{self, Write};
use std::path::PathBuf;
use std::task::{Context as TaskContext, Poll};
use std::time::Duration;

use anyhow::{Context, Result};
use jiff::Timestamp;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::io::unix::AsyncFd;
use tracer_common::event::CallEvent;
use tracer_common::key::Owner;

use crate::bpf::{Events, Method, Settings};
use crate::engine::attach::{Allocator, Prober};
use crate::engine::{Core, Flow, Member, Snapshot, Source, monotonic_ns, readable};
use crate::profile::{Measure, Subject, wire};
use crate::symbolize::Frame;
use crate::words;

/// How often the ring is emptied when it does not fill by itself.
const DRAIN_EVERY: Duration = Duration::from_millis(5);
/// Lines printed before anything else is looked at.
const DRAIN_AT_ONCE: usize = 16_384;

/// What is printed, and how.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CallOptions {
    /// Smaller blocks are left out.
    pub min_size: u64,
    /// Larger blocks are left out.
    pub max_size: u64,
    /// Where the allocator is.
    pub allocator: Allocator,
    /// One JSON object a line in place of text.
    pub json: bool,
}

/// A call, as it is printed in JSON.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Call<'a> {
    /// When it ended: RFC 3339, UTC, milliseconds.
    #[serde(with = "wire::time")]
    #[schemars(with = "String")]
    pub time: Timestamp,
    /// The same by `CLOCK_MONOTONIC`, in nanoseconds.
    pub monotonic_ns: u64,
    /// The process.
    pub pid: u32,
    /// The thread.
    pub tid: u32,
    /// The function's name.
    pub function: &'a str,
    /// Bytes that were asked for; null for a release, which does not say.
    pub size: Option<u64>,
    /// The block's address; `0x0` where the call failed.
    #[serde(with = "wire::address")]
    #[schemars(with = "String")]
    pub address: u64,
    /// The block that a `realloc` was given; null for other calls.
    #[serde(with = "wire::optional_address")]
    #[schemars(with = "Option<String>")]
    pub old: Option<u64>,
    /// Where it was called: `function+0xoffset`, `module+0xoffset` or the bare address.
    pub caller: &'a str,
}

/// The calls of a trace's programs.
pub struct Calls {
    options: CallOptions,
    prober: Prober,
    ring: Option<AsyncFd<Events<CallEvent>>>,
    /// Names of callers, each looked up once.
    names: HashMap<(u32, u64), String>,
    lines: Lines,
    is_read: bool,
}

impl Calls {
    /// Nothing is printed yet.
    pub fn new(options: CallOptions) -> Self {
        Self {
            prober: Prober::new(&options.allocator, true),
            lines: Lines::new(options.json),
            options,
            ring: None,
            names: HashMap::new(),
            is_read: true,
        }
    }

    /// Calls printed so far.
    pub const fn printed(&self) -> u64 {
        self.lines.printed
    }

    /// Prints up to `most` calls that wait in the ring.
    fn print(&mut self, core: &mut Core, most: usize) -> Result<Flow> {
        let Some(ring) = self.ring.as_mut().filter(|_| self.is_read) else {
            return Ok(Flow::Unread);
        };
        let mut written = Ok(());
        let mut left = most;
        while left > 0
            && written.is_ok()
            && let Some(event) = ring.get_mut().take_next()
        {
            let caller = self
                .names
                .entry((event.tgid, event.caller))
                .or_insert_with(|| name(core, &event));
            written = self.lines.write(&event, &self.prober, caller);
            left -= 1;
        }
        let flow = Flow::of_output(written.and_then(|()| self.lines.out.flush()))?;
        self.is_read = flow != Flow::Unread;
        Ok(flow)
    }
}

/// Where a call came from.
fn name(core: &mut Core, event: &CallEvent) -> String {
    let code = core.members.last(event.tgid).map(Member::code);
    let code = code.unwrap_or(Owner {
        tgid: event.tgid,
        image: 0,
    });
    let frame = core.symbols.symbolize(code, &[event.caller], true).pop();
    frame
        .as_ref()
        .map_or_else(|| format!("{:#x}", event.caller), place)
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

impl Source for Calls {
    fn period(&self) -> Duration {
        DRAIN_EVERY
    }

    fn configure(&self, settings: &mut Settings, _in_scope: bool) {
        settings.min_size = self.options.min_size;
        settings.max_size = self.options.max_size;
        settings.trace_calls = true;
        settings.stack_depth = 1;
        settings.max_live = 1;
    }

    fn load(&mut self, core: &mut Core) -> Result<()> {
        self.ring = Some(readable(core.tracer.take_calls()?).context("cannot wait for events")?);
        Ok(())
    }

    fn attach(&mut self, core: &mut Core, pid: u32, files: Option<&[PathBuf]>) -> Result<()> {
        self.prober.begin(&mut core.tracer, pid, files)?;
        Ok(())
    }

    fn summary(&self, core: &Core) -> String {
        self.prober.summary(core.members.iter())
    }

    fn details(&self) -> Vec<String> {
        let left_out = self.prober.left_out_notes();
        left_out.chain(self.prober.details()).collect()
    }

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<io::Result<()>> {
        match &self.ring {
            None => Poll::Pending,
            Some(ring) => ring
                .poll_read_ready(context)
                .map_ok(|mut ready| ready.clear_ready()),
        }
    }

    fn drain(&mut self, core: &mut Core) -> Result<Flow> {
        self.print(core, DRAIN_AT_ONCE)
    }

    fn look(&mut self, core: &mut Core, pid: u32) {
        if core.members.running(pid).is_none() {
            return;
        }
        let placed = match core.maps(pid) {
            Ok(maps) => self.prober.attach_new(&mut core.tracer, pid, &maps),
            Err(error) => Err(error.into()),
        };
        if let Err(failure) = placed {
            let why = words::error::plain(&failure.to_string());
            eprintln!("memlens: process {pid}: {why}");
        }
    }

    /// What was known of an earlier program in this process no longer holds.
    fn joined(&mut self, _core: &mut Core, owner: Owner, _is_new: bool) {
        self.names.retain(|(tgid, _), _| *tgid != owner.tgid);
    }

    fn measure(&mut self, core: &mut Core) -> Result<()> {
        self.print(core, usize::MAX).map(drop)
    }

    fn describe(&mut self, _core: &mut Core, _owner: Owner, _subject: &mut Subject) -> bool {
        true
    }

    fn ranked_by(&self) -> &'static [Measure] {
        &[]
    }

    fn write(&mut self, _core: &mut Core, _out: &mut Snapshot) -> Result<()> {
        Ok(())
    }

    fn announce_leaving(&self, method: Method) {
        self.prober.announce_detaching(method);
    }
}

/// Lines on standard output.
struct Lines {
    out: io::BufWriter<io::Stdout>,
    json: bool,
    printed: u64,
    /// Wall-clock time less `CLOCK_MONOTONIC`, in nanoseconds.
    offset: i128,
}

impl Lines {
    fn new(json: bool) -> Self {
        Self {
            out: io::BufWriter::with_capacity(256 << 10, io::stdout()),
            json,
            printed: 0,
            offset: Timestamp::now().as_nanosecond() - i128::from(monotonic_ns()),
        }
    }

    fn write(&mut self, event: &CallEvent, prober: &Prober, caller: &str) -> io::Result<()> {
        let function = prober.function(event.function);
        // The allocator is not told how large a block is that it takes back.
        let size = (!prober.releases(event.function)).then_some(event.size);
        self.printed += 1;
        if self.json {
            let time = Timestamp::from_nanosecond(i128::from(event.time_ns) + self.offset);
            let call = Call {
                time: time.unwrap_or_default(),
                monotonic_ns: event.time_ns,
                pid: event.tgid,
                tid: event.tid,
                function,
                size,
                address: event.addr,
                old: (event.old != 0).then_some(event.old),
                caller,
            };
            serde_json::to_writer(&mut self.out, &call)?;
            return writeln!(self.out);
        }
        if self.printed == 1 {
            writeln!(self.out, "# TIME PID TID FUNCTION SIZE ADDRESS CALLER")?;
        }
        let (seconds, micros) = (
            event.time_ns / 1_000_000_000,
            event.time_ns / 1000 % 1_000_000,
        );
        write!(
            self.out,
            "{seconds}.{micros:06} {} {} {function} ",
            event.tgid, event.tid
        )?;
        match size {
            None => write!(self.out, "-")?,
            Some(size) => write!(self.out, "{size}")?,
        }
        write!(self.out, " {:#x} {caller}", event.addr)?;
        if event.old != 0 {
            write!(self.out, " old={:#x}", event.old)?;
        }
        writeln!(self.out)
    }
}
