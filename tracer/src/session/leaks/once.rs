//! A trace of running processes whose only report is handed over: for `memlens explain`.

use anyhow::Result;

use super::{Leaks, settings};
use crate::cli::{Invocation, LeaksConfig};
use crate::preflight::Facts;
use crate::report::Report;
use crate::session::{start, target};

impl<'a> Leaks<'a> {
    /// Traces what the settings name; they ask for unwind tables, and not for the whole host.
    pub(in crate::session) fn begun(
        invocation: &Invocation,
        config: &'a LeaksConfig,
        facts: &Facts,
    ) -> Result<Self> {
        let targets = target::resolve(&config.target)?;
        let unwinder = start::prepared_unwinder(config.unwind_memory, &targets);
        let settings = settings(config, Some(&unwinder), facts, false);
        let mut leaks = Self::load(invocation, config, &settings, Some(unwinder), None)?;
        leaks.begin(targets)?;
        Ok(leaks)
    }

    /// Counts nothing from now on.
    pub(in crate::session) fn stop(&mut self) {
        self.tracer.disable();
    }

    /// Ends a trace that was stopped.
    pub(in crate::session) fn ended_with(mut self, stacks: usize) -> Result<Report> {
        let report = self.made(true, stacks);
        self.leave();
        report
    }
}
