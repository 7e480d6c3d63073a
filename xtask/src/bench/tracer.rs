//! memlens beside a benchmark program: started, waited for until it traces, ended.

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

/// How the line begins that memlens writes to standard error once the probes are on.
const TRACING: &str = "memlens: tracing";
/// Seconds between reports: longer than any measurement.
const NO_REPORT: &str = "3600";

/// A running memlens; killed when dropped.
pub struct Tracer {
    child: Child,
}

impl Tracer {
    /// Traces a process's leaks with more flags; returns once the probes are on.
    pub fn leaks(memlens: &Path, pid: u32, flags: &[&str]) -> Result<Self> {
        let mut child = Command::new(memlens)
            .args(["leaks", "-p", &pid.to_string(), NO_REPORT])
            .args(flags)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot run memlens")?;
        let stderr = child
            .stderr
            .take()
            .context("memlens was started without a pipe")?;
        let tracer = Self { child };
        let mut stderr = BufReader::new(stderr);
        wait_for_tracing(&mut stderr)?;
        // Nothing may block on a full pipe.
        thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Ok(tracer)
    }

    /// Ends the trace as Ctrl-C does and waits until the probes are gone.
    pub fn end(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("memlens has an impossible PID")?;
        kill(Pid::from_raw(pid), Signal::SIGINT).context("cannot end memlens")?;
        let status = self.child.wait().context("cannot wait for memlens")?;
        if !status.success() {
            bail!("memlens failed ({status})");
        }
        Ok(())
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        // After `end` both fail, as they should.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Reads until the line that says that the probes are on; else fails with the last line there was.
fn wait_for_tracing(stderr: &mut impl BufRead) -> Result<()> {
    let mut last = "it wrote nothing".to_owned();
    for line in stderr.lines() {
        let line = line.context("cannot read what memlens writes")?;
        if line.starts_with(TRACING) {
            return Ok(());
        }
        if !line.trim().is_empty() {
            last = line;
        }
    }
    bail!("memlens ended before it traced: {last}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tracing_line_ends_the_wait() {
        let mut text = "memlens: note\nmemlens: tracing PID 1\nrest\n".as_bytes();
        assert!(wait_for_tracing(&mut text).is_ok());
        assert_eq!(text, b"rest\n");
    }

    #[test]
    fn failure_names_the_last_line() {
        let err =
            wait_for_tracing(&mut "memlens: no such process\n\n".as_bytes()).expect_err("no trace");
        assert!(err.to_string().ends_with("no such process"), "{err}");
    }
}
