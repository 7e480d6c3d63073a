//! The clock of a trace, which is that of the kernel side's times.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// `CLOCK_MONOTONIC`, the clock of the kernel side's times, in nanoseconds.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).map(Duration::from);
    now.map_or(0, |now| now.as_nanos() as u64)
}

/// When a trace began, and the moment that its profile under way is of. Ages are counted back from that moment, so that
/// no block of the trace is older than the trace.
#[derive(Clone, Copy, Debug)]
pub struct TraceClock {
    started_ns: u64,
    moment_ns: u64,
}

impl TraceClock {
    /// A trace that begins now. To be called before anything is counted.
    pub fn start() -> Self {
        let now = monotonic_ns();
        Self {
            started_ns: now,
            moment_ns: now,
        }
    }

    /// How long the trace has run.
    pub fn elapsed(&self) -> Duration {
        self.until(monotonic_ns())
    }

    /// A profile of this moment begins: how long the trace had run.
    pub fn take_moment(&mut self) -> Duration {
        self.moment_ns = monotonic_ns();
        self.until(self.moment_ns)
    }

    /// The moment that the profile under way is of, in nanoseconds of [`monotonic_ns`].
    pub fn moment_ns(&self) -> u64 {
        self.moment_ns
    }

    fn until(&self, now: u64) -> Duration {
        Duration::from_nanos(now.saturating_sub(self.started_ns))
    }
}
