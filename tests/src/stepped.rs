//! Programs that work in one step: they wait for a line, work, say "done", and wait for another line.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::child::Owned;

/// A program that was started and waits for its line.
pub struct Stepped {
    process: Owned,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Stepped {
    /// Starts this command, whose input and output are taken.
    pub fn start(mut command: Command) -> Result<Self> {
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

    /// Waits for the line that it says before it works.
    pub fn ready(&mut self) -> Result<()> {
        let mut line = String::new();
        self.output.read_line(&mut line)?;
        ensure!(line == "ready\n", "{line:?}");
        Ok(())
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
