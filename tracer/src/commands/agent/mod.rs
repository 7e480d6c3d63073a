//! `memlens agent`: always on. The watch over the machine, the heap traces and the writer of reports have a thread
//! each; requests are answered on the main one.

mod http;
mod log;
mod moments;
mod otlp;
mod shared;
mod store;
mod trace;
mod watch;

use std::ffi::OsString;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use nix::sys::stat::{Mode, umask};
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::time::sleep;

use self::http::Server;
use self::otlp::Otlp;
use self::shared::Shared;
use self::store::Store;
use self::trace::Trace;
use self::watch::Watch;
use crate::cli::{AgentConfig, FileError, Invocation, Outcome, TraceWhat, with_file};
use crate::engine::Interrupt;
use crate::engine::console::Log;
use crate::engine::meta;
use crate::words::error;
use crate::words::units::counted;

/// Intervals that `--once` watches.
const ONCE: u32 = 4;
/// Threads that render at the same time.
const RENDERERS: usize = 2;

/// Runs `memlens agent`.
///
/// # Errors
/// What is wrong with the settings, or keeps the agent from starting, in one line.
pub fn run(invocation: &Invocation, typed: &AgentConfig) -> Result<Outcome> {
    let words: Vec<OsString> = std::env::args_os().collect();
    let config = settings(&words, typed)?;
    if config.check {
        return check(&config);
    }
    let told = log::begin(invocation.verbose, config.log.as_deref());
    // What it writes is not for others.
    umask(Mode::from_bits_truncate(0o077));
    let (reload, reloads) = unbounded_channel();
    let interrupt = Interrupt::install_with_reload(move || {
        // Nobody listens any more when the agent ends.
        let _ = reload.send(());
    })?;
    let log = Log::traced(told).quiet();
    let shared = Shared::new(config);
    {
        let mut known = shared.known();
        let meta = meta();
        (known.own.version, known.own.kernel) = (meta.version, meta.kernel);
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(RENDERERS)
        .build()?;
    let done = runtime.block_on(agent(&shared, log, interrupt, reloads, words));
    // A page that is still being rendered is for nobody.
    runtime.shutdown_background();
    done.map(|()| Outcome::Done(None))
}

/// The settings of the command line, and of its file, if it names one.
fn settings(words: &[OsString], typed: &AgentConfig) -> Result<AgentConfig> {
    let Some(file) = &typed.config else {
        return Ok(typed.clone());
    };
    let text = std::fs::read_to_string(file);
    let text = text.with_context(|| format!("cannot read {}", file.display()))?;
    with_file(words, &text).map_err(|error| in_file(file, error))
}

/// The mistakes of a file with its name, as compilers have them.
fn in_file(file: &Path, error: anyhow::Error) -> anyhow::Error {
    match error.downcast_ref::<FileError>() {
        Some(FileError { line, what }) => anyhow::anyhow!("{}:{line}: {what}", file.display()),
        None => error.context(format!("with {}", file.display())),
    }
}

fn check(config: &AgentConfig) -> Result<Outcome> {
    if let Some(token) = &config.serve.token_file {
        let read = std::fs::read_to_string(token);
        read.with_context(|| format!("cannot read {}", token.display()))?;
    }
    match &config.config {
        Some(file) => println!("{}: the settings are right", file.display()),
        None => println!("the settings are right"),
    }
    Ok(Outcome::Done(None))
}

/// The parts that are at work.
struct Parts {
    // The order is that in which they end.
    server: Option<Server>,
    otlp: Option<Otlp>,
    watch: Option<Watch>,
    trace: Option<Trace>,
    store: Option<Arc<Store>>,
}

impl Parts {
    async fn begin(shared: &Arc<Shared>, log: Log) -> Result<Self> {
        let mut parts = Self {
            server: None,
            otlp: None,
            watch: None,
            trace: None,
            store: None,
        };
        let config = shared.config();
        // Endpoints first: what is in the way of them is a mistake to tell at once.
        if !config.once {
            parts.server = Some(Server::begin(shared).await?);
        }
        parts.export(shared)?;
        parts.trace(shared, log)?;
        parts.watch = Some(Watch::begin(shared)?);
        Ok(parts)
    }

    fn export(&mut self, shared: &Arc<Shared>) -> Result<()> {
        let url = shared.config().serve.otlp.clone();
        let otlp = url.map(|url| Otlp::begin(shared, &url));
        self.otlp = otlp.transpose()?;
        Ok(())
    }

    fn trace(&mut self, shared: &Arc<Shared>, log: Log) -> Result<()> {
        self.trace = None;
        self.store = None;
        let store = Arc::new(Store::begin(shared)?);
        if shared.config().watch.trace != TraceWhat::None {
            self.trace = Some(Trace::begin(shared, Arc::clone(&store), log)?);
        }
        self.store = Some(store);
        Ok(())
    }
}

/// Runs until somebody wants the end.
async fn agent(
    shared: &Arc<Shared>,
    log: Log,
    mut interrupt: Interrupt,
    mut reloads: UnboundedReceiver<()>,
    words: Vec<OsString>,
) -> Result<()> {
    let mut parts = Parts::begin(shared, log).await?;
    say_begun(shared);
    let config = shared.config();
    let once = async move {
        match config.once {
            true => sleep(config.watch.interval * ONCE).await,
            false => std::future::pending().await,
        }
    };
    tokio::pin!(once);
    loop {
        tokio::select! {
            biased;
            () = interrupt.wait() => break,
            () = &mut once => break,
            Some(()) = reloads.recv() => read_again(shared, &mut parts, &words, log).await?,
        }
    }
    drop(parts);
    let reports = shared.known().own.reports.values().sum::<u64>();
    tracing::info!("ended; {} written", counted(reports, "report"));
    Ok(())
}

/// Reads the settings again. Where something is wrong with them the old ones stay.
///
/// # Errors
/// The old ones do not work any more either.
async fn read_again(
    shared: &Arc<Shared>,
    parts: &mut Parts,
    words: &[OsString],
    log: Log,
) -> Result<()> {
    let old = shared.config();
    let reloaded = match settings(words, &old) {
        Ok(new) => reload(shared, parts, new, log).await,
        Err(failure) => Err(failure),
    };
    let Err(failure) = reloaded else {
        shared.known().own.reloads.0 += 1;
        return Ok(());
    };
    shared.known().own.reloads.1 += 1;
    tracing::error!(
        "the settings stay as they are: {}",
        error::one_line(&failure)
    );
    if parts.server.is_none() {
        shared.set_config((*old).clone());
        parts.server = Some(Server::begin(shared).await?);
    }
    Ok(())
}

fn say_begun(shared: &Shared) {
    let config = shared.config();
    let addresses = config.serve.addresses();
    let addresses = addresses.iter().map(|address| format!("http://{address}"));
    let socket = config.serve.socket().map(|path| path.display().to_string());
    let endpoints: Vec<String> = addresses.chain(socket).collect();
    match config.once {
        true => tracing::info!("watching once"),
        false => tracing::info!("watching, and serving at {}", endpoints.join(" and ")),
    }
}

/// Lets other settings come into effect. What they do not concern goes on: blocks that are followed stay followed.
async fn reload(shared: &Arc<Shared>, parts: &mut Parts, new: AgentConfig, log: Log) -> Result<()> {
    let old = shared.config();
    shared.set_config(new.clone());
    let endpoints = |config: &AgentConfig| {
        let serve = &config.serve;
        (
            serve.listen.clone(),
            serve.socket.clone(),
            serve.token_file.clone(),
        )
    };
    if endpoints(&old) != endpoints(&new) || old.serve.token_file.is_some() {
        parts.server = None;
        parts.server = Some(Server::begin(shared).await?);
    }
    if old.serve.otlp != new.serve.otlp || old.watch.interval != new.watch.interval {
        parts.export(shared)?;
    }
    let traced = |config: &AgentConfig| {
        let watch = (&config.watch, config.serve.with_pid);
        format!(
            "{watch:?} {:?} {:?} {:?}",
            config.cost, config.walk, config.write
        )
    };
    if traced(&old) != traced(&new) {
        parts.trace(shared, log)?;
    }
    parts.watch = None;
    parts.watch = Some(Watch::begin(shared)?);
    tracing::info!("the settings were read again");
    Ok(())
}
