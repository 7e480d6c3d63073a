//! Where the reports of `memlens host` go: standard output, a picture in place, and a file of figures.

use std::fs::File;
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::{Result, bail};

use super::screen::Screen;
use super::wait::{Clock, Wake};
use crate::cli::{Invocation, MachineConfig};
use crate::host::csv::Csv;
use crate::host::report::HostReport;
use crate::host::{json, text};
use crate::report::file::{self, WriteFileError};
use crate::session::interrupt::Interrupt;
use crate::session::output::{Reader, reader};

/// Keys, in the last line of the picture.
const KEYS: &str = "q leave   s order   o figure   space hold";

/// Writes reports, and waits between them.
pub struct Output<'a> {
    config: &'a MachineConfig,
    colour: bool,
    clock: Clock,
    csv: Option<(PathBuf, Csv<BufWriter<File>>)>,
    watch: Option<Watch>,
    printed: bool,
}

/// The picture in place.
struct Watch {
    screen: Screen,
    /// What it shows.
    shown: Option<HostReport>,
    /// The picture stays as it is.
    hold: bool,
}

impl<'a> Output<'a> {
    /// Opens what reports go to, and refuses what cannot be opened.
    pub fn open(
        invocation: &Invocation,
        config: &'a MachineConfig,
        interrupt: Interrupt,
    ) -> Result<Self> {
        if config.watch && !(io::stdout().is_terminal() && io::stdin().is_terminal()) {
            bail!("--watch needs a terminal: leave it out, and the reports follow one another");
        }
        let csv = match &config.csv {
            Some(path) => Some((path.clone(), create(path)?)),
            None => None,
        };
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
            colour: invocation.color.for_stdout(),
            clock: Clock::new(interrupt)?,
            csv,
            watch,
            printed: false,
        })
    }

    /// Shows a first picture, where there is one to show.
    pub fn begin(&mut self, first: impl FnOnce() -> HostReport) -> Result<()> {
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
    pub fn report(&mut self, report: &HostReport) -> Result<Reader> {
        if let Some((path, csv)) = &mut self.csv {
            csv.write(report).map_err(|cause| WriteFileError {
                path: path.clone(),
                cause,
            })?;
        }
        if report.last {
            self.watch = None;
        }
        if self.watch.is_some() {
            self.picture(report)?;
            return Ok(Reader::Listening);
        }
        self.print(report)
    }

    fn print(&mut self, report: &HostReport) -> Result<Reader> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = match self.config.json {
            true => json::write(report, &mut out),
            false => {
                let separator = if self.printed { "\n\n" } else { "" };
                let options = self.text_options(terminal_width());
                write!(out, "{separator}").and_then(|()| text::write(report, &options, &mut out))
            }
        };
        self.printed = true;
        reader(written.and_then(|()| out.flush()))
    }

    /// Shows a report in place, unless the picture is held.
    pub fn picture(&mut self, report: &HostReport) -> Result<()> {
        match &mut self.watch {
            Some(watch) if !watch.hold || watch.shown.is_none() => {
                watch.shown = Some(report.clone());
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
        let Some(report) = &watch.shown else {
            return Ok(());
        };
        let (width, height) = watch.screen.size();
        let text = self.fitting(report, width, height.saturating_sub(2))?;
        let room = height.saturating_sub(1);
        let mut text: String = text
            .lines()
            .take(room)
            .map(|line| format!("{line}\n"))
            .collect();
        text += &"\n".repeat(room.saturating_sub(text.lines().count()));
        let held = if watch.hold { "held   " } else { "" };
        let keys: String = format!("{held}{KEYS}").chars().take(width).collect();
        text += &match self.colour {
            true => format!("\x1b[2m{keys}\x1b[0m"),
            false => keys,
        };
        watch.screen.show(&text)?;
        Ok(())
    }

    /// The text with as many rows as fit the height; of a low screen the machine gets less.
    fn fitting(&self, report: &HostReport, width: usize, height: usize) -> Result<String> {
        let mut text = String::new();
        for (brief, least_rows) in [(false, 5), (true, 1)] {
            let mut options = self.text_options(Some(width));
            options.brief = brief;
            let mut report = report.clone();
            loop {
                let mut out = Vec::new();
                text::write(&report, &options, &mut out)?;
                text = String::from_utf8_lossy(&out).into_owned();
                if text.lines().count() <= height {
                    return Ok(text);
                }
                if !report.shorten(least_rows) {
                    break;
                }
            }
        }
        Ok(text)
    }

    fn text_options(&self, width: Option<usize>) -> text::TextOptions {
        text::TextOptions {
            width,
            colour: self.colour,
            ..text::TextOptions::default()
        }
    }
}

fn create(path: &PathBuf) -> Result<Csv<BufWriter<File>>, WriteFileError> {
    file::check(path)?;
    let created = File::create(path).map_err(|cause| WriteFileError {
        path: path.clone(),
        cause,
    })?;
    Ok(Csv::new(BufWriter::new(created)))
}

fn terminal_width() -> Option<usize> {
    let width =
        terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
    width.filter(|_| io::stdout().is_terminal())
}
