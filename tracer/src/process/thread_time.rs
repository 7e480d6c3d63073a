//! CPU time of the calling thread: what a step costs, however long it had to wait for a CPU.

use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// CPU time that the calling thread has used since it began (clock_gettime(2), `CLOCK_THREAD_CPUTIME_ID`). The clock
/// exists since Linux 2.6.12; zero where it cannot be read.
pub fn thread_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID).map_or(Duration::ZERO, Duration::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waiting_costs_nothing_and_work_does() {
        let begun = thread_time();
        std::thread::sleep(Duration::from_millis(100));
        assert!(thread_time() - begun < Duration::from_millis(50));
        let begun = thread_time();
        while thread_time() - begun < Duration::from_millis(5) {
            std::hint::black_box((0..1_000).sum::<u64>());
        }
    }
}
