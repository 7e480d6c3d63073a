//! What standard error says while a hunt goes on: a live line on a terminal, and a line for each step that is over.

use std::time::Instant;

use crate::engine::console::{Step, clear_echo};
use crate::profile::hunt::{HuntStep, StepKind};
use crate::words::clean::clean;
use crate::words::units::duration;

/// What standard error says.
pub struct Progress {
    end: Instant,
    live: Option<Step>,
}

impl Progress {
    /// Of a hunt that is to be over by `end`.
    pub fn new(end: Instant) -> Self {
        Self { end, live: None }
    }

    /// Begins the live line of something that takes a while.
    pub fn begin(&mut self, what: &str) {
        self.live = None;
        self.live = Some(Step::new(&self.words(what)));
    }

    /// How far it is.
    pub fn at(&self, what: &str) {
        if let Some(live) = &self.live {
            live.at(self.words(what));
        }
    }

    /// Ends the live line.
    pub fn end(&mut self, interrupted: bool) {
        self.live = None;
        if interrupted {
            clear_echo();
        }
    }

    fn words(&self, what: &str) -> String {
        let left = self.end.saturating_duration_since(Instant::now());
        format!("{what}; {}s left", left.as_secs())
    }

    /// What a step found; there must be no live line.
    pub fn found(&self, step: &HuntStep) {
        eprintln!(
            "memlens: step {} of {}, {} ({}): {}",
            number(step.step),
            StepKind::ALL.len(),
            step.step.words(),
            duration(step.took),
            clean(&step.text)
        );
    }
}

/// The number of a step, from 1.
pub const fn number(step: StepKind) -> usize {
    step as usize + 1
}
