//! Writing reports where the user wants them.

use std::io::{self, IsTerminal, Write};

use anyhow::Result;

use crate::cli::{Color, Output};
use crate::report::{Report, file, folded, json, svg, text};

/// Where reports go, and in which dress.
pub struct Printer<'a> {
    output: &'a Output,
    colour: bool,
    blocks: bool,
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
    pub fn new(output: &'a Output, color: Color, blocks: bool) -> Self {
        Self {
            output,
            colour: color.for_stdout(),
            blocks,
        }
    }

    /// Prints one report on standard output.
    pub fn print(&self, report: &Report) -> Result<Reader> {
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
        reader(written.and_then(|()| out.flush()))
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

    /// Writes the files; the report must hold all stacks.
    pub fn write_files(&self, report: &Report) -> Result<()> {
        let mut failed = None;
        if let Some(path) = &self.output.folded {
            failed = file::write_file(path, |mut out| folded::write(report, &mut out)).err();
        }
        if let Some(path) = &self.output.svg
            && let Err(error) = file::write_file(path, |mut out| svg::write(report, &mut out))
            && let Some(first) = failed.replace(error)
        {
            eprintln!("memlens: {first}");
        }
        match failed {
            Some(error) => Err(error.into()),
            None => Ok(()),
        }
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
