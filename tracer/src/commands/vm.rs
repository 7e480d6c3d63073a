//! `memlens vm`: who has mapped address space, and how much of it is in memory.

use anyhow::Result;

use super::output::Printer;
use super::{follow, log, refuse_if_unable};
use crate::cli::{Invocation, Outcome, VmConfig};
use crate::engine::{Trace, target};
use crate::profile::Measure;
use crate::sources::address_space::{AddressSpace, AddressSpaceOptions};

/// Regions without a stack that a report shows, unless all are wanted.
const OTHERS_SHOWN: usize = 10;

/// Runs `memlens vm`.
pub fn run(invocation: &Invocation, config: &VmConfig) -> Result<Outcome> {
    let facts = refuse_if_unable("load BPF programs")?;
    let mut printer = Printer::new(&config.output, invocation);
    printer.options.measure = Some(config.width.measure());
    if let Some(by) = config.by {
        printer.group_by(by, Measure::VmMappedBytes);
    }
    let selection = printer.selection();
    let others = config.output.shown.top.map(|_| OTHERS_SHOWN);
    let options = AddressSpaceOptions {
        order: config.sort,
        faults: config.faults,
        others,
    };
    follow(&mut printer, &config.schedule.into(), || {
        let about = target::resolve(&config.target, config.by.unwrap_or_default(), true)?;
        let space = AddressSpace::new(options);
        let mut trace = Trace::start(about, space, config.walk.into(), &facts, log(invocation))?;
        trace.selection = selection;
        Ok(trace)
    })?;
    Ok(Outcome::Done(printer.command_exit()))
}
