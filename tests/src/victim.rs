//! A running victim and the protocol that it speaks (`victims/victim.h`).

use std::io::Write;
use std::process::{ChildStdin, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::child::Owned;
use crate::lines::{Lines, NoLine};

/// How long a victim may work between two lines.
const LIMIT: Duration = Duration::from_secs(120);

/// A victim that has said "ready". What it printed is shown when the test fails.
#[derive(Debug)]
pub struct Victim {
    pid: u32,
    child: Owned,
    input: Option<ChildStdin>,
    output: Lines,
    errors: Lines,
}

impl Victim {
    /// Starts a victim and waits until it says "ready".
    pub fn start(mut command: Command) -> Result<Self> {
        command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let mut child = Owned::start(&mut command)?;
        let handle = child.handle();
        let (Some(input), Some(output), Some(errors)) = (
            handle.stdin.take(),
            handle.stdout.take(),
            handle.stderr.take(),
        ) else {
            bail!("{} was started without pipes", child.what());
        };
        let mut victim = Self {
            pid: 0,
            child,
            input: Some(input),
            output: Lines::of(output),
            errors: Lines::of(errors),
        };
        let ready = victim.expect("ready")?;
        victim.pid = ready
            .trim()
            .parse()
            .with_context(|| format!("{} gave no PID: {ready:?}", victim.child.what()))?;
        Ok(victim)
    }

    /// The PID that the victim has itself (a wrapper that started it has another one).
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Lets it go on; returns at once.
    pub fn go(&mut self) -> Result<()> {
        self.say("go")
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> Result<String> {
        self.output.next(LIMIT).map_err(|why| self.silent(why))
    }

    /// The rest of the next line, which must begin with a word.
    pub fn expect(&mut self, word: &str) -> Result<String> {
        let line = self.line()?;
        line.strip_prefix(word)
            .map(|rest| rest.trim().to_string())
            .with_context(|| format!("{} said {line:?}, not {word:?}", self.child.what()))
    }

    /// Lets it go on until it says something that begins with a word; the rest of that line.
    pub fn go_to(&mut self, word: &str) -> Result<String> {
        self.go()?;
        self.expect(word)
    }

    /// Lets it go on through all its steps until it says "done"; the rest of that line.
    pub fn run(&mut self) -> Result<String> {
        loop {
            self.go()?;
            if let Some(rest) = self.line()?.strip_prefix("done") {
                return Ok(rest.trim().to_string());
            }
        }
    }

    /// Tells it to end, and waits for that.
    pub fn exit(mut self) -> Result<ExitStatus> {
        self.say("exit")?;
        self.input = None;
        self.wait()
    }

    /// Waits until it ends by itself.
    pub fn wait(&mut self) -> Result<ExitStatus> {
        self.child.wait(LIMIT)
    }

    /// Sends it a signal.
    pub fn signal(&mut self, signal: i32) -> Result<()> {
        crate::child::send_signal(self.pid, signal)
    }

    /// PIDs of the children of the process that was started, as seen from here.
    pub fn children(&self) -> Result<Vec<u32>> {
        crate::load::children(self.child.pid())
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> Result<bool> {
        Ok(self.child.ended()?.is_none())
    }

    fn say(&mut self, word: &str) -> Result<()> {
        let input = self
            .input
            .as_mut()
            .context("the victim was told to end before")?;
        writeln!(input, "{word}").with_context(|| format!("{} has gone", self.child.what()))
    }

    fn silent(&mut self, why: NoLine) -> anyhow::Error {
        let status = self.child.wait(Duration::from_secs(1)).ok();
        let why = match why {
            NoLine::Ended => "ended its output",
            NoLine::TimedOut => "said nothing in time",
        };
        anyhow::anyhow!(
            "{} {why} (status: {status:?})\nstandard error: {}",
            self.child.what(),
            self.errors.shown()
        )
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let status = self
            .child
            .ended()
            .ok()
            .flatten()
            .map_or_else(|| "was running".to_string(), |status| status.to_string());
        // Shown by the test runner only where the test fails.
        println!(
            "--- victim {} (PID {}) {status}",
            self.child.what(),
            self.pid
        );
        println!("{}\n{}", self.output.shown(), self.errors.shown());
    }
}
