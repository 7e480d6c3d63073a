//! `memlens explain`: looks at one process and prints where its memory is.

use std::io::{self, IsTerminal, Write};

use anyhow::Result;

use super::attach::Prober;
use super::output::reader;
use crate::cli::{Allocator, EXIT_DONE, ExplainConfig, Invocation};
use crate::explain::text::{self, TextOptions};
use crate::explain::{FoundAllocator, diff, explain, json};

/// Runs `memlens explain`.
pub fn run(invocation: &Invocation, config: &ExplainConfig) -> Result<u8> {
    // A file that is no good is told before the process is looked at.
    let before = config.diff.as_deref().map(diff::read).transpose()?;
    let explanation = explain(config.pid, survey)?;
    let change = match (&before, &config.diff) {
        (Some(before), Some(path)) => Some(diff::compare(path, before, &explanation)?),
        _ => None,
    };
    let mut out = io::BufWriter::new(io::stdout().lock());
    let written = if config.json {
        json::write(&explanation, change.as_ref(), &mut out)
    } else {
        text::write(
            &explanation,
            change.as_ref(),
            &options(invocation),
            &mut out,
        )
    };
    reader(written.and_then(|()| out.flush()))?;
    Ok(EXIT_DONE)
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
