//! `memlens host`: looks at the machine again and again, and reports who grows on it.

mod output;
mod wait;

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::analysis::advice;
use crate::cli::{HostConfig, Invocation, Outcome, has_command};
use crate::engine::console::Log;
use crate::engine::{Flow, Interrupt, meta};
use crate::process::info::own_resident_bytes;
use crate::profile::machine::{By, Of};
use crate::profile::{Meta, Profile};
use crate::sources::machine::observe::Observer;
use crate::sources::machine::pace::period;
use crate::sources::machine::root::Root;
use crate::sources::machine::sampler::Sampler;
use crate::sources::machine::scan::Extras;
use crate::words::units::{bytes, counted_processes, duration};

use output::Output;
use wait::Wake;

/// Runs `memlens host`.
///
/// # Errors
/// What keeps the machine from being looked at, or the reports from being written, in one line.
pub fn run(invocation: &Invocation, config: &HostConfig) -> Result<Outcome> {
    let interrupt = Interrupt::install()?;
    let mut output = Output::open(invocation, config, interrupt)?;
    let mut sampler = Sampler::new(Root::machine(), extras(config.by, config.view.of));
    let first = sampler.snapshot()?;
    let mut run = Run {
        observer: Observer::new(config.by, config.window, first),
        sampler,
        config,
        log: Log::new(invocation.verbose),
    };
    run.follow(&mut output)?;
    Ok(Outcome::Done(None))
}

/// What every pass must read for a table.
fn extras(by: By, of: Of) -> Extras {
    Extras {
        pss: of == Of::Pss,
        places: by == By::Container,
    }
}

struct Run<'a> {
    config: &'a HostConfig,
    observer: Observer,
    sampler: Sampler,
    log: Log,
}

impl Run<'_> {
    /// Reports until the number of reports is reached, the user has enough, or nobody listens any more.
    fn follow(&mut self, output: &mut Output<'_>) -> Result<()> {
        let begun = Instant::now();
        let mut reports = 0_u64;
        let mut due = begun + self.config.schedule.interval;
        let mut sample_due = begun + self.period();
        loop {
            let mut last = false;
            match output.wait(due.min(sample_due)) {
                Wake::Due => self.sample()?,
                Wake::Interrupted => {
                    self.sample()?;
                    last = true;
                }
            }
            let now = Instant::now();
            sample_due = (sample_due + self.period()).max(now);
            if now < due && !last {
                continue;
            }
            reports += 1;
            last |= self
                .config
                .schedule
                .count
                .is_some_and(|count| reports >= count.get());
            let report = self.report(last);
            let reader = output.report(&report)?;
            self.settle();
            if last || reader == Flow::Unread {
                return Ok(());
            }
            // After a suspension the reports that were missed are not made up for.
            while due <= now {
                due += self.config.schedule.interval;
            }
        }
    }

    fn period(&self) -> Duration {
        period(self.config.schedule.interval, self.sampler.took())
    }

    fn sample(&mut self) -> Result<()> {
        let snapshot = self.sampler.snapshot()?;
        self.observer.add(snapshot);
        Ok(())
    }

    fn report(&mut self, last: bool) -> Profile {
        let meta = Meta { last, ..meta() };
        let view = self.config.view;
        let mut profile = self.observer.profile(view, meta, &mut self.sampler);
        profile.notes = self.sampler.notes();
        advice::add(&mut profile, &has_command);
        self.log.details(|| {
            let own = own_resident_bytes().map_or_else(|| "?".into(), bytes);
            let took = duration(self.sampler.took());
            let machine = profile.sections.machine.as_ref();
            let seen = machine.map_or(0, |machine| machine.processes_total as u64);
            let seen = counted_processes(seen);
            vec![format!(
                "a pass over {seen} took {took}, memlens has {own} resident"
            )]
        });
        profile
    }

    /// What is known now is what the next report's changes are against.
    fn settle(&mut self) {
        self.observer.settle();
        self.sampler.refresh();
    }
}
