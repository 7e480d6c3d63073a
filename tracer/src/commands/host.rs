//! `memlens host`: looks at the machine again and again, and reports who grows on it.

mod output;
mod screen;
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
use crate::sources::machine::View;
use crate::sources::machine::observe::Observer;
use crate::sources::machine::root::Root;
use crate::sources::machine::sampler::Sampler;
use crate::sources::machine::scan::Extras;
use crate::words::units::{bytes, counted_processes, duration};

use output::Output;
use wait::{Key, Wake};

/// Samples of an interval, so that the first report has a slope.
const SAMPLES: u32 = 10;
/// Samples that an interval should have at least; with the one before it a slope has one more.
const FEWEST: u32 = 5;
/// Shortest and longest time between two samples.
const SHORTEST: Duration = Duration::from_millis(50);
const LONGEST: Duration = Duration::from_secs(5);
/// Passes take at most one part in so many of the time.
const SHARE: u32 = 20;

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
        view: config.view,
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

/// Time between two samples: some ten in an interval. Where a pass takes long they are fewer, but as many as a
/// slope takes, unless passes would then fill a quarter of the time.
fn period(interval: Duration, pass: Duration) -> Duration {
    let wanted = (interval / SAMPLES).clamp(SHORTEST, LONGEST);
    let at_most = (interval / FEWEST).max(pass * 4);
    wanted.max((pass * SHARE).min(at_most)).min(interval)
}

struct Run<'a> {
    config: &'a HostConfig,
    observer: Observer,
    sampler: Sampler,
    view: View,
    log: Log,
}

impl Run<'_> {
    /// Reports until the number of reports is reached, the user has enough, or nobody listens any more.
    fn follow(&mut self, output: &mut Output<'_>) -> Result<()> {
        let begun = Instant::now();
        let mut reports = 0_u64;
        let mut due = begun + self.config.schedule.interval;
        let mut sample_due = begun + self.period();
        output.begin(|| self.report(false))?;
        loop {
            let mut last = false;
            match output.wait(due.min(sample_due))? {
                Wake::Due => self.sample()?,
                Wake::Interrupted => {
                    self.sample()?;
                    last = true;
                }
                Wake::Key(Key::Redraw) => {
                    output.redraw()?;
                    continue;
                }
                Wake::Key(key) => {
                    self.change_view(key);
                    self.sample()?;
                    output.picture(&self.report(false))?;
                    self.settle();
                    continue;
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
        let mut profile = self.observer.profile(self.view, meta, &mut self.sampler);
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

    fn change_view(&mut self, key: Key) {
        match key {
            Key::Order => self.view.order = self.view.order.other(),
            Key::Of => self.view.of = self.view.of.next(),
            Key::Redraw => {}
        }
        self.sampler
            .set_extras(extras(self.config.by, self.view.of));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_come_often_and_passes_leave_the_machine_alone() {
        let ms = Duration::from_millis;
        assert_eq!(period(ms(5_000), ms(5)), ms(500));
        assert_eq!(period(ms(5_000), ms(40)), ms(800));
        assert_eq!(period(ms(5_000), ms(100)), ms(1_000));
        assert_eq!(period(ms(100), ms(1)), ms(50));
        assert_eq!(period(ms(20), ms(1)), ms(20));
        assert_eq!(period(ms(3_600_000), ms(1)), ms(5_000));
        assert_eq!(period(ms(1_000), ms(900)), ms(1_000));
    }
}
