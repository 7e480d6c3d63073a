//! Stacks as gdb sees them: a second opinion on how a program's stacks are walked.

use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::child::Owned;
use crate::lines::Lines;
use crate::need;

/// How long gdb may take for all its stops.
const LIMIT: Duration = Duration::from_secs(240);

/// Stops at malloc, prints the return addresses of the physical frames above it, goes on; functions inlined into a
/// frame have none. `NO_REASON` and `OUTERMOST` are the ends of a whole stack, everything else is a failure of gdb's
/// own.
const SCRIPT: &str = r#"
import random
import gdb

def print_stack():
    frame = gdb.newest_frame()
    while frame.type() == gdb.INLINE_FRAME:
        frame = frame.older()
    frame, addresses = frame.older(), []
    end = gdb.FRAME_UNWIND_OUTERMOST
    while frame is not None:
        if frame.type() != gdb.INLINE_FRAME:
            addresses.append("%x" % frame.pc())
        end = frame.unwind_stop_reason()
        frame = frame.older()
    whole = end in (gdb.FRAME_UNWIND_NO_REASON, gdb.FRAME_UNWIND_OUTERMOST)
    end = "whole" if whole else gdb.frame_stop_reason_string(end).replace(" ", "_")
    print("stack", end, *addresses, flush=True)

spread = random.Random(1)
place = gdb.Breakpoint(function="malloc", qualified=True)
for _ in range(COUNT):
    place.ignore_count = spread.randrange(SPREAD)
    gdb.execute("continue", to_string=True)
    print_stack()
place.delete()
gdb.execute("detach", to_string=True)
"#;

/// How many stacks to take.
#[derive(Clone, Copy, Debug)]
pub struct Sample {
    /// Stacks.
    pub stacks: u32,
    /// Of so many calls of malloc one is taken, on average twice as many: calls that follow each other are alike.
    pub spread: u32,
}

/// Return addresses at calls of malloc, the direct caller's first, of a process that calls it all the time.
///
/// A probe on malloc hides gdb's breakpoint there: the process must not be traced meanwhile.
pub fn malloc_stacks(pid: u32, sample: Sample) -> Result<Vec<Vec<u64>>> {
    let mut script = tempfile::Builder::new().suffix(".py").tempfile()?;
    let text = SCRIPT
        .replace("COUNT", &sample.stacks.to_string())
        .replace("SPREAD", &sample.spread.to_string());
    script.write_all(text.as_bytes())?;
    let mut command = Command::new(need::program("gdb")?);
    command
        .args(["-nx", "-batch", "-iex", "set debuginfod enabled off"])
        .args(["-iex", "set backtrace past-main on"])
        .args(["-iex", "set auto-load off"])
        .args(["-ex", "handle all nostop noprint pass"])
        .args(["-p", &pid.to_string(), "-x"])
        .arg(script.path())
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    let mut gdb = Owned::start(&mut command)?;
    let handle = gdb.handle();
    let mut output = Lines::of(handle.stdout.take().context("started with a pipe")?);
    let mut errors = Lines::of(handle.stderr.take().context("started with a pipe")?);
    gdb.wait(LIMIT)?;
    output.join();
    errors.join();
    let lines = output.all();
    let stacks = lines
        .iter()
        .filter_map(|line| line.strip_prefix("stack "))
        .map(parse)
        .collect::<Result<Vec<_>>>()?;
    ensure!(
        stacks.len() == sample.stacks as usize,
        "gdb took {} stacks, not {}:\n{}",
        stacks.len(),
        sample.stacks,
        errors.shown()
    );
    Ok(stacks)
}

fn parse(line: &str) -> Result<Vec<u64>> {
    let (end, addresses) = line.split_once(' ').context("a stack without frames")?;
    ensure!(end == "whole", "gdb could not finish a stack: {line}");
    addresses
        .split(' ')
        .map(|address| {
            u64::from_str_radix(address, 16).with_context(|| format!("not an address: {address:?}"))
        })
        .collect()
}
