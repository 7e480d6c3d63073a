//! What standard error says of slow steps: a spinner on a terminal while they last, and with `-v` how long they took.

use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A slow step; the line goes away with it.
pub struct Step(ProgressBar);

impl Step {
    /// Begins a step. The line appears only if the step takes a while.
    pub fn new(what: &'static str) -> Self {
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr_with_hz(10));
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar.set_message(what);
        bar.enable_steady_tick(Duration::from_millis(150));
        Self(bar)
    }

    /// Says how far it is.
    pub fn at(&self, what: String) {
        self.0.set_message(what);
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}

/// With `-v`, how long the steps of a trace took: one line each.
#[derive(Clone, Copy, Debug)]
pub struct Timings {
    wanted: bool,
}

impl Timings {
    /// Says something from one `-v` on.
    pub fn new(verbose: u8) -> Self {
        Self {
            wanted: verbose > 0,
        }
    }

    /// Says how long `what` took that began at `since`.
    pub fn say(self, what: &str, since: Instant) {
        if self.wanted {
            eprintln!("memlens: {what} took {:.1} ms", milliseconds(since));
        }
    }

    /// The same for a report, with the memory that memlens itself has by then.
    pub fn report(self, since: Instant) {
        if self.wanted {
            let took = milliseconds(since);
            let resident = resident_kib().map_or_else(
                || "unknown".to_owned(),
                |kib| format!("{:.1} MiB", kib as f64 / 1024.0),
            );
            eprintln!("memlens: report took {took:.1} ms, resident {resident}");
        }
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Resident memory of this process in KiB.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_known() {
        assert!(resident_kib().is_some_and(|kib| kib > 100));
    }
}
