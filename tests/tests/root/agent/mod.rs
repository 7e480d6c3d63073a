//! `memlens agent`: what it serves, what it writes, and what it survives.

mod files;
mod hardship;
mod harmless;
mod moments;
mod serving;
mod version_two;

use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use memlens_tests::http::{self, Answer};
use memlens_tests::patience::patient;
use memlens_tests::{Memlens, Program, Victim, need, paths};
use tempfile::TempDir;

/// How long something may take that the agent does by itself.
const LIMIT: Duration = Duration::from_secs(60);

/// An agent of its own: an address, a socket and a folder that no other has.
struct Agent {
    memlens: Memlens,
    address: SocketAddr,
    folder: TempDir,
}

/// A port that is free now.
fn free_address() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

impl Agent {
    /// One that looks every second.
    fn start(more: &[&str]) -> Result<Self> {
        Self::start_in(tempfile::tempdir()?, more)
    }

    fn start_in(folder: TempDir, more: &[&str]) -> Result<Self> {
        Self::start_at(free_address()?, folder, more)
    }

    fn start_at(address: SocketAddr, folder: TempDir, more: &[&str]) -> Result<Self> {
        let memlens = Command::new(paths::memlens()?);
        Self::start_by(memlens, address, folder, more)
    }

    /// One that a command starts which takes the arguments of memlens.
    fn start_by(
        mut command: Command,
        address: SocketAddr,
        folder: TempDir,
        more: &[&str],
    ) -> Result<Self> {
        need::root()?;
        let listen = address.to_string();
        let (socket, state) = (folder.path().join("socket"), folder.path().join("state"));
        let mut args = vec!["agent", "--listen", &listen];
        args.extend(["--socket", socket.to_str().context("a path")?]);
        args.extend(["--state-dir", state.to_str().context("a path")?]);
        if !more.contains(&"--interval") {
            args.extend(["--interval", "1s"]);
        }
        args.extend(more);
        command.args(args);
        let agent = Self {
            memlens: Memlens::start_command(command)?,
            address,
            folder,
        };
        agent.until("the agent answers", |agent| {
            let answer = http::get(agent.address, "/healthz").ok()?;
            (answer.status == 200).then_some(())
        })?;
        Ok(agent)
    }

    fn get(&self, path: &str) -> Result<Answer> {
        http::get(self.address, path)
    }

    fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    fn state(&self) -> PathBuf {
        self.folder.path().join("state")
    }

    /// The first value of a metric whose line begins like this.
    fn metric(&self, beginning: &str) -> Result<Option<f64>> {
        let text = self.get("/metrics")?.text();
        let line = text.lines().find(|line| line.starts_with(beginning));
        let value = line.and_then(|line| line.rsplit_once(' '));
        value
            .map(|(_, value)| value.parse().context("a number"))
            .transpose()
    }

    fn until<T>(&self, what: &str, mut is_it: impl FnMut(&Self) -> Option<T>) -> Result<T> {
        let begun = Instant::now();
        loop {
            if let Some(it) = is_it(self) {
                return Ok(it);
            }
            if begun.elapsed() > patient(LIMIT) {
                bail!(
                    "{what}: not within {LIMIT:?}; it said {:?}",
                    self.memlens.errors()
                );
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Waits until so many processes have probes.
    fn until_probed(&self, count: f64) -> Result<()> {
        self.until("processes have probes", |agent| {
            let probed = agent.metric("memlens_agent_probed_processes ").ok()??;
            (probed >= count).then_some(())
        })
    }

    /// Waits until it tells of a hoard what that holds, which goes on growing.
    fn until_exact(&self, hoard: &Hoard) -> Result<()> {
        let held = hoard.held()? as f64;
        self.until("the heap is exact", |agent| {
            let live = agent.metric("memlens_process_heap_live_bytes{comm=\"hoard\"");
            let now = hoard.held().ok()? as f64;
            live.ok()?.filter(|live| (held..=now).contains(live))
        })?;
        Ok(())
    }

    /// Ends it, and expects that it ends well.
    fn end(self) -> Result<TempDir> {
        let ended = self.memlens.interrupt()?;
        ended.succeeded()?;
        Ok(self.folder)
    }

    /// The reports that were written for a reason, with this ending.
    fn reports(&self, why: &str, ending: &str) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.state()).into_iter().flatten();
        let files = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let is_one = |file: &PathBuf| {
            let name = file
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            name.contains(&format!("-{why}-")) && name.ends_with(ending)
        };
        files.filter(is_one).collect()
    }
}

/// A process that takes so many bytes a second, and the file that tells how many it has.
struct Hoard {
    victim: Victim,
    held: PathBuf,
}

impl Hoard {
    fn start(folder: &TempDir, bytes_per_second: u64) -> Result<Self> {
        Self::start_as(folder, bytes_per_second, Ok)
    }

    fn start_as(
        folder: &TempDir,
        bytes_per_second: u64,
        prepare: impl FnOnce(std::process::Command) -> Result<std::process::Command>,
    ) -> Result<Self> {
        let held = folder.path().join("held");
        std::fs::write(&held, [0; 8])?;
        let rate = bytes_per_second.to_string();
        let file = held.to_str().context("a path")?.to_owned();
        let command = Program::new("hoard").command(&[&file, &rate])?;
        Ok(Self {
            victim: Victim::start(prepare(command)?)?,
            held,
        })
    }

    fn held(&self) -> Result<u64> {
        let bytes = std::fs::read(&self.held)?;
        let bytes = bytes.as_slice().try_into().context("eight bytes")?;
        Ok(u64::from_ne_bytes(bytes))
    }
}
