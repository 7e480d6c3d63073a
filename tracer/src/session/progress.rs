//! A spinner on standard error while something slow happens; silent where that is not a terminal.

use std::time::Duration;

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
