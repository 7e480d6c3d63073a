//! Python programs that work in one step: they wait for a line, work, say "done", and wait for another line.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::child::Owned;
use crate::need;

/// A program that was started and waits for its line.
pub struct Python {
    process: Owned,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Python {
    /// Starts this program.
    pub fn start(program: &str) -> Result<Self> {
        Self::start_in(&need::program("python3")?, program)
    }

    /// The same in this interpreter.
    pub fn start_in(interpreter: &Path, program: &str) -> Result<Self> {
        let mut command = Command::new(interpreter);
        command.args(["-X", "utf8", "-c", program]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut process = Owned::start(&mut command)?;
        let handle = process.handle();
        let input = handle.stdin.take().context("no input")?;
        let output = handle.stdout.take().context("no output")?;
        Ok(Self {
            process,
            input,
            output: BufReader::new(output),
        })
    }

    /// Its PID.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// Lets it work, to the end of its work.
    pub fn work(&mut self) -> Result<()> {
        let line = self.told()?;
        ensure!(line == "done\n", "{line:?}");
        Ok(())
    }

    /// Lets it work, to the end of its work; the line that it says.
    pub fn told(&mut self) -> Result<String> {
        writeln!(self.input, "go")?;
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        Ok(line)
    }

    /// Lets it end by itself; how it ended.
    pub fn end(mut self, limit: Duration) -> Result<ExitStatus> {
        writeln!(self.input, "end")?;
        self.process.wait(limit)
    }
}
