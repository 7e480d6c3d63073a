//! memlens beside a benchmark program: started, waited for until it traces, listened to, ended.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::samples::Samples;

/// How the line begins that memlens writes to standard error once the probes are on.
const TRACING: &str = "memlens: tracing";
/// How the line begins that tells how long a report took.
pub const REPORT: &str = "memlens: report took";
/// Seconds between reports: longer than any measurement.
pub const NO_REPORT: &str = "3600";
/// Bytes of a segment of the table of live blocks.
const SEGMENT_BYTES: u64 = 2 << 20;
/// Unit of the times in /proc/PID/stat (USER_HZ, the same on every x86-64 kernel).
const TICKS_PER_SECOND: f64 = 100.0;
/// How long memlens may take for what a benchmark waits for.
const LIMIT: Duration = Duration::from_secs(60);

/// How memlens is to run.
#[derive(Clone, Copy, Debug, Default)]
pub struct Mode<'a> {
    /// Flags of the subcommand.
    pub flags: &'a [&'a str],
    /// Value of `MEMLENS_FLOOR`: empty programs, on which places.
    pub floor: Option<&'a str>,
    /// Time between reports; none where it is `None`.
    pub interval: Option<&'a str>,
}

/// A running memlens; killed when dropped.
pub struct Tracer {
    child: Child,
    /// Lines on standard error.
    lines: Receiver<String>,
    /// Standard output, read as it comes: nothing may block on a full pipe. The last line of it.
    output: Option<JoinHandle<String>>,
    /// Lines on standard error up to the one that says that the probes are on.
    start: Vec<String>,
    /// From the start of memlens to that line.
    pub attached_in: Duration,
}

/// What was left of a trace.
pub struct Ended {
    /// From the request to the exit.
    pub took: Duration,
    /// The last line on standard output: the last report, if it is in JSON.
    pub last_line: String,
}

impl Tracer {
    /// Traces a process's leaks; returns once the probes are on.
    pub fn leaks(memlens: &Path, pid: u32, mode: Mode) -> Result<Self> {
        Self::start(memlens, "leaks", &["-p", &pid.to_string()], mode)
    }

    /// Traces the leaks of a scope; returns once it traces.
    pub fn of(memlens: &Path, scope: &[&str], mode: Mode) -> Result<Self> {
        Self::start(memlens, "leaks", scope, mode)
    }

    /// Traces the whole host; returns once the probes are on.
    pub fn everything(memlens: &Path, mode: Mode) -> Result<Self> {
        Self::start(memlens, "leaks", &["--all"], mode)
    }

    /// Traces address spaces; returns once their calls are followed.
    pub fn space(memlens: &Path, target: &[&str], mode: Mode) -> Result<Self> {
        Self::start(memlens, "vm", target, mode)
    }

    /// Follows the kernel's own memory, with JSON reports; returns once it does.
    pub fn kernel(memlens: &Path, words: &[&str]) -> Result<Self> {
        let mut command = Command::new(memlens);
        command.args(["kernel", NO_REPORT, "--json"]).args(words);
        Self::run(command)
    }

    fn start(memlens: &Path, subcommand: &str, target: &[&str], mode: Mode) -> Result<Self> {
        let mut command = Command::new(memlens);
        command
            .args([subcommand, "-v"])
            .args(target)
            .arg(mode.interval.unwrap_or(NO_REPORT))
            .args(mode.flags);
        if let Some(floor) = mode.floor {
            command.env("MEMLENS_FLOOR", floor);
        }
        Self::run(command)
    }

    fn run(mut command: Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let began = Instant::now();
        let mut child = command.spawn().context("cannot run memlens")?;
        let (Some(stdout), Some(stderr)) = (child.stdout.take(), child.stderr.take()) else {
            bail!("memlens was started without pipes");
        };
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || {
            BufReader::new(stderr)
                .lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let mut tracer = Self {
            child,
            lines,
            output: Some(thread::spawn(move || last_line(stdout))),
            start: Vec::new(),
            attached_in: Duration::ZERO,
        };
        let line = tracer.wait_for(TRACING)?;
        tracer.attached_in = began.elapsed();
        tracer.start.push(line);
        Ok(tracer)
    }

    /// Waits for a line on standard error that begins like this.
    pub fn wait_for(&mut self, beginning: &str) -> Result<String> {
        let until = Instant::now() + LIMIT;
        let mut last = "it wrote nothing".to_owned();
        loop {
            let left = until.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) if line.starts_with(beginning) => return Ok(line),
                Ok(line) => {
                    last.clone_from(&line);
                    self.start.push(line);
                }
                Err(RecvTimeoutError::Timeout) => {
                    bail!("memlens wrote no \"{beginning}\" within {LIMIT:?}; at last: {last}")
                }
                Err(RecvTimeoutError::Disconnected) => {
                    bail!("memlens ended before it wrote \"{beginning}\": {last}")
                }
            }
        }
    }

    /// Milliseconds that memlens says a step took.
    pub fn step(&self, name: &str) -> Option<f64> {
        self.start.iter().find_map(|line| took(line, name))
    }

    /// How many milliseconds each of so many reports takes from now on, once all stacks of the victim are known.
    pub fn report_times(&mut self, reports: u32) -> Result<Samples> {
        // One report has looked every stack up and one more is on its way.
        self.skip_lines();
        self.wait_for(REPORT)?;
        self.times("report", reports)
    }

    /// How many milliseconds a step of each of so many reports takes from now on.
    pub fn times(&mut self, step: &str, reports: u32) -> Result<Samples> {
        let beginning = format!("memlens: {step} took");
        let mut samples = Samples::new();
        for _ in 0..reports {
            let line = self.wait_for(&beginning)?;
            samples.extend(took(&line, step));
        }
        Ok(samples)
    }

    /// Kernel memory of the table of live blocks, in MiB: of memlens's BPF maps, those that are segments of it.
    pub fn live_table_mib(&self) -> Result<f64> {
        let dir = format!("/proc/{}/fdinfo", self.child.id());
        let list = fs::read_dir(&dir).with_context(|| format!("cannot read {dir}"))?;
        let texts = list.filter_map(|entry| fs::read_to_string(entry.ok()?.path()).ok());
        let bytes: u64 = texts.filter_map(|text| segment_bytes(&text)).sum();
        Ok(bytes as f64 / f64::from(1 << 20))
    }

    /// Forgets what memlens has written so far.
    fn skip_lines(&mut self) {
        while self.lines.try_recv().is_ok() {}
    }

    /// The most memory that memlens has had resident, in MB.
    pub fn peak_megabytes(&self) -> Result<f64> {
        let path = format!("/proc/{}/status", self.child.id());
        let status = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        peak_megabytes(&status).with_context(|| format!("{path} has no VmHWM"))
    }

    /// CPU time that memlens has used, in seconds.
    pub fn cpu_seconds(&self) -> Result<f64> {
        let path = format!("/proc/{}/stat", self.child.id());
        let stat = fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
        let ticks = cpu_ticks(&stat).with_context(|| format!("{path} has no CPU times"))?;
        Ok(ticks as f64 / TICKS_PER_SECOND)
    }

    /// Ends the trace as Ctrl-C does and waits until the probes are gone.
    pub fn end(mut self) -> Result<Ended> {
        let pid = i32::try_from(self.child.id()).context("memlens has an impossible PID")?;
        let began = Instant::now();
        kill(Pid::from_raw(pid), Signal::SIGINT).context("cannot end memlens")?;
        let status = self.child.wait().context("cannot wait for memlens")?;
        let took = began.elapsed();
        if !status.success() {
            bail!("memlens failed ({status})");
        }
        let reader = self.output.take().context("its output was read before")?;
        let Ok(last_line) = reader.join() else {
            bail!("memlens's output could not be read");
        };
        Ok(Ended { took, last_line })
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // After `end` both fail, as they should.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Milliseconds in `memlens: NAME took 12.3 ms`.
pub fn took(line: &str, name: &str) -> Option<f64> {
    let rest = line.strip_prefix("memlens: ")?.strip_prefix(name)?;
    let rest = rest.strip_prefix(" took ")?;
    rest.split_once(" ms")?.0.parse().ok()
}

/// User and system time, fields 14 and 15; the name before them may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

/// Megabytes (10^6 bytes) of the line VmHWM, which has KiB.
pub fn peak_megabytes(status: &str) -> Option<f64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: f64 = line.trim().strip_suffix(" kB")?.parse().ok()?;
    Some(kib * 1024.0 / 1e6)
}

/// Memory of a BPF map that is a segment of the table of live blocks; `None` for any other descriptor.
fn segment_bytes(fdinfo: &str) -> Option<u64> {
    let field = |name: &str| -> Option<u64> {
        let line = fdinfo.lines().find_map(|line| line.strip_prefix(name))?;
        line.trim().parse().ok()
    };
    (field("value_size:")? == SEGMENT_BYTES)
        .then(|| field("memlock:"))
        .flatten()
}

/// Reads to the end and returns the last line.
fn last_line(from: impl std::io::Read) -> String {
    let mut from = BufReader::new(from);
    let (mut last, mut line) = (Vec::new(), Vec::new());
    while let Ok(1..) = from.read_until(b'\n', &mut line) {
        std::mem::swap(&mut last, &mut line);
        line.clear();
    }
    String::from_utf8_lossy(&last).trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn milliseconds_of_a_step() {
        let line = "memlens: report took 323.8 ms, resident 70.8 MiB";
        assert_eq!(took(line, "report"), Some(323.8));
        assert_eq!(took(line, "attaching"), None);
        assert_eq!(took("memlens: tracing process 1", "tracing"), None);
    }

    #[test]
    fn peak_in_megabytes() {
        let status = "VmPeak:\t  900 kB\nVmHWM:\t  100000 kB\n";
        assert_eq!(peak_megabytes(status), Some(102.4));
        assert_eq!(peak_megabytes("Name:\tx\n"), None);
    }

    #[test]
    fn both_cpu_times() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 500 60 7 8 20 0 1 0";
        assert_eq!(cpu_ticks(stat), Some(560));
        assert_eq!(cpu_ticks("7 (a"), None);
    }

    #[test]
    fn last_of_many_lines() {
        let long = "x".repeat(200_000);
        for text in [
            format!("first\n{long}\nlast\n"),
            "last".to_owned(),
            "\nlast\n".to_owned(),
        ] {
            assert_eq!(last_line(text.as_bytes()), "last");
        }
        assert_eq!(last_line(format!("a\n{long}\n").as_bytes()), long);
        assert_eq!(last_line("".as_bytes()), "");
    }
}
