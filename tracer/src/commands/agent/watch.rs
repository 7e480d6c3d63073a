//! Looks at the machine again and again, and says whose heap is to be traced.

use std::collections::HashMap;
use std::ffi::OsStr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;

use super::shared::{Ask, Shared};
use crate::agent::choose::{Chooser, Seen};
use crate::agent::triggers::Triggers;
use crate::cli::AgentConfig;
use crate::engine::meta;
use crate::process::info;
use crate::process::targets::has_name;
use crate::process::thread_time::thread_time;
use crate::profile::machine::{By, Of, Order, Pressure};
use crate::profile::{Place, Profile};
use crate::sources::machine::View;
use crate::sources::machine::background::{Background, Sampled};
use crate::sources::machine::cgroup_files::Bounds;
use crate::sources::machine::observe::{Details, Observer};
use crate::sources::machine::root::Root;
use crate::sources::machine::sampler::Sampler;
use crate::sources::machine::scan::{Extras, ProcessKey};

/// Processes that are asked for and not known yet, at most.
const MOST_ASKED: usize = 256;
/// Passes in an interval.
const PASSES: u32 = 3;
/// Passes take at most one part in so many of the time of one CPU.
const SHARE: u32 = 200;
/// Shortest and longest time between two passes.
const SHORTEST: Duration = Duration::from_millis(200);
const LONGEST: Duration = Duration::from_secs(10);

/// The watch over the machine. It ends when it is dropped.
pub struct Watch(#[expect(dead_code, reason = "dropping it ends the thread")] Background<State>);

struct State {
    shared: Arc<Shared>,
    config: Arc<AgentConfig>,
    sampler: Sampler,
    observer: Observer,
    chooser: Chooser,
    triggers: Triggers,
    /// Whether a process has one of the names that are always traced.
    named: HashMap<ProcessKey, bool>,
    told: Instant,
    /// CPU time of the last pass.
    took: Duration,
}

impl Watch {
    /// Begins to watch.
    ///
    /// # Errors
    /// What keeps the machine from being looked at.
    pub fn begin(shared: &Arc<Shared>) -> Result<Self> {
        let config = shared.config();
        let mut sampler = Sampler::new(Root::machine(), Extras::default());
        let first = sampler.snapshot()?;
        let watch = &config.watch;
        let mut state = State {
            observer: Observer::new(By::Process, Some(watch.window), first),
            sampler,
            chooser: Chooser::new(watch.trace, watch.min_growth),
            triggers: Triggers::new(&config.write.report_on, config.write.report_growth),
            named: HashMap::new(),
            told: Instant::now(),
            took: Duration::ZERO,
            shared: Arc::clone(shared),
            config,
        };
        state.choose();
        state.tell();
        Ok(Self(Background::begin(state)?))
    }
}

impl Sampled for State {
    fn sample(&mut self) -> bool {
        let begun = thread_time();
        let snapshot = self.sampler.snapshot();
        self.took = thread_time() - begun;
        match snapshot {
            Ok(snapshot) => self.observer.add(snapshot),
            Err(error) => {
                // It may be over with the next pass: a moment without free descriptors, say.
                tracing::warn!("the machine cannot be looked at: {error:#}");
                return true;
            }
        }
        self.choose();
        if self.told.elapsed() >= self.config.watch.interval {
            self.told = Instant::now();
            self.tell();
        }
        true
    }

    fn period(&self) -> Duration {
        period(self.config.watch.interval, self.took)
    }
}

/// Time between two passes, of which one takes so much CPU time.
fn period(interval: Duration, took: Duration) -> Duration {
    let wanted = (interval / PASSES).clamp(SHORTEST, LONGEST);
    wanted.max(took * SHARE)
}

impl State {
    /// Says whose heap is to be traced.
    fn choose(&mut self) {
        let rising = self.observer.rising();
        let mut named = HashMap::with_capacity(rising.len());
        let seen: Vec<Seen> = rising
            .iter()
            .map(|one| {
                let known = self.named.get(&one.key).copied();
                let is_named = known.unwrap_or_else(|| self.is_named(one.key.pid, &one.command));
                named.insert(one.key, is_named);
                Seen {
                    pid: one.key.pid,
                    start: one.key.start,
                    is_named,
                    certain_per_min: one.growth.certain,
                }
            })
            .collect();
        self.named = named;
        let now = self.shared.elapsed();
        self.take_asked(now);
        let most = self.shared.room.load(Ordering::Relaxed);
        let chosen = self.chooser.choose(now, &seen, most);
        self.shared.known().own.wanted = chosen.len() as u64;
        self.shared.ask(Ask::Want(chosen));
    }

    fn is_named(&self, pid: u32, comm: &str) -> bool {
        let names = &self.config.watch.names;
        if names.is_empty() {
            return false;
        }
        let exe = info::read(pid).ok().and_then(|info| info.exe);
        let mut names = names.iter();
        names.any(|name| has_name(comm, exe.as_deref(), OsStr::new(name)))
    }

    /// Those that somebody wants to see by a request. One that was not seen twice yet is asked for again.
    fn take_asked(&mut self, now: Duration) {
        let mut asked = std::mem::take(&mut self.shared.known().asked);
        asked.retain(|(pid, until)| {
            let left = until.saturating_duration_since(Instant::now());
            !left.is_zero() && !self.chooser.ask(*pid, now + left)
        });
        asked.truncate(MOST_ASKED);
        self.shared.known().asked.extend(asked);
    }

    /// A profile of the machine, for the metrics.
    fn tell(&mut self) {
        let view = View {
            order: Order::Growth,
            of: Of::Total,
            top: Some(self.config.serve.rows),
        };
        let mut profile = self
            .observer
            .profile(view, meta(), &mut Cheap(&mut self.sampler));
        profile.notes = self.sampler.notes();
        self.observer.settle();
        self.sampler.refresh();
        self.report(&profile);
        self.shared.set_machine(profile);
    }

    fn report(&mut self, profile: &Profile) {
        let now = self.shared.elapsed();
        let moments = self.triggers.of_machine(profile);
        for moment in moments {
            if self.triggers.takes(now, &moment) {
                self.shared.ask(Ask::Report(moment));
            }
        }
    }
}

/// Details without those that take long to read: PSS walks all of a process's page tables.
struct Cheap<'a>(&'a mut Sampler);

impl Details for Cheap<'_> {
    fn pss(&mut self, _: u32, _: u64) -> Option<u64> {
        None
    }

    fn fds(&mut self, _: u32) -> Option<u64> {
        None
    }

    fn place(&mut self, pid: u32) -> Option<Place> {
        self.0.place(pid)
    }

    fn user(&mut self, uid: u32) -> String {
        self.0.user(uid)
    }

    fn age(&mut self, start: u64) -> Option<Duration> {
        self.0.age(start)
    }

    fn bounds(&mut self, cgroup: &str) -> Bounds {
        self.0.bounds(cgroup)
    }

    fn pressure(&mut self, cgroup: &str) -> Option<Pressure> {
        self.0.pressure(cgroup)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn passes_leave_the_machine_alone() {
        let ms = Duration::from_millis;
        assert_eq!(period(ms(15_000), ms(1)), ms(5_000));
        assert_eq!(period(ms(15_000), ms(50)), ms(10_000));
        assert_eq!(period(ms(300), ms(0)), ms(200));
        assert_eq!(period(ms(3_600_000), ms(0)), ms(10_000));
    }
}
