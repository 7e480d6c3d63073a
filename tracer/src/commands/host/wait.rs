//! Waiting for the next sample, and for Ctrl-C.

use std::time::Instant;

use anyhow::{Context, Result};
use tokio::runtime::Runtime;

use crate::engine::Interrupt;

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The time has come.
    Due,
    /// The user wants the end.
    Interrupted,
}

/// Waits by the clock and for signals.
pub struct Clock {
    runtime: Runtime,
    interrupt: Interrupt,
}

impl Clock {
    /// A clock that signals may interrupt.
    pub fn new(interrupt: Interrupt) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        Ok(Self {
            runtime: runtime.context("cannot set up timers")?,
            interrupt,
        })
    }

    /// Waits until `due`, or until the user wants the end.
    pub fn wait(&mut self, due: Instant) -> Wake {
        let interrupt = &mut self.interrupt;
        let waited = self
            .runtime
            .block_on(async { tokio::time::timeout_at(due.into(), interrupt.wait()).await });
        match waited {
            Ok(()) => Wake::Interrupted,
            Err(_) => Wake::Due,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_wait_ends_when_it_is_due() {
        let start = Instant::now();
        let mut clock = Clock::new(Interrupt::never()).expect("timers");
        assert_eq!(clock.wait(start + Duration::from_millis(30)), Wake::Due);
        assert!(start.elapsed() >= Duration::from_millis(30));
    }
}
