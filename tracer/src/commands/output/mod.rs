//! Where profiles go: standard output, and the files that were asked for.

mod files;

use std::io::{self, IsTerminal, Write};

use anyhow::{Result, bail};

use crate::analysis::holders;
use crate::analysis::verdict::{self, Stacks};
use crate::cli::{Invocation, Output, Outputs, Shown as AskedFor};
use crate::engine::{Flow, Selection};
use crate::profile::query::Shown;
use crate::profile::{CommandExit, Grouping, Measure, Profile, Source};
use crate::render::{Content, Format, Options};
use crate::sources::heap::Order;

pub use files::Files;

/// How the stacks of a heap trace are judged and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heaps {
    /// Their order.
    pub order: Order,
    /// Stacks whose innermost frames agree, so many of them, are one.
    pub group_frames: Option<usize>,
    /// Whether findings must rest on all stacks, shown or not.
    pub must_know_all: bool,
}

impl Heaps {
    /// The profile with its stacks joined and in order, and with the verdicts on them.
    pub fn judge(self, profile: Profile) -> Profile {
        let mut profile = match self.group_frames {
            Some(frames) => self.sorted(profile.group_frames(Source::Heap, frames)),
            None => profile,
        };
        let is_by_verdict = self.order == Order::Verdict;
        if is_by_verdict {
            verdict::sort(&mut profile);
        }
        let stacks = match is_by_verdict {
            true => Stacks::MostImportant,
            false => Stacks::Others,
        };
        holders::name(&mut profile);
        verdict::add(&mut profile, stacks);
        profile
    }

    /// In the order that was asked for, as far as that is the order of a figure.
    fn sorted(self, mut profile: Profile) -> Profile {
        let measure = match self.order {
            Order::Verdict | Order::Bytes => Measure::HeapLiveBytes,
            Order::Count => Measure::HeapLiveBlocks,
            Order::Growth => Measure::HeapChangeBytes,
            Order::Age => Measure::HeapOldestMs,
        };
        profile.sort(Source::Heap, measure);
        profile
    }
}

/// Prints profiles, and writes them to files.
pub struct Printer<'a> {
    outputs: &'a Outputs,
    /// What the renderers heed.
    pub options: Options,
    /// Merges the stacks of all processes, and orders them by this.
    by_stack: Option<Measure>,
    /// What is to become of the stacks of a heap trace.
    heaps: Option<Heaps>,
    files: Files,
    /// The last profile of the trace.
    pub last: Option<Profile>,
}

impl<'a> Printer<'a> {
    /// One for what the command line asks of outputs.
    pub fn new(output: &'a Output, invocation: &Invocation) -> Self {
        Self::showing(&output.outputs, &output.shown, invocation)
    }

    /// One for these outputs, which show this.
    pub fn showing(outputs: &'a Outputs, shown: &AskedFor, invocation: &Invocation) -> Self {
        let options = Options {
            source: shown.source,
            addresses: shown.addresses,
            top: shown.top,
            ..options(invocation)
        };
        Self {
            outputs,
            options,
            by_stack: None,
            heaps: None,
            files: Files::default(),
            last: None,
        }
    }

    /// Groups what is shown; stacks are ordered by `measure`.
    pub fn group_by(&mut self, by: Grouping, measure: Measure) {
        self.by_stack = (by == Grouping::Stack).then_some(measure);
    }

    /// Judges the stacks of heaps.
    pub fn judge(&mut self, heaps: Heaps) {
        self.heaps = Some(heaps);
    }

    /// How the traced command ended, if there was one and it has.
    pub fn command_exit(&self) -> Option<CommandExit> {
        self.last.as_ref()?.meta.command_exit
    }

    /// Which samples the profiles must have for what is to be written.
    pub fn selection(&self) -> Selection {
        match self.options.top {
            Some(top) if !self.needs_all() => Selection {
                stacks: top,
                per_subject: self.options.per_process,
                subjects: top,
            },
            _ => Selection::ALL,
        }
    }

    /// Whether what is shown rests on all stacks.
    fn needs_all(&self) -> bool {
        let judged = |heaps: Heaps| heaps.group_frames.is_some() || heaps.must_know_all;
        self.outputs.files().next().is_some()
            || !self.outputs.stdout().heeds_top()
            || self.by_stack.is_some()
            || self.heaps.is_some_and(judged)
    }

    /// Whether something that is to be written shows values over time.
    pub fn wants_history(&self) -> bool {
        let mut formats = self.outputs.files().map(|(format, _)| format);
        self.outputs.stdout().wants_history() || formats.any(Format::wants_history)
    }

    /// Refuses outputs that cannot be made, before the trace rather than after it.
    pub fn open(&mut self) -> Result<()> {
        let form = self.outputs.stdout().form();
        if form.content == Content::Binary && io::stdout().is_terminal() {
            bail!(
                "{} is no text, and standard output is a terminal: give -o FILE{}, or redirect it",
                form.name,
                form.ending
            );
        }
        self.files = Files::open(self.outputs)?;
        Ok(())
    }

    /// Prints a profile on standard output and writes it to the files; whether anybody reads standard output.
    ///
    /// # Errors
    /// What kept the last profile of the trace from being written. Failures of earlier ones are said on standard error.
    pub fn print(&mut self, profile: Profile) -> Result<Flow> {
        let profile = match self.heaps {
            Some(heaps) => heaps.judge(profile),
            None => profile,
        };
        let flow = self.show(&profile)?;
        self.options
            .known_notes
            .extend(profile.notes.iter().cloned());
        self.files.write(&profile, &self.options)?;
        if profile.meta.last {
            self.last = Some(profile);
        }
        Ok(flow)
    }

    fn show(&self, profile: &Profile) -> Result<Flow> {
        let format = self.outputs.stdout();
        let is_for_last = format.form().content != Content::Lines;
        if is_for_last && !profile.meta.last {
            return Ok(Flow::On);
        }
        if is_for_last {
            return print(format, profile, &self.options);
        }
        let mut merged = self.by_stack.map(|by| profile.by_stack(by.source(), by));
        if self
            .heaps
            .is_some_and(|heaps| heaps.order == Order::Verdict)
        {
            merged.iter_mut().for_each(verdict::sort);
        }
        let profile = merged.as_ref().unwrap_or(profile);
        if format == Format::Text {
            return print(format, profile, &self.options);
        }
        let shown = Shown {
            stacks: self.options.top,
            per_subject: self.options.per_process,
            others: None,
        };
        print(format, &profile.top(shown), &self.options)
    }
}

/// What the terminal and the command line say to the renderers.
pub fn options(invocation: &Invocation) -> Options {
    Options {
        width: terminal_width(),
        color: invocation.color.for_stdout(),
        all_frames: invocation.verbose > 0,
        ..Options::default()
    }
}

/// Columns of the terminal that standard output is, if it is one.
pub fn terminal_width() -> Option<usize> {
    let stdout = io::stdout();
    let size = terminal_size::terminal_size_of(&stdout).filter(|_| stdout.is_terminal());
    size.map(|(width, _)| usize::from(width.0))
}

/// Prints a profile on standard output; whether anybody reads it.
///
/// # Errors
/// Those of standard output, but for a closed pipe.
pub fn print(format: Format, profile: &Profile, options: &Options) -> Result<Flow> {
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = format.renderer().render(profile, options, &mut out);
    Flow::of_output(written.and_then(|()| out.flush()))
}
