//! The files that reports are written to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;

use crate::cli::Outputs;
use crate::profile::Profile;
use crate::profile::history::Timeline;
use crate::recording::Writer;
use crate::render::file::{self, WriteFileError};
use crate::render::{Format, Options};

/// Files that are written with every report.
#[derive(Default)]
pub struct Files {
    replaced: Vec<(Format, PathBuf)>,
    /// Recordings, which each report is added to.
    recordings: Vec<Writer>,
    /// What was reported so far, where a file shows it.
    timeline: Option<Timeline>,
    /// Failures to write that were said.
    known_failures: BTreeSet<String>,
}

impl Files {
    /// The files of a command line.
    ///
    /// # Errors
    /// Which of them cannot be made, in one line.
    pub fn open(outputs: &Outputs) -> Result<Self> {
        let mut files = Self::default();
        for (format, path) in outputs.files() {
            match format {
                Format::Recording => files.recordings.push(Writer::open(path)?),
                format => {
                    file::check(path)?;
                    files.replaced.push((format, path.to_owned()));
                }
            }
        }
        let wants_history = |(format, _): &(Format, PathBuf)| format.wants_history();
        files.timeline = files
            .replaced
            .iter()
            .any(wants_history)
            .then(Timeline::default);
        Ok(files)
    }

    /// The recordings among them.
    pub fn recordings(&self) -> &[Writer] {
        &self.recordings
    }

    /// Adds a profile to the recordings alone; `last` where no other one comes.
    ///
    /// # Errors
    /// As [`Self::write`].
    pub fn record(&mut self, profile: &Profile, last: bool) -> Result<()> {
        let added = self
            .recordings
            .iter_mut()
            .map(|recording| recording.add(profile));
        let failures = added.filter_map(Result::err).collect();
        self.say(failures, last)
    }

    /// Writes a profile, which must have all stacks, to each file.
    ///
    /// # Errors
    /// What kept the last profile of the trace from being written. Failures of earlier ones are said on standard error,
    /// each once.
    pub fn write(&mut self, profile: &Profile, options: &Options) -> Result<()> {
        let options = Options {
            width: None,
            color: false,
            ..options.clone()
        };
        let with_history = self.with_history(profile);
        let replaced = self.replaced.iter().map(|(format, path)| {
            let profile = with_history
                .as_ref()
                .filter(|_| format.wants_history())
                .unwrap_or(profile);
            file::write_file(path, |out| format.renderer().render(profile, &options, out))
        });
        let added = self
            .recordings
            .iter_mut()
            .map(|recording| recording.add(profile));
        let failures = replaced.chain(added).filter_map(Result::err).collect();
        self.say(failures, profile.meta.last)
    }

    /// The profile with its history, where a file shows it and it has none yet.
    fn with_history(&mut self, profile: &Profile) -> Option<Profile> {
        let timeline = self.timeline.as_mut()?;
        timeline.add(profile);
        let has_none = profile.sections.history.is_none();
        has_none.then(|| {
            let mut profile = profile.clone();
            timeline.fill(&mut profile);
            profile
        })
    }

    /// Says failures on standard error, each once; the last one of the last profile is the error of the run.
    fn say(&mut self, mut failures: Vec<WriteFileError>, last: bool) -> Result<()> {
        let fatal = if last { failures.pop() } else { None };
        for failure in &failures {
            if last || self.known_failures.insert(failure.to_string()) {
                eprintln!("memlens: {failure}");
            }
        }
        fatal.map_or(Ok(()), |failure| Err(failure.into()))
    }
}
