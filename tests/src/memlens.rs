//! A running memlens: start it, wait until it traces, read its reports, end it.

use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, anyhow, bail, ensure};
use memlens::profile::CommandExit;

use crate::child::Owned;
use crate::lines::{Lines, NoLine};
use crate::patience::patient;
use crate::report::Report;
use crate::{need, paths};

/// How long memlens may take until it traces, and until it has ended.
const LIMIT: Duration = Duration::from_secs(60);
/// How the line begins that says that the probes are on.
const TRACING: &str = "memlens: tracing";

/// A running memlens. Its command and output are shown when the test fails.
#[derive(Debug)]
pub struct Memlens {
    child: Owned,
    output: Lines,
    errors: Lines,
    status: Option<ExitStatus>,
    of_command: bool,
}

/// A memlens that has ended.
#[derive(Debug)]
pub struct Ended {
    /// How.
    pub status: ExitStatus,
    /// Lines of standard output.
    pub output: Vec<String>,
    /// Lines of standard error.
    pub errors: Vec<String>,
    /// Whether a command was to be traced, which has exit codes of its own.
    of_command: bool,
}

impl Memlens {
    /// Starts memlens with arguments, which must be all it needs.
    pub fn start<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<Self> {
        let mut command = Command::new(paths::memlens()?);
        command.args(args);
        Self::start_command(command)
    }

    /// Starts a command that runs memlens.
    pub fn start_command(mut command: Command) -> Result<Self> {
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let of_command = traces_a_command(&command);
        let mut child = Owned::start(&mut command)?;
        let (Some(output), Some(errors)) =
            (child.handle().stdout.take(), child.handle().stderr.take())
        else {
            bail!("{} was started without pipes", child.what());
        };
        Ok(Self {
            child,
            output: Lines::of(output),
            errors: Lines::of(errors),
            status: None,
            of_command,
        })
    }

    /// Traces the leaks of a process, as JSON, with every stack in the report; returns once the probes are on.
    ///
    /// Only the last report is printed unless an interval is among the other arguments.
    pub fn leaks(pid: u32, more: &[&str]) -> Result<Self> {
        Self::leaks_of(&["-p", &pid.to_string()], more)
    }

    /// Like [`Memlens::leaks`], for any target.
    pub fn leaks_of(target: &[&str], more: &[&str]) -> Result<Self> {
        need::root()?;
        let has_interval = more
            .first()
            .is_some_and(|first| first.parse::<f64>().is_ok());
        let mut args = vec!["leaks"];
        args.extend(target);
        if !has_interval {
            args.push("3600");
        }
        args.extend(more);
        for (flag, value) in [("--json", None), ("--top", Some("1000000"))] {
            if !more.contains(&flag) {
                args.push(flag);
                args.extend(value);
            }
        }
        let mut memlens = Self::start(args)?;
        memlens.wait_until_tracing()?;
        Ok(memlens)
    }

    /// Runs memlens to its end.
    pub fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Result<Ended> {
        Self::start(args)?.wait()
    }

    /// Its PID.
    pub fn pid(&self) -> u32 {
        self.child.pid()
    }

    /// Waits for the line that says that the probes are on.
    pub fn wait_until_tracing(&mut self) -> Result<()> {
        let start = Instant::now();
        loop {
            let left = LIMIT.saturating_sub(start.elapsed());
            match self.errors.next(left) {
                Ok(line) if line.starts_with(TRACING) => return Ok(()),
                Ok(_) => {}
                Err(NoLine::TimedOut) => bail!("memlens does not trace after {LIMIT:?}"),
                Err(NoLine::Ended) => {
                    let status = self.child.wait(LIMIT)?;
                    bail!(
                        "memlens ended before it traced ({status}): {}",
                        self.errors.shown()
                    );
                }
            }
        }
    }

    /// Lines of standard error so far.
    pub fn errors(&self) -> Vec<String> {
        self.errors.all()
    }

    /// The next line of standard output.
    pub fn line(&mut self, limit: Duration) -> Result<String, NoLine> {
        self.output.next(limit)
    }

    /// The next report.
    pub fn report(&mut self, limit: Duration) -> Result<Report> {
        let line = self
            .output
            .next(limit)
            .map_err(|why| anyhow!("no report came: {why:?}"))?;
        Report::parse(&line)
    }

    /// A report whose figures were all read after this call: the second one that says so, as the first may have been
    /// begun before.
    pub fn fresh_report(&mut self) -> Result<Report> {
        let now = SystemTime::now();
        let mut later = 0;
        loop {
            let report = self.report(LIMIT)?;
            later += usize::from(SystemTime::from(report.meta.time) > now);
            if later == 2 {
                return Ok(report);
            }
        }
    }

    /// Reads reports until one fulfills a condition.
    pub fn report_with(&mut self, what: &str, is_it: impl Fn(&Report) -> bool) -> Result<Report> {
        let start = Instant::now();
        while start.elapsed() < patient(LIMIT) {
            let report = self.report(LIMIT)?;
            if is_it(&report) {
                return Ok(report);
            }
        }
        bail!("{what}: in no report within {LIMIT:?}")
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> Result<bool> {
        Ok(self.child.ended()?.is_some())
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        self.child.signal(signal)
    }

    /// Waits until it ends by itself.
    pub fn wait(mut self) -> Result<Ended> {
        let status = self.child.wait(LIMIT)?;
        self.status = Some(status);
        self.output.join();
        self.errors.join();
        Ok(Ended {
            status,
            output: self.output.all(),
            errors: self.errors.all(),
            of_command: self.of_command,
        })
    }

    /// Presses Ctrl-C and waits for the end.
    pub fn interrupt(mut self) -> Result<Ended> {
        self.signal(libc::SIGINT)?;
        self.wait()
    }

    /// Presses Ctrl-C; the last report, of a memlens that ended well.
    pub fn stop(self) -> Result<Report> {
        self.interrupt()?.last_report()
    }
}

impl Ended {
    /// All reports on standard output (`--json`).
    pub fn reports(&self) -> Result<Vec<Report>> {
        self.output
            .iter()
            .filter(|line| line.starts_with('{'))
            .map(|line| Report::parse(line))
            .collect()
    }

    /// It ended with code 0.
    pub fn succeeded(&self) -> Result<()> {
        self.ended_with(0)
    }

    fn ended_with(&self, code: i32) -> Result<()> {
        ensure!(
            self.status.code() == Some(code),
            "memlens ended with {}, not code {code}: {}",
            self.status,
            self.errors.join("\n")
        );
        Ok(())
    }

    /// The last report, of a memlens that ended with code 0, or with what the command that it traced has ended with.
    pub fn last_report(&self) -> Result<Report> {
        if self.reports()?.is_empty() {
            self.succeeded()?;
        }
        let report = self.final_report()?;
        self.ended_with(match report.meta.command_exit {
            None => 0,
            Some(CommandExit::Code(code)) => code,
            Some(CommandExit::Signal(signal)) => 128 + signal,
        })?;
        Ok(report)
    }

    /// The last report, whatever the exit code.
    pub fn final_report(&self) -> Result<Report> {
        let report = self
            .reports()?
            .pop()
            .context("memlens ended without a report")?;
        ensure!(report.meta.last, "the last report does not say that it is");
        Ok(report)
    }

    /// That memlens refused: exit code 2, or one from 125 to 127 where a command was to be traced; nothing on standard
    /// output, one line on standard error with these words.
    pub fn refused_with(&self, words: &[&str]) -> Result<()> {
        self.failed_with(words)?;
        ensure!(
            self.output.is_empty(),
            "a refusal printed to standard output: {:?}",
            self.output
        );
        Ok(())
    }

    /// An exit code of memlens itself: 2, or one from 125 to 127 where a command was to be traced.
    fn ended_as_a_failure(&self) -> Result<()> {
        let codes = if self.of_command { 125..=127 } else { 2..=2 };
        ensure!(
            self.status.code().is_some_and(|code| codes.contains(&code)),
            "{}, not an exit code of {codes:?}: {}",
            self.status,
            self.errors.join("\n")
        );
        Ok(())
    }

    /// That memlens did not understand its arguments: an exit code of a failure, nothing on standard output, and on
    /// standard error a message of several lines with these words.
    pub fn misused_with(&self, words: &[&str]) -> Result<()> {
        let text = self.errors.join("\n");
        self.ended_as_a_failure()?;
        ensure!(
            self.output.is_empty(),
            "a message about arguments came with {:?}: {text}",
            self.output
        );
        ensure!(
            text.starts_with("error: ") && text.ends_with("For more information, try '--help'."),
            "not a message about arguments: {text}"
        );
        for word in words {
            ensure!(
                text.contains(word),
                "the message does not say {word:?}: {text}"
            );
        }
        Ok(())
    }

    /// Like [`Ended::refused_with`], where there may be reports before the failure.
    pub fn failed_with(&self, words: &[&str]) -> Result<()> {
        self.ended_as_a_failure()?;
        let lines: Vec<_> = self
            .errors
            .iter()
            .filter(|line| !line.trim().is_empty() && !line.starts_with(TRACING))
            .collect();
        ensure!(
            lines.len() == 1,
            "{} lines on standard error, not one: {lines:?}",
            lines.len()
        );
        let line = lines[0].to_lowercase();
        for word in words {
            ensure!(
                line.contains(&word.to_lowercase()),
                "the message does not say {word:?}: {}",
                lines[0]
            );
        }
        Ok(())
    }
}

/// Whether memlens is told to run a command: a `--` of its own, not one of a program that runs memlens.
fn traces_a_command(command: &Command) -> bool {
    let words: Vec<&OsStr> = std::iter::once(command.get_program())
        .chain(command.get_args())
        .collect();
    words
        .into_iter()
        .skip_while(|word| Path::new(word).file_name() != Some(OsStr::new("memlens")))
        .any(|word| word == "--")
}

impl Drop for Memlens {
    fn drop(&mut self) {
        let status = self
            .status
            .map_or_else(|| "was running".to_string(), |status| status.to_string());
        // Shown by the test runner only where the test fails.
        println!("--- {} {status}", self.child.what());
        println!("--- standard output:\n{}", self.output.shown());
        println!("--- standard error:\n{}", self.errors.shown());
    }
}
