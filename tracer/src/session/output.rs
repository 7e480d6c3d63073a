//! Writing reports where the user wants them.

use std::collections::BTreeSet;
use std::io::{self, IsTerminal, Write};
use std::path::Path;

use anyhow::Result;

use crate::cli::{Invocation, Output};
use crate::report::file::WriteFileError;
use crate::report::{Report, file, folded, json, svg, text};

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
    pub fn print(&mut self, report: &Report) -> Result<Reader> {
        let mut out = io::BufWriter::new(io::stdout().lock());
        let written = if self.output.json {
            json::write(
                report,
                json::JsonOptions {
                    blocks: self.blocks,
                },
                &mut out,
            )
        } else {
            text::write(report, &self.text_options(), &mut out).and_then(|()| writeln!(out))
        };
        let written = written.and_then(|()| out.flush());
        self.known_notes.extend(report.notes.iter().cloned());
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
    pub fn write_files(&mut self, report: &Report) -> Result<()> {
        let output = self.output;
        let folded =
            |path: &Path| file::write_file(path, |mut out| folded::write(report, &mut out));
        let svg = |path: &Path| file::write_file(path, |mut out| svg::write(report, &mut out));
        let written = [
            output.folded.as_deref().map(folded),
            output.svg.as_deref().map(svg),
        ];
        let mut failures: Vec<WriteFileError> = written
            .into_iter()
            .flatten()
            .filter_map(Result::err)
            .collect();
        let fatal = if report.last { failures.pop() } else { None };
        for failure in &failures {
            if report.last || self.known_failures.insert(failure.to_string()) {
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
