//! bcc's memleak beside a benchmark program, for comparison.

use std::{
    env, fmt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};
use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};

use super::{tracer::NO_REPORT, victim::Victim};

/// The names under which distributions ship the compiled memleak, not the Python script.
const NAMES: [&str; 2] = ["memleak-libbpf", "memleak"];
/// memleak says nothing when its probes are on: a pair that costs this many times more says it.
const SLOWER: f64 = 20.0;
/// How long memleak may take to attach or to leave; its perf events take a tenth of a second each to close.
const LIMIT: Duration = Duration::from_secs(30);

/// memleak did not work here; why.
#[derive(Debug)]
pub struct Failed(pub String);

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Failed {}

/// Nanoseconds of the victim's pairs under memleak, slot by slot; untraced they take `untraced`. Fails with [`Failed`].
pub fn cost(
    program: &Path,
    victim: &mut Victim,
    untraced: f64,
    seconds: u32,
) -> Result<Vec<f64>, Failed> {
    measured(program, victim, untraced, seconds).map_err(|why| Failed(format!("{why:#}")))
}

fn measured(program: &Path, victim: &mut Victim, untraced: f64, seconds: u32) -> Result<Vec<f64>> {
    let memleak = Memleak::start(program, victim, untraced)?;
    let costs = victim.cost(seconds)?;
    memleak.end()?;
    Ok(costs)
}

/// A running memleak; killed when dropped.
pub struct Memleak {
    child: Child,
}

impl Memleak {
    /// The program in `PATH`; else why there is none.
    pub fn find(named: Option<&Path>) -> Result<PathBuf, String> {
        if let Some(path) = named {
            return Ok(path.to_path_buf());
        }
        let path = env::var_os("PATH").unwrap_or_default();
        let found = NAMES
            .iter()
            .flat_map(|name| env::split_paths(&path).map(move |dir| dir.join(name)))
            .find(|program| program.is_file());
        found.ok_or_else(|| {
            "no memleak-libbpf in PATH (newer releases of Debian's libbpf-tools have it); name one with --memleak"
                .to_owned()
        })
    }

    /// Its version, as it tells it itself.
    pub fn version(program: &Path) -> Option<String> {
        let out = Command::new(program).arg("--version").output().ok()?;
        let text = String::from_utf8_lossy(&out.stdout).trim().to_owned();
        (!text.is_empty()).then_some(text)
    }

    /// Traces the victim; returns once its pairs cost clearly more than `untraced` nanoseconds.
    fn start(program: &Path, victim: &mut Victim, untraced: f64) -> Result<Self> {
        let child = Command::new(program)
            .args(["-p", &victim.pid().to_string(), NO_REPORT])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .with_context(|| format!("cannot run {}", program.display()))?;
        let mut memleak = Self { child };
        let until = Instant::now() + LIMIT;
        while Instant::now() < until {
            if let Some(status) = memleak.child.try_wait().context("cannot wait for it")? {
                bail!("it ended at once ({status})");
            }
            let costs = victim.cost(1)?;
            if !costs.is_empty() && costs.iter().all(|&ns| ns > SLOWER * untraced) {
                return Ok(memleak);
            }
        }
        bail!("it traced nothing within {LIMIT:?}")
    }

    /// Ends the trace and waits until the probes are gone.
    fn end(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id()).context("memleak has an impossible PID")?;
        kill(Pid::from_raw(pid), Signal::SIGINT).context("cannot end memleak")?;
        let until = Instant::now() + LIMIT;
        while Instant::now() < until {
            if self
                .child
                .try_wait()
                .context("cannot wait for it")?
                .is_some()
            {
                return Ok(());
            }
            thread::sleep(Duration::from_millis(50));
        }
        bail!("it did not end within {LIMIT:?}")
    }
}

impl Drop for Memleak {
    fn drop(&mut self) {
        // After `end` both fail, as they should.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
