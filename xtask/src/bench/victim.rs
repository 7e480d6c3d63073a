//! A benchmark program: compiled from xtask/bench, run on chosen CPUs, read slot by slot.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::run;

/// What one thread paid in one second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slot {
    /// Pairs over all threads.
    pub pairs: u64,
    /// Nanoseconds of a thread for one pair.
    pub ns: f64,
}

/// A running benchmark program; killed when dropped.
pub struct Victim {
    child: Child,
    /// Its lines as they come, so that slots of the past can be told from new ones.
    lines: Receiver<std::io::Result<String>>,
}

impl Victim {
    /// Compiles `xtask/bench/NAME.c` and starts it on the first CPUs that this process may use.
    pub fn start(name: &str, args: &[String], cpus: usize) -> Result<Self> {
        let program = compile(name)?;
        let mut child = {
            let _pinned = Pinned::to_first(cpus)?;
            Command::new(&program)
                .args(args)
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .with_context(|| format!("cannot run {}", program.display()))?
        };
        let stdout = child
            .stdout
            .take()
            .context("the benchmark program was started without a pipe")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .try_for_each(|line| sender.send(line))
        });
        Ok(Self { child, lines })
    }

    /// Its PID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits for slots that lie in the future as a whole.
    pub fn slots(&mut self, count: u32) -> Result<Vec<Slot>> {
        while self.lines.try_recv().is_ok() {}
        // The slot under way began before this call.
        self.slot()?;
        (0..count).map(|_| self.slot()).collect()
    }

    fn slot(&mut self) -> Result<Slot> {
        let Ok(line) = self.lines.recv() else {
            bail!("the benchmark program ended before the measurement did");
        };
        let line = line.context("cannot read what the benchmark program prints")?;
        parse_slot(&line)
            .with_context(|| format!("the benchmark program printed no slot but: {line}"))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        // It may have ended by itself; there is nobody to tell otherwise.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads `slot N PAIRS NS`.
fn parse_slot(line: &str) -> Option<Slot> {
    let mut words = line.strip_prefix("slot ")?.split(' ').skip(1);
    Some(Slot {
        pairs: words.next()?.parse().ok()?,
        ns: words.next()?.parse().ok()?,
    })
}

/// Compiles a program with frame pointers, as the tracer walks them.
fn compile(name: &str) -> Result<PathBuf> {
    let source = run::workspace_root()?.join(format!("xtask/bench/{name}.c"));
    let dir = run::target_dir()?.join("bench");
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let program = dir.join(name);
    run::run(
        Command::new("cc")
            .args([
                "-std=gnu11",
                "-O2",
                "-g",
                "-fno-omit-frame-pointer",
                "-fno-optimize-sibling-calls",
            ])
            .args(["-Wall", "-pthread", "-o"])
            .arg(&program)
            .arg(source),
    )?;
    Ok(program)
}

/// While it lives, this thread and what it starts run on few CPUs.
struct Pinned {
    before: CpuSet,
}

impl Pinned {
    fn to_first(count: usize) -> Result<Self> {
        let this = Pid::from_raw(0);
        let before = sched_getaffinity(this).context("cannot read the CPU affinity")?;
        let mut few = CpuSet::new();
        let usable = (0..CpuSet::count()).filter(|&cpu| before.is_set(cpu).unwrap_or(false));
        let mut chosen = 0;
        for cpu in usable.take(count) {
            few.set(cpu).context("a CPU number is out of range")?;
            chosen += 1;
        }
        if chosen < count {
            bail!("this benchmark wants {count} CPUs, this process may use {chosen}");
        }
        sched_setaffinity(this, &few).context("cannot set the CPU affinity")?;
        Ok(Self { before })
    }
}

impl Drop for Pinned {
    fn drop(&mut self) {
        // The set was in force before, so the kernel takes it back.
        let _ = sched_setaffinity(Pid::from_raw(0), &self.before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slot_line() {
        assert_eq!(
            parse_slot("slot 3 123456 8.10"),
            Some(Slot {
                pairs: 123_456,
                ns: 8.1
            })
        );
        for line in ["", "slot", "slot 3", "slot 3 x 1.0", "thread 0 12 3.0"] {
            assert_eq!(parse_slot(line), None, "{line}");
        }
    }
}
