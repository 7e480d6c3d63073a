//! The one loop of every trace: it reports when a report is due, and lets the trace go on in between.

use std::io;
use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::Result;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at};

use super::console::clear_echo;
use super::interrupt::Interrupt;
use crate::profile::Profile;

/// When to report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Schedule {
    /// Time between reports; `None`: only at the end.
    pub interval: Option<Duration>,
    /// Number of reports; `None`: until the user ends the trace, or its target ends.
    pub count: Option<NonZeroU64>,
}

/// Whether a trace goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// There is more to trace, and somebody to read it.
    On,
    /// Its target has ended.
    Ended,
    /// Nobody reads the reports any more.
    Unread,
}

impl Flow {
    /// Whether standard output is still read, by what became of writing to it: a closed pipe is no error.
    ///
    /// # Errors
    /// Those of standard output.
    pub fn of_output(written: io::Result<()>) -> Result<Self> {
        match written {
            Ok(()) => Ok(Self::On),
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Self::Unread),
            Err(error) => Err(anyhow::anyhow!("cannot write to standard output: {error}")),
        }
    }
}

/// A trace as the loop drives it, on one thread.
#[expect(
    async_fn_in_trait,
    reason = "a trace and its loop are on one thread: no future is sent to another"
)]
pub trait Live {
    /// How often [`Self::tick`] is due.
    fn period(&self) -> Duration;

    /// Waits until something has happened, and takes it in. Nothing is lost if the wait is given up.
    async fn next(&mut self) -> Result<Flow>;

    /// What is to be done all the time.
    fn tick(&mut self);

    /// The user wants the end: waits for what belongs to the trace all the same.
    async fn settle(&mut self) {}

    /// Does what the next profile needs and takes long, while the trace goes on; whether there is more to trace then.
    ///
    /// # Errors
    /// What ends the trace.
    async fn prepare(&mut self, _last: bool) -> Result<Flow> {
        Ok(Flow::On)
    }

    /// What is known now. The figures of the last profile are those of the moment of this call.
    ///
    /// # Errors
    /// What kept the figures from being read.
    fn snapshot(&mut self, last: bool) -> Result<Profile>;

    /// Removes what the trace has placed anywhere.
    fn leave(&mut self);
}

/// Follows a trace to its end and hands each profile to `report`.
///
/// # Errors
/// Those of the trace and of `report`; the trace has left by then.
pub async fn run(
    live: &mut impl Live,
    schedule: &Schedule,
    mut interrupt: Interrupt,
    mut report: impl FnMut(Profile) -> Result<Flow>,
) -> Result<()> {
    let followed = follow(live, schedule, &mut interrupt, &mut report).await;
    let ended = match followed {
        Ok(Flow::Unread) => Ok(()),
        Ok(_) => match live.prepare(true).await {
            Ok(_) => live.snapshot(true).and_then(|last| report(last).map(drop)),
            Err(error) => Err(error),
        },
        Err(error) => Err(error),
    };
    live.leave();
    ended
}

/// Follows a trace until its last report is due, or nobody reads them any more.
///
/// # Errors
/// Those of the trace and of `report`.
pub async fn follow(
    live: &mut impl Live,
    schedule: &Schedule,
    interrupt: &mut Interrupt,
    report: &mut impl FnMut(Profile) -> Result<Flow>,
) -> Result<Flow> {
    let mut reports = schedule.interval.map(ticks);
    let mut tick = ticks(live.period());
    let mut made = 0;
    loop {
        tokio::select! {
            biased;
            () = interrupt.wait() => break,
            // Before what happens: a program that replaces itself again and again may make more of it than is taken in.
            () = due(&mut reports) => {
                made += 1;
                if schedule.count.is_some_and(|count| made >= count.get()) {
                    return Ok(Flow::Ended);
                }
                let flow = live.prepare(false).await?;
                let profile = live.snapshot(false)?;
                if report(profile)? == Flow::Unread {
                    return Ok(Flow::Unread);
                }
                if flow != Flow::On {
                    return Ok(flow);
                }
            }
            flow = live.next() => match flow? {
                Flow::On => {}
                over => return Ok(over),
            },
            _ = tick.tick() => live.tick(),
        }
    }
    clear_echo();
    live.settle().await;
    Ok(Flow::Ended)
}

async fn due(reports: &mut Option<Interval>) {
    match reports {
        Some(reports) => drop(reports.tick().await),
        None => std::future::pending().await,
    }
}

/// Ticks after each `period`, the first time in a `period` from now. One that is late delays those after it: work that
/// takes long is not done twice in a row for it.
fn ticks(period: Duration) -> Interval {
    let mut ticks = interval_at(Instant::now() + period, period);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    ticks
}

/// The runtime of a trace: one thread, with timers and descriptors.
///
/// # Errors
/// What the system said.
pub fn runtime() -> Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A trace that counts what is asked of it.
    #[derive(Default)]
    struct Counted {
        ends_after: Option<u32>,
        happened: u32,
        ticks: u32,
        left: bool,
    }

    impl Live for Counted {
        fn period(&self) -> Duration {
            Duration::from_millis(10)
        }

        async fn next(&mut self) -> Result<Flow> {
            tokio::time::sleep(Duration::from_millis(3)).await;
            self.happened += 1;
            Ok(if self.ends_after == Some(self.happened) {
                Flow::Ended
            } else {
                Flow::On
            })
        }

        fn tick(&mut self) {
            self.ticks += 1;
        }

        fn snapshot(&mut self, last: bool) -> Result<Profile> {
            let mut profile = Profile::default();
            profile.meta.last = last;
            Ok(profile)
        }

        fn leave(&mut self) {
            self.left = true;
        }
    }

    fn lasts(schedule: Schedule, mut live: Counted, flow: Flow) -> (Vec<bool>, Counted) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build();
        let mut lasts = Vec::new();
        let ended = runtime.expect("runtime").block_on(run(
            &mut live,
            &schedule,
            Interrupt::never(),
            |profile| {
                lasts.push(profile.meta.last);
                Ok(flow)
            },
        ));
        ended.expect("run");
        (lasts, live)
    }

    #[test]
    fn as_many_reports_are_made_as_were_asked_for() {
        let schedule = Schedule {
            interval: Some(Duration::from_millis(100)),
            count: NonZeroU64::new(3),
        };
        let (lasts, live) = lasts(schedule, Counted::default(), Flow::On);
        assert_eq!(lasts, [false, false, true]);
        assert!(
            live.left && live.ticks >= 25 && live.happened >= 90,
            "{} {}",
            live.ticks,
            live.happened
        );
    }

    #[test]
    fn the_end_of_the_target_is_the_last_report() {
        let schedule = Schedule {
            interval: None,
            count: None,
        };
        let (lasts, live) = lasts(
            schedule,
            Counted {
                ends_after: Some(7),
                ..Counted::default()
            },
            Flow::On,
        );
        assert_eq!((lasts, live.happened, live.left), (vec![true], 7, true));
    }

    #[test]
    fn without_a_reader_nothing_more_is_made() {
        let schedule = Schedule {
            interval: Some(Duration::from_millis(100)),
            count: None,
        };
        let (lasts, live) = lasts(schedule, Counted::default(), Flow::Unread);
        assert_eq!((lasts, live.left), (vec![false], true));
    }
}
