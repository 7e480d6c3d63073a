//! Looks at the machine again and again in a thread of its own, from the beginning of a hunt to its end.

use std::time::Duration;

use anyhow::{Result, bail};

use crate::analysis::hunt::choose::{self, Candidate, matters};
use crate::engine::meta;
use crate::process::info;
use crate::profile::machine::{By, Of, Order};
use crate::profile::series::{Series, of_series};
use crate::profile::{Growth, Meta, Profile, Subject};
use crate::sources::machine::View;
use crate::sources::machine::background::{Background, Sampled};
use crate::sources::machine::observe::{Observer, Rising};
use crate::sources::machine::root::Root;
use crate::sources::machine::sampler::Sampler;
use crate::sources::machine::scan::{Extras, ProcessKey};

/// Samples that a hunt is to have, at most as many as a series keeps.
const SAMPLES: u32 = 120;
/// Samples that every series keeps at least.
const KEPT: u64 = 59;
/// Shortest and longest time between two samples.
const SHORTEST: Duration = Duration::from_millis(100);
const LONGEST: Duration = Duration::from_secs(5);
/// Passes take at most one part in so many of the time.
const SHARE: u32 = 20;
/// No row: the machine alone.
const NO_ROWS: View = View {
    order: Order::Growth,
    of: Of::Total,
    top: Some(0),
};

/// A watch over the machine. It ends when it is dropped.
pub struct Watch(Background<State>);

struct State {
    sampler: Sampler,
    observer: Observer,
    /// How long the hunt takes.
    time: Duration,
    /// Why it has ended early.
    failure: Option<String>,
    followed: Option<Followed>,
}

/// A process that is followed to its end.
struct Followed {
    key: ProcessKey,
    /// How it has moved since the beginning of the watch.
    growth: Option<Growth>,
    /// Its resident and swapped memory since it is traced.
    traced: Option<Series<u64>>,
}

/// What is known of all processes.
pub struct Seen {
    /// Passes so far.
    pub passes: u64,
    /// All processes that were seen twice, in the order in which a hunt goes after them.
    pub candidates: Vec<Candidate>,
}

impl Watch {
    /// Begins a watch for a hunt of so long.
    ///
    /// # Errors
    /// What keeps the machine from being looked at.
    pub fn begin(time: Duration) -> Result<Self> {
        let mut sampler = Sampler::new(Root::machine(), Extras::default());
        let first = sampler.snapshot()?;
        let background = Background::begin(State {
            observer: Observer::new(By::Process, None, first),
            sampler,
            time,
            failure: None,
            followed: None,
        })?;
        Ok(Self(background))
    }

    /// How all processes move.
    ///
    /// # Errors
    /// Why the watch has ended early.
    pub fn seen(&self) -> Result<Seen> {
        let state = self.0.state();
        if let Some(failure) = &state.failure {
            bail!("{failure}");
        }
        Ok(Seen {
            passes: state.observer.passes(),
            candidates: candidates(state.observer.rising(), state.observer.passes()),
        })
    }

    /// The machine as it is now, and how it has moved.
    pub fn machine(&self) -> Profile {
        let State {
            sampler, observer, ..
        } = &mut *self.0.state();
        let meta = Meta {
            last: true,
            ..meta()
        };
        let mut profile = observer.profile(NO_ROWS, meta, sampler);
        profile.notes = sampler.notes();
        profile
    }

    /// Follows the process that has a PID now: it, and its row; `None` where there is none.
    pub fn follow(&self, pid: u32) -> Option<(ProcessKey, Subject)> {
        let state = &mut *self.0.state();
        let key = state.observer.key_of(pid)?;
        let row = state.observer.row_of(key, &mut state.sampler)?;
        state.followed = Some(Followed {
            key,
            growth: state.observer.growth_of(key),
            traced: None,
        });
        Some((key, row))
    }

    /// The followed process is traced from now on. What that takes at the beginning may hold it up for a moment.
    pub fn restart(&self) {
        let state = &mut *self.0.state();
        if let Some(followed) = &mut state.followed {
            let now = state.observer.total_of(followed.key);
            followed.traced = now.map(|(at, bytes)| Series::new(at, bytes));
        }
    }

    /// How the followed process has moved until now, or until its end: since the beginning of the watch or, where that
    /// is no line, since it is traced.
    pub fn followed_growth(&self) -> Option<Growth> {
        let state = self.0.state();
        let followed = state.followed.as_ref()?;
        let traced = followed.traced.as_ref();
        let traced = traced.and_then(|series| of_series(series, false, |bytes| Some(*bytes)));
        let is_line = |growth: &Growth| growth.error().is_some();
        match followed.growth {
            Some(whole) if matters(&whole) => Some(whole),
            whole => traced
                .filter(|traced| {
                    matters(traced)
                        || (is_line(traced) && !whole.is_some_and(|whole| is_line(&whole)))
                })
                .or(whole),
        }
    }

    /// Whether a process was not there any more at the last pass.
    pub fn is_gone(&self, key: ProcessKey) -> bool {
        self.0.state().observer.growth_of(key).is_none()
    }
}

impl Sampled for State {
    fn period(&self) -> Duration {
        period(self.time, self.sampler.took())
    }

    fn sample(&mut self) -> bool {
        match self.sampler.snapshot() {
            Ok(snapshot) => self.observer.add(snapshot),
            Err(error) => {
                self.failure = Some(crate::words::error::one_line(&error));
                return false;
            }
        }
        if let Some(followed) = &mut self.followed {
            let growth = self.observer.growth_of(followed.key);
            followed.growth = growth.or(followed.growth);
            if let (Some(traced), Some((at, bytes))) =
                (&mut followed.traced, self.observer.total_of(followed.key))
            {
                traced.push(at, bytes, f64::INFINITY);
            }
        }
        true
    }
}

fn candidates(rising: Vec<Rising>, passes: u64) -> Vec<Candidate> {
    let (now, second) = (info::now_in_ticks(), procfs::ticks_per_second().max(1));
    let all = rising.into_iter().map(|one| Candidate {
        pid: one.key.pid,
        command: one.command,
        growth: one.growth,
        age: Duration::from_secs(now.saturating_sub(one.key.start) / second),
        // Series of the same age are thinned alike.
        is_since_the_start: one.growth.samples as u64 >= passes.min(KEPT),
    });
    let mut candidates: Vec<Candidate> = all.collect();
    choose::rank(&mut candidates);
    candidates
}

/// Time between two samples of a hunt of so long, of which a pass takes so much.
fn period(time: Duration, pass: Duration) -> Duration {
    let wanted = (time / SAMPLES).clamp(SHORTEST, LONGEST);
    wanted.max(pass * SHARE)
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn passes_take_a_small_part_of_the_time() {
        let ms = Duration::from_millis;
        assert_eq!(period(ms(60_000), ms(5)), ms(500));
        assert_eq!(period(ms(60_000), ms(50)), ms(1_000));
        assert_eq!(period(ms(5_000), ms(1)), ms(100));
        assert_eq!(period(ms(3_600_000), ms(5)), ms(5_000));
    }

    #[test]
    fn a_watch_sees_this_very_machine() {
        let watch = Watch::begin(Duration::from_secs(1)).expect("a watch");
        let parent = std::os::unix::process::parent_id();
        let (key, row) = watch.follow(parent).expect("the parent is there");
        assert_eq!((key.pid, row.pid), (parent, Some(parent)));
        let begun = Instant::now();
        while watch.seen().expect("goes on").passes < 4 {
            assert!(begun.elapsed() < Duration::from_secs(60), "no pass");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert!(!watch.is_gone(key) && watch.followed_growth().is_some());
        assert!(watch.machine().sections.machine.is_some());
    }
}
