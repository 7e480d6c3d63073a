//! `memlens explain`: looks at one process and prints where its memory is.

mod trace;

use std::io::{self, IsTerminal, Write};

use anyhow::Result;

use super::attach::Prober;
use super::output::reader;
use crate::cli::{Allocator, EXIT_DONE, ExplainConfig, Invocation};
use crate::explain::diff::{self, Change};
use crate::explain::growth::Growth;
use crate::explain::text::{self, TextOptions};
use crate::explain::{Explanation, FoundAllocator, explain, json};

/// What there is to print.
struct Outcome {
    explanation: Explanation,
    change: Option<Change>,
    growth: Option<Growth>,
}

/// Runs `memlens explain`.
pub fn run(invocation: &Invocation, config: &ExplainConfig) -> Result<u8> {
    let outcome = match config.trace {
        Some(time) => trace::run(invocation, config.pid, time)?,
        None => look(config)?,
    };
    let Outcome {
        explanation,
        change,
        growth,
    } = &outcome;
    let (change, growth) = (change.as_ref(), growth.as_ref());
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = if config.json {
        json::write(explanation, change, growth, &mut out)
    } else {
        text::write(explanation, change, growth, &options(invocation), &mut out)
    };
    reader(written.and_then(|()| out.flush()))?;
    Ok(EXIT_DONE)
}

/// Looks once, and compares with what was written down earlier.
fn look(config: &ExplainConfig) -> Result<Outcome> {
    // A file that is no good is told before the process is looked at.
    let before = config.diff.as_deref().map(diff::read).transpose()?;
    let explanation = explain(config.pid, survey)?;
    let change = match (&before, &config.diff) {
        (Some(before), Some(path)) => Some(diff::compare(path, before, &explanation)?),
        _ => None,
    };
    Ok(Outcome {
        explanation,
        change,
        growth: None,
    })
}

fn options(invocation: &Invocation) -> TextOptions {
    let stdout = io::stdout();
    let width = terminal_size::terminal_size_of(&stdout).map(|(width, _)| usize::from(width.0));
    TextOptions {
        width: width.filter(|_| stdout.is_terminal()),
        colour: invocation.color.for_stdout(),
        all_arenas: invocation.verbose > 0,
        zone: None,
    }
}

/// The allocators of a process; none where they cannot be looked for.
fn survey(pid: u32) -> Vec<FoundAllocator> {
    let mut prober = Prober::new(&Allocator::default(), false);
    let files = prober.survey(pid).unwrap_or_default();
    let found = files.iter().map(|file| FoundAllocator {
        kind: file.plan.allocator,
        file: file.path.clone(),
    });
    found.collect()
}
