//! Real programs under load, whose speed is measured from outside or by themselves.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    net::{Ipv4Addr, TcpListener, TcpStream},
    process::{Child, ChildStdout, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::run;

/// Requests of one measurement of redis: about a second.
const REQUESTS: &str = "100000";
/// Each line is of a million blocks of malloc's, made and freed.
const PYTHON: &str = "\
import sys, time
for line in sys.stdin:
    began = time.perf_counter()
    total = sum(range(1000000, 2000000))
    print(total, 1000000 / (time.perf_counter() - began), flush=True)
";
/// What each line must begin with.
const SUM: &str = "1499999500000";

/// A program under load; killed when dropped.
pub struct Load {
    /// What is measured.
    pub name: &'static str,
    /// Of what.
    pub unit: &'static str,
    child: Child,
    kind: Kind,
}

enum Kind {
    Redis { port: u16 },
    Python { output: BufReader<ChildStdout> },
}

impl Load {
    /// redis-server, which saves nothing, on a port of the loopback interface.
    pub fn redis() -> Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).context("no free port")?;
        let port = listener.local_addr()?.port();
        drop(listener);
        let child = Command::new("redis-server")
            .args(["--port", &port.to_string(), "--bind", "127.0.0.1"])
            .args(["--save", "", "--appendonly", "no"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .context("cannot start redis-server")?;
        let load = Self {
            name: "redis-benchmark SET",
            unit: "requests/s",
            child,
            kind: Kind::Redis { port },
        };
        let until = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_err() {
            ensure!(Instant::now() < until, "redis-server does not listen");
            thread::sleep(Duration::from_millis(20));
        }
        Ok(load)
    }

    /// Python on the C library's allocator.
    pub fn python() -> Result<Self> {
        let mut child = Command::new("/usr/bin/python3")
            .args(["-c", PYTHON])
            .env("PYTHONMALLOC", "malloc")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start python3")?;
        let output = child.stdout.take().context("python without a pipe")?;
        Ok(Self {
            name: "python with PYTHONMALLOC=malloc",
            unit: "blocks/s",
            child,
            kind: Kind::Python {
                output: BufReader::new(output),
            },
        })
    }

    /// Its PID.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Runs it for so many seconds at least; its rates, measured again and again.
    pub fn rates(&mut self, seconds: u32) -> Result<Vec<f64>> {
        let until = Instant::now() + Duration::from_secs(u64::from(seconds));
        let mut rates = Vec::new();
        while rates.is_empty() || Instant::now() < until {
            rates.push(self.rate()?);
        }
        Ok(rates)
    }

    fn rate(&mut self) -> Result<f64> {
        match &mut self.kind {
            Kind::Redis { port } => {
                let port = port.to_string();
                let text = run::output(
                    Command::new("redis-benchmark")
                        .args(["-p", &port, "-n", REQUESTS, "-c", "20"])
                        .args(["-r", "10000", "-d", "100", "-t", "set", "--csv"]),
                )?;
                set_rate(&text).with_context(|| format!("redis-benchmark said {text:?}"))
            }
            Kind::Python { output } => {
                let input = self.child.stdin.as_mut().context("python without a pipe")?;
                writeln!(input, "go").context("python has ended")?;
                let mut line = String::new();
                output.read_line(&mut line)?;
                match line.trim().split_once(' ') {
                    Some((SUM, rate)) => rate.parse().context("python gave no rate"),
                    _ => bail!("python reckons {line:?}"),
                }
            }
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        // After its own end both fail, as they should.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Requests a second of the line about SET.
fn set_rate(csv: &str) -> Option<f64> {
    let line = csv.lines().find(|line| line.starts_with("\"SET\""))?;
    line.split(',').nth(1)?.trim_matches('"').parse().ok()
}

/// What the guard did to a process, as the last report has it.
pub fn steps(report: &str, pid: u32) -> Result<usize> {
    let report: Value = serde_json::from_str(report).context("the last report is no JSON")?;
    let steps = report["sections"]["guard"]["steps"]
        .as_array()
        .context("the last report has no guard")?;
    Ok(steps.iter().filter(|step| step["pid"] == pid).count())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_about_set() {
        let text = "\"test\",\"rps\",\"avg_latency_ms\"\n\"SET\",\"104166.66\",\"0.247\"\n";
        assert_eq!(set_rate(text), Some(104_166.66));
        assert_eq!(set_rate("\"GET\",\"1\"\n"), None);
    }

    #[test]
    fn steps_of_one_process() {
        let report = r#"{"sections":{"guard":{"steps":[{"pid":7},{"pid":8},{"pid":7}]}}}"#;
        assert_eq!(steps(report, 7).expect("a guard"), 2);
        assert!(steps("{}", 7).is_err());
    }
}
