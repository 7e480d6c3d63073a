//! The files that reports are written to.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::Result;

use crate::cli::Outputs;
use crate::profile::Profile;
use crate::render::file::{self, WriteFileError};
use crate::render::{Format, Options};

/// Files that are written with every report.
#[derive(Debug, Default)]
pub struct Files {
    files: Vec<(Format, PathBuf)>,
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
            file::check(path)?;
            files.files.push((format, path.to_owned()));
        }
        Ok(files)
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
        let written = self.files.iter().map(|(format, path)| {
            file::write_file(path, |out| format.renderer().render(profile, &options, out))
        });
        let mut failures: Vec<WriteFileError> = written.filter_map(Result::err).collect();
        let fatal = if profile.meta.last {
            failures.pop()
        } else {
            None
        };
        for failure in &failures {
            if profile.meta.last || self.known_failures.insert(failure.to_string()) {
                eprintln!("memlens: {failure}");
            }
        }
        fatal.map_or(Ok(()), |failure| Err(failure.into()))
    }
}
