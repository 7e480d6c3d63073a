//! `memlens trace`: every call of the allocator, one line each.

use anyhow::Result;
use tracer_common::loss::Loss;

use super::{log, refuse_if_unable};
use crate::cli::{Invocation, Outcome, TraceConfig};
use crate::engine::{self, Flow, Schedule, Trace, Walk, target};
use crate::profile::Grouping;
use crate::sources::calls::{CallOptions, Calls};

/// Runs `memlens trace`.
pub fn run(invocation: &Invocation, config: &TraceConfig) -> Result<Outcome> {
    let facts = refuse_if_unable("load BPF programs")?;
    let interrupt = engine::Interrupt::install()?;
    let options = CallOptions {
        min_size: config.sizes.min,
        max_size: config.sizes.max,
        allocator: (&config.allocator).into(),
        json: config.json,
    };
    let only_at_the_end = Schedule {
        interval: None,
        count: None,
    };
    // The caller of a call is all there is to walk to.
    let walk = Walk {
        depth: 1,
        table_bytes: None,
        ..Walk::default()
    };
    engine::runtime()?.block_on(async {
        let about = target::resolve(&config.target, Grouping::default(), config.force)?;
        let calls = Calls::new(options);
        let mut trace = Trace::start(about, calls, walk, &facts, log(invocation))?;
        let mut lost = 0;
        let mut exit = None;
        engine::run(&mut trace, &only_at_the_end, interrupt, |profile| {
            lost = profile.losses.of(Loss::RingBufferFull);
            exit = profile.meta.command_exit;
            profile.notes.iter().for_each(|note| eprintln!("memlens: {note}"));
            Ok(Flow::On)
        })
        .await?;
        let printed = trace.source.printed();
        match lost {
            0 => eprintln!("memlens: {printed} events, none lost"),
            _ => eprintln!(
                "memlens: {printed} events, and {lost} lost because they came faster than they were read: the lines have \
                 gaps; give a size range (--min-size) or write to a file"
            ),
        }
        Ok(Outcome::Done(exit))
    })
}
