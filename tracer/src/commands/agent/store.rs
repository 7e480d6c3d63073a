//! Writes reports to the state directory, in a thread of its own, and removes the oldest.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::thread::JoinHandle;

use anyhow::{Context, Result};

use super::shared::Shared;
use crate::agent::keep::{self, Stored};
use crate::agent::moment::{Moment, word};
use crate::cli::WriteConfig;
use crate::profile::Profile;
use crate::recording::Writer;
use crate::render::{Format, Options, file};
use crate::words::error;

/// Reports that may wait to be written: each has a profile of its own.
const WAITING: usize = 8;
/// Only the owner looks into it: stacks are secrets.
const FOLDER_MODE: u32 = 0o700;

/// A report to write.
struct Job {
    moment: Moment,
    part: Profile,
}

/// The thread that writes. When it is dropped what waits is written first.
pub struct Store {
    jobs: Option<SyncSender<Job>>,
    thread: Option<JoinHandle<()>>,
    shared: Arc<Shared>,
}

impl Store {
    /// Begins; without a folder nothing is written.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn begin(shared: &Arc<Shared>) -> Result<Self> {
        let write = shared.config().write.clone();
        let mut store = Self {
            jobs: None,
            thread: None,
            shared: Arc::clone(shared),
        };
        let Some(folder) = write.folder().cloned() else {
            return Ok(store);
        };
        if let Err(error) = prepare(&folder) {
            // A full or read-only disk must not keep the agent from watching.
            tracing::warn!("reports may not be written: {}", error::one_line(&error));
        }
        let (jobs, waiting) = sync_channel(WAITING);
        let shared = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("store".into());
        let thread = thread.spawn(move || write_all(&shared, &folder, &write, &waiting));
        store.thread = Some(thread.context("cannot start a thread")?);
        store.jobs = Some(jobs);
        Ok(store)
    }

    /// Has a report written, soon.
    pub fn write(&self, moment: Moment, part: Profile) {
        let Some(jobs) = &self.jobs else { return };
        let sent = jobs.try_send(Job { moment, part });
        if let Err(TrySendError::Full(job) | TrySendError::Disconnected(job)) = sent {
            tracing::warn!(
                "too many reports at once: {} is not written",
                job.moment.text
            );
            self.shared.known().own.failed_reports += 1;
        }
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.jobs = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn prepare(folder: &Path) -> Result<()> {
    if !folder.is_dir() {
        let mut builder = fs::DirBuilder::new();
        builder.recursive(true).mode(FOLDER_MODE);
        let made = builder.create(folder);
        made.with_context(|| format!("cannot make {}", folder.display()))?;
    }
    file::check(&folder.join("x"))?;
    Ok(())
}

fn write_all(shared: &Shared, folder: &Path, write: &WriteConfig, waiting: &Receiver<Job>) {
    for job in waiting {
        let why = job.moment.why;
        let written = write_one(folder, &job);
        let mut known = shared.known();
        match written {
            Ok(stem) => {
                *known.own.reports.entry(word(why)).or_default() += 1;
                drop(known);
                tracing::info!("{}: {}", job.moment.text, folder.join(stem).display());
            }
            Err(failure) => {
                known.own.failed_reports += 1;
                drop(known);
                tracing::error!("{}", error::one_line(&failure));
            }
        }
        if let Err(failure) = tidy(folder, write) {
            tracing::warn!("old reports stay: {}", error::one_line(&failure));
        }
    }
}

/// Writes all files of a report; their common name.
fn write_one(folder: &Path, job: &Job) -> Result<String> {
    if !folder.is_dir() {
        prepare(folder)?;
    }
    let whose = job.moment.whose(&job.part);
    let stem = keep::stem(job.part.meta.time, word(job.moment.why), &whose);
    let path = |ending: &str| folder.join(format!("{stem}{ending}"));
    // What pprof opens comes first: it is the smallest, and a disk may be almost full.
    for (format, ending) in [(Format::Pprof, ".pb.gz"), (Format::Html, ".html")] {
        let path = path(ending);
        file::write_file(&path, |out| {
            format
                .renderer()
                .render(&job.part, &Options::default(), out)
        })?;
        close(&path)?;
    }
    let path = path(".memlens");
    let recorded = Writer::open(&path).and_then(|mut writer| writer.add(&job.part));
    if let Err(failure) = recorded {
        // Half a recording says nothing.
        let _ = fs::remove_file(&path);
        return Err(failure.into());
    }
    close(&path)?;
    Ok(stem)
}

/// Only the owner may read it.
fn close(path: &Path) -> Result<()> {
    let closed = fs::set_permissions(path, fs::Permissions::from_mode(0o600));
    closed.with_context(|| format!("cannot close {}", path.display()))
}

/// Removes the oldest reports, where there are too many.
fn tidy(folder: &Path, write: &WriteConfig) -> Result<()> {
    let mut files = Vec::new();
    let entries = fs::read_dir(folder);
    for entry in entries.with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let Ok(metadata) = entry.metadata() else {
            continue;
        };
        files.push(Stored {
            name: entry.file_name().to_string_lossy().into_owned(),
            bytes: metadata.len(),
        });
    }
    for name in keep::to_remove(&files, write.keep as usize, write.keep_bytes) {
        let path: PathBuf = folder.join(name);
        fs::remove_file(&path).with_context(|| format!("cannot remove {}", path.display()))?;
    }
    Ok(())
}
