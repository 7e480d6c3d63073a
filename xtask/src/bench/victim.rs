//! A benchmark program: compiled from xtask/bench, run on chosen CPUs, read slot by slot.

use std::{
    fs,
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};

use crate::run;

/// Slots of a second.
pub const SLOTS: u32 = 4;

/// What one thread paid in one slot, a quarter of a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slot {
    /// Pairs over all threads.
    pub pairs: u64,
    /// Nanoseconds of a thread for one pair, by the clock.
    pub ns: f64,
    /// The same of the thread's CPU time: what others take of the CPU is not in it.
    pub cpu_ns: f64,
}

/// A running benchmark program; killed when dropped.
pub struct Victim {
    child: Child,
    input: Option<ChildStdin>,
    /// Its lines as they come, so that slots of the past can be told from new ones.
    lines: Receiver<std::io::Result<String>>,
}

impl Victim {
    /// The program that counts pairs of malloc and free, on as many CPUs as threads: the first that this process may
    /// use.
    pub fn pairs(seconds: u32, threads: usize) -> Result<Self> {
        Self::named_pairs("pair", seconds, threads)
    }

    /// The same, under this name.
    pub fn named_pairs(name: &str, seconds: u32, threads: usize) -> Result<Self> {
        let program = compile(name, &own_source("pair")?, &["-pthread"])?;
        let args = [seconds.to_string(), threads.to_string(), SLOTS.to_string()];
        let _pinned = Pinned::to_first(threads)?;
        Self::start(&program, &args)
    }

    /// The same on one thread with the system calls that this definition chooses (see `pair.c`).
    pub fn calls(seconds: u32, definition: &str) -> Result<Self> {
        let flags = ["-pthread", &format!("-D{definition}")];
        let name = definition.to_lowercase();
        let program = compile(&name, &own_source("pair")?, &flags)?;
        let args = [seconds.to_string(), "1".to_owned(), SLOTS.to_string()];
        let _pinned = Pinned::to_first(1)?;
        Self::start(&program, &args)
    }

    /// A program that takes so many page faults a second of its CPU time while nobody traces; 0 is as fast as they
    /// come.
    pub fn faults(seconds: u32, rate: u32) -> Result<Self> {
        let program = compile("faults", &own_source("faults")?, &[])?;
        let args = [seconds.to_string(), SLOTS.to_string(), rate.to_string()];
        let _pinned = Pinned::to_first(1)?;
        Self::start(&program, &args)
    }

    /// The same on one thread, below exactly so many frames, none of which keeps a frame pointer. `shifted`: each pair
    /// begins elsewhere on the stack, so that no walk is like one before it.
    pub fn deep_pairs(seconds: u32, depth: usize, shifted: bool) -> Result<Self> {
        let flags = ["-pthread", "-fomit-frame-pointer", "-DPAIR_SHIFTED"];
        let (name, flags) = match shifted {
            true => ("shifted", &flags[..]),
            false => ("deep", &flags[..2]),
        };
        let program = compile(name, &own_source("pair")?, flags)?;
        let args = [
            seconds.to_string(),
            "1".to_owned(),
            SLOTS.to_string(),
            depth.to_string(),
        ];
        let _pinned = Pinned::to_first(1)?;
        let mut victim = Self::start(&program, &args)?;
        let found = victim.expect("frames", Duration::from_secs(10))?;
        if found != depth.to_string() {
            bail!("the benchmark program has {found} frames, not {depth}");
        }
        Ok(victim)
    }

    /// The program that makes the kernel allocate, on one CPU.
    pub fn kernel(seconds: u32, what: &str) -> Result<Self> {
        let program = compile("kernel", &own_source("kernel")?, &[])?;
        let args = [seconds.to_string(), SLOTS.to_string(), what.to_owned()];
        let _pinned = Pinned::to_first(1)?;
        Self::start(&program, &args)
    }

    /// A program that speaks the protocol of `tests/victims/victim.h`; returns when it is ready.
    pub fn speaking(program: &Path, args: &[String]) -> Result<Self> {
        let mut victim = Self::start(program, args)?;
        victim.expect("ready", Duration::from_secs(10))?;
        Ok(victim)
    }

    fn start(program: &Path, args: &[String]) -> Result<Self> {
        let mut child = Command::new(program)
            .args(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let stdout = child
            .stdout
            .take()
            .context("the benchmark program was started without a pipe")?;
        let input = child.stdin.take();
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(stdout)
                .lines()
                .try_for_each(|line| sender.send(line))
        });
        Ok(Self {
            child,
            input,
            lines,
        })
    }

    /// Its PID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it go on.
    pub fn go(&mut self) -> Result<()> {
        self.input
            .as_mut()
            .and_then(|input| writeln!(input, "go").ok())
            .context("the benchmark program has ended")
    }

    /// The rest of the next line, which must begin with a word.
    pub fn expect(&mut self, word: &str, limit: Duration) -> Result<String> {
        let line = match self.lines.recv_timeout(limit) {
            Ok(line) => line.context("cannot read what the benchmark program prints")?,
            Err(RecvTimeoutError::Timeout) => {
                bail!("the benchmark program did not say \"{word}\" within {limit:?}")
            }
            Err(RecvTimeoutError::Disconnected) => {
                bail!("the benchmark program ended before it said \"{word}\"")
            }
        };
        line.strip_prefix(word)
            .map(|rest| rest.trim().to_owned())
            .with_context(|| format!("the benchmark program said \"{line}\", not \"{word}\""))
    }

    /// Nanoseconds of a thread for one pair, slot by slot, in slots that lie in the future as a whole.
    pub fn cost(&mut self, seconds: u32) -> Result<Vec<f64>> {
        let slots = self.slots(seconds)?;
        Ok(slots.iter().map(|slot| slot.ns).collect())
    }

    /// The same by CPU time of the program, which leaves out what others take of the CPU.
    pub fn cpu_cost(&mut self, seconds: u32) -> Result<Vec<f64>> {
        let slots = self.slots(seconds)?;
        Ok(slots.iter().map(|slot| slot.cpu_ns).collect())
    }

    /// The slots of so many seconds that lie in the future as a whole; without those in which nothing was done.
    pub fn slots(&mut self, seconds: u32) -> Result<Vec<Slot>> {
        while self.lines.try_recv().is_ok() {}
        // The slot under way began before this call.
        self.slot()?;
        let mut slots = (0..seconds * SLOTS)
            .map(|_| self.slot())
            .collect::<Result<Vec<Slot>>>()?;
        slots.retain(|slot| slot.pairs > 0);
        Ok(slots)
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

/// Reads `slot N PAIRS NS CPU_NS`.
fn parse_slot(line: &str) -> Option<Slot> {
    let mut words = line.strip_prefix("slot ")?.split(' ').skip(1);
    Some(Slot {
        pairs: words.next()?.parse().ok()?,
        ns: words.next()?.parse().ok()?,
        cpu_ns: words.next()?.parse().ok()?,
    })
}

/// The source of a benchmark's own program.
pub fn own_source(name: &str) -> Result<PathBuf> {
    Ok(run::workspace_root()?.join(format!("xtask/bench/{name}.c")))
}

/// Path of the source of a victim of the tests.
pub fn tests_source(name: &str) -> Result<PathBuf> {
    Ok(run::workspace_root()?.join(format!("tests/victims/{name}.c")))
}

/// Compiles a program or library with frame pointers, unless the flags say otherwise.
pub fn compile(name: &str, source: &Path, flags: &[&str]) -> Result<PathBuf> {
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
            .args(["-Wall", "-I"])
            .arg(run::workspace_root()?.join("tests/victims"))
            .args(flags)
            .arg("-o")
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
            parse_slot("slot 3 123456 8.10 7.90"),
            Some(Slot {
                pairs: 123_456,
                ns: 8.1,
                cpu_ns: 7.9
            })
        );
        for line in [
            "",
            "slot",
            "slot 3",
            "slot 3 x 1.0 1.0",
            "slot 3 12 1.0",
            "thread 0 12 3.0",
        ] {
            assert_eq!(parse_slot(line), None, "{line}");
        }
    }
}
