//! Where the reports of `memlens host` go: standard output, a picture in place, and a file of figures.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use anyhow::{Result, bail};

use super::screen::Screen;
use super::wait::{Clock, Wake};
use crate::cli::{HostConfig, Invocation};
use crate::commands::output::terminal_width;
use crate::engine::{Flow, Interrupt};
use crate::profile::Profile;
use crate::profile::machine::shorten;
use crate::render::csv::Csv;
use crate::render::file::{self, WriteFileError};
use crate::render::{Format, Options, Render};

/// Keys, in the last line of the picture.
const KEYS: &str = "q leave   s order   o figure   space hold";

/// Writes reports, and waits between them.
pub struct Output<'a> {
    config: &'a HostConfig,
    color: bool,
    clock: Clock,
    csv: Option<CsvFile>,
    watch: Option<Watch>,
    printed: bool,
}

/// A file of figures.
struct CsvFile {
    path: PathBuf,
    out: BufWriter<File>,
    /// Whether nothing was written yet.
    is_empty: bool,
}

/// The picture in place.
struct Watch {
    screen: Screen,
    /// What it shows.
    shown: Option<Profile>,
    /// The picture stays as it is.
    hold: bool,
}

impl<'a> Output<'a> {
    /// Opens what reports go to, and refuses what cannot be opened.
    pub fn open(
        invocation: &Invocation,
        config: &'a HostConfig,
        interrupt: Interrupt,
    ) -> Result<Self> {
        if config.watch && !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
            bail!("--watch needs a terminal: leave it out, and the reports follow one another");
        }
        let csv = config.csv.as_deref().map(CsvFile::create).transpose()?;
        let watch = match config.watch {
            true => Some(Watch {
                screen: Screen::enter()?,
                shown: None,
                hold: false,
            }),
            false => None,
        };
        Ok(Self {
            config,
            color: invocation.color.for_stdout(),
            clock: Clock::new(interrupt)?,
            csv,
            watch,
            printed: false,
        })
    }

    /// Shows a first picture, where there is one to show.
    pub fn begin(&mut self, first: impl FnOnce() -> Profile) -> Result<()> {
        match self.watch.is_some() {
            true => self.picture(&first()),
            false => Ok(()),
        }
    }

    /// Waits until `due`, Ctrl-C, or a key.
    pub fn wait(&mut self, due: Instant) -> Result<Wake> {
        match &mut self.watch {
            Some(watch) => self.clock.wait_for_keys(due, &mut watch.hold),
            None => Ok(self.clock.wait(due)),
        }
    }

    /// Writes one report everywhere. The last one stays on the terminal, also where there was a picture.
    pub fn report(&mut self, profile: &Profile) -> Result<Flow> {
        if let Some(csv) = &mut self.csv {
            csv.write(profile)?;
        }
        if profile.meta.last {
            self.watch = None;
        }
        if self.watch.is_some() {
            self.picture(profile)?;
            return Ok(Flow::On);
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

    /// Shows a report in place, unless the picture is held.
    pub fn picture(&mut self, profile: &Profile) -> Result<()> {
        match &mut self.watch {
            Some(watch) if !watch.hold || watch.shown.is_none() => {
                watch.shown = Some(profile.clone());
            }
            _ => return Ok(()),
        }
        self.redraw()
    }

    /// Shows the same picture again, as the terminal is now.
    pub fn redraw(&mut self) -> Result<()> {
        let Some(watch) = &self.watch else {
            return Ok(());
        };
        let Some(profile) = &watch.shown else {
            return Ok(());
        };
        let (width, height) = watch.screen.size();
        let text = self.fitting(profile, width, height.saturating_sub(2))?;
        let room = height.saturating_sub(1);
        let mut text: String = text
            .lines()
            .take(room)
            .map(|line| format!("{line}\n"))
            .collect();
        text += &"\n".repeat(room.saturating_sub(text.lines().count()));
        let held = if watch.hold { "held   " } else { "" };
        let keys: String = format!("{held}{KEYS}").chars().take(width).collect();
        text += &match self.color {
            true => format!("\x1b[2m{keys}\x1b[0m"),
            false => keys,
        };
        watch.screen.show(&text)?;
        Ok(())
    }

    /// The text with as many rows as fit the height; of a low screen the machine gets less.
    fn fitting(&self, profile: &Profile, width: usize, height: usize) -> Result<String> {
        let mut text = String::new();
        for (brief, least_rows) in [(false, 5), (true, 1)] {
            let mut options = self.options(Some(width));
            options.brief = brief;
            let mut profile = profile.clone();
            loop {
                let mut out = Vec::new();
                Format::Text
                    .renderer()
                    .render(&profile, &options, &mut out)?;
                text = String::from_utf8_lossy(&out).into_owned();
                if text.lines().count() <= height {
                    return Ok(text);
                }
                if !shorten(&mut profile, least_rows) {
                    break;
                }
            }
        }
        Ok(text)
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
