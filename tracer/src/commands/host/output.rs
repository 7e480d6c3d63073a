//! Where the reports of `memlens host` go: standard output, and a file of figures.

use std::fs::File;
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::Result;

use super::wait::{Clock, Wake};
use crate::cli::{HostConfig, Invocation};
use crate::commands::output::terminal_width;
use crate::engine::{Flow, Interrupt};
use crate::profile::Profile;
use crate::render::csv::Csv;
use crate::render::file::{self, WriteFileError};
use crate::render::{Format, Options, Render};

/// Writes reports, and waits between them.
pub struct Output<'a> {
    config: &'a HostConfig,
    color: bool,
    clock: Clock,
    csv: Option<CsvFile>,
    printed: bool,
}

/// A file of figures.
struct CsvFile {
    path: PathBuf,
    out: BufWriter<File>,
    /// Whether nothing was written yet.
    is_empty: bool,
}

impl<'a> Output<'a> {
    /// Opens what reports go to, and refuses what cannot be opened.
    pub fn open(
        invocation: &Invocation,
        config: &'a HostConfig,
        interrupt: Interrupt,
    ) -> Result<Self> {
        let csv = config.csv.as_deref().map(CsvFile::create).transpose()?;
        Ok(Self {
            config,
            color: invocation.color.for_stdout(),
            clock: Clock::new(interrupt)?,
            csv,
            printed: false,
        })
    }

    /// Waits until `due`, or until Ctrl-C.
    pub fn wait(&mut self, due: Instant) -> Wake {
        self.clock.wait(due)
    }

    /// Writes one report everywhere.
    pub fn report(&mut self, profile: &Profile) -> Result<Flow> {
        if let Some(csv) = &mut self.csv {
            csv.write(profile)?;
        }
        self.print(profile)
    }

    fn print(&mut self, profile: &Profile) -> Result<Flow> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let options = self.options(terminal_width());
        let (format, separator) = match (self.config.json, self.printed) {
            (true, _) => (Format::Json, ""),
            (false, true) => (Format::Text, "\n\n"),
            (false, false) => (Format::Text, ""),
        };
        let written = write!(out, "{separator}");
        let written = written.and_then(|()| format.renderer().render(profile, &options, &mut out));
        self.printed = true;
        Flow::of_output(written.and_then(|()| out.flush()))
    }

    fn options(&self, width: Option<usize>) -> Options {
        Options {
            width,
            color: self.color,
            ..Options::default()
        }
    }
}

impl CsvFile {
    fn create(path: &Path) -> Result<Self, WriteFileError> {
        file::check(path)?;
        let created = File::create(path).map_err(|cause| WriteFileError {
            path: path.to_owned(),
            cause,
        })?;
        Ok(Self {
            path: path.to_owned(),
            out: BufWriter::new(created),
            is_empty: true,
        })
    }

    fn write(&mut self, profile: &Profile) -> Result<(), WriteFileError> {
        let csv = Csv {
            header: self.is_empty,
        };
        self.is_empty = false;
        let written = csv.render(profile, &Options::default(), &mut self.out);
        let written = written.and_then(|()| self.out.flush());
        written.map_err(|cause| WriteFileError {
            path: self.path.clone(),
            cause,
        })
    }
}
