//! Writing reports where the user wants them.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::Result;

use crate::cli::{Invocation, Output};
use crate::report::file::WriteFileError;
use crate::report::kernel::{self, KernelReport};
use crate::report::space::{self, SpaceReport};
use crate::report::{Report, file, folded, json, svg, text};

/// A report in its several dresses.
pub trait Dressed {
    /// Whether it is the last one of the trace.
    fn last(&self) -> bool;
    /// Sentences about what the numbers do not cover.
    fn notes(&self) -> &[String];
    /// One line of JSON; `blocks` where single blocks are wanted.
    fn json(&self, blocks: bool, out: &mut impl Write) -> io::Result<()>;
    /// For a person.
    fn text(&self, options: &text::TextOptions, out: &mut impl Write) -> io::Result<()>;
    /// Folded stacks.
    fn folded(&self, out: &mut impl Write) -> io::Result<()>;
    /// A flame graph.
    fn svg(&self, out: &mut impl Write) -> io::Result<()>;
}

impl Dressed for Report {
    fn last(&self) -> bool {
        self.last
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn json(&self, blocks: bool, out: &mut impl Write) -> io::Result<()> {
        json::write(self, json::JsonOptions { blocks }, out)
    }

    fn text(&self, options: &text::TextOptions, out: &mut impl Write) -> io::Result<()> {
        text::write(self, options, out)
    }

    fn folded(&self, out: &mut impl Write) -> io::Result<()> {
        folded::write(self, out)
    }

    fn svg(&self, out: &mut impl Write) -> io::Result<()> {
        svg::write(self, out)
    }
}

impl Dressed for SpaceReport {
    fn last(&self) -> bool {
        self.last
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn json(&self, _blocks: bool, out: &mut impl Write) -> io::Result<()> {
        space::json::write(self, out)
    }

    fn text(&self, options: &text::TextOptions, out: &mut impl Write) -> io::Result<()> {
        space::text::write(self, options, out)
    }

    fn folded(&self, out: &mut impl Write) -> io::Result<()> {
        space::folded(self, out)
    }

    fn svg(&self, out: &mut impl Write) -> io::Result<()> {
        space::svg(self, out)
    }
}

impl Dressed for KernelReport {
    fn last(&self) -> bool {
        self.last
    }

    fn notes(&self) -> &[String] {
        &self.notes
    }

    fn json(&self, _blocks: bool, out: &mut impl Write) -> io::Result<()> {
        kernel::json::write(self, out)
    }

    fn text(&self, options: &text::TextOptions, out: &mut impl Write) -> io::Result<()> {
        kernel::text::write(self, options, out)
    }

    fn folded(&self, out: &mut impl Write) -> io::Result<()> {
        kernel::folded(self, out)
    }

    fn svg(&self, out: &mut impl Write) -> io::Result<()> {
        kernel::svg(self, out)
    }
}

/// Where reports go, and in which dress.
pub struct Printer<'a> {
    output: &'a Output,
    colour: bool,
    blocks: bool,
    all_frames: bool,
    /// Notes that were printed.
    known_notes: BTreeSet<String>,
    /// Failures to write files that were told.
    known_failures: BTreeSet<String>,
}

/// Whether the reader of standard output is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reader {
    /// It takes reports.
    Listening,
    /// It has closed its end; there is nothing more to say.
    Gone,
}

impl<'a> Printer<'a> {
    /// A printer; `blocks` lists the live blocks of each stack.
    pub fn new(output: &'a Output, invocation: &Invocation, blocks: bool) -> Self {
        Self {
            output,
            colour: invocation.color.for_stdout(),
            blocks,
            all_frames: invocation.verbose > 0,
            known_notes: BTreeSet::new(),
            known_failures: BTreeSet::new(),
        }
    }

    /// Prints one report on standard output.
    pub fn print(&mut self, report: &impl Dressed) -> Result<Reader> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = if self.output.json {
            report.json(self.blocks, &mut out)
        } else {
            report
                .text(&self.text_options(), &mut out)
                .and_then(|()| writeln!(out))
        };
        let written = written.and_then(|()| out.flush());
        self.known_notes.extend(report.notes().iter().cloned());
        reader(written)
    }

    /// Whether a file wants all stacks.
    pub fn wants_all_stacks(&self) -> bool {
        self.output.folded.is_some() || self.output.svg.is_some()
    }

    /// Refuses files that cannot be made, before the trace rather than after it.
    pub fn check_files(&self) -> Result<()> {
        for path in [&self.output.folded, &self.output.svg]
            .into_iter()
            .flatten()
        {
            file::check(path)?;
        }
        Ok(())
    }

    /// Writes the files; the report must hold all stacks. Only the last report's failure is one of the trace; those of
    /// earlier reports are told on standard error, each once.
    pub fn write_files(&mut self, report: &impl Dressed) -> Result<()> {
        let output = self.output;
        let folded = |path: &Path| file::write_file(path, |mut out| report.folded(&mut out));
        let svg = |path: &Path| file::write_file(path, |mut out| report.svg(&mut out));
        let written = [
            output.folded.as_deref().map(folded),
            output.svg.as_deref().map(svg),
        ];
        let mut failures: Vec<WriteFileError> = written
            .into_iter()
            .flatten()
            .filter_map(Result::err)
            .collect();
        let fatal = if report.last() { failures.pop() } else { None };
        for failure in &failures {
            if report.last() || self.known_failures.insert(failure.to_string()) {
                eprintln!("memlens: {failure}");
            }
        }
        fatal.map_or(Ok(()), |failure| Err(failure.into()))
    }

    fn text_options(&self) -> text::TextOptions {
        let terminal = io::stdout().is_terminal();
        let width =
            terminal_size::terminal_size_of(io::stdout()).map(|(width, _)| usize::from(width.0));
        text::TextOptions {
            width: width.filter(|_| terminal),
            colour: self.colour,
            source: self.output.source,
            addresses: self.output.addresses,
            show_blocks: self.blocks,
            all_frames: self.all_frames,
            known_notes: self.known_notes.clone(),
            ..text::TextOptions::default()
        }
    }
}

/// Tells a closed pipe, which is no error, from the rest.
pub fn reader(written: io::Result<()>) -> Result<Reader> {
    match written {
        Ok(()) => Ok(Reader::Listening),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(anyhow::anyhow!("cannot write to standard output: {error}")),
    }
}
