//! What follows from the evidence of a hunt: what grows, why, and what to run next. Each sentence rests on figures of
//! the profile. Pure.

mod cause;
pub mod choose;
mod machine;
mod next;
mod process;
mod stacks;
pub mod steps;

use crate::profile::hunt::{HuntOutcome, NextCommand};
use crate::profile::{Growth, Profile};
use crate::words::units::bytes;

pub use stacks::judge_stacks;

/// What was found.
#[derive(Clone, Debug, PartialEq)]
struct Found {
    outcome: HuntOutcome,
    /// In sentences.
    text: String,
    next: Vec<NextCommand>,
}

/// Draws the conclusion of a hunt, whose section has everything else.
pub fn conclude(profile: &mut Profile) {
    let Some(hunt) = &profile.sections.hunt else {
        return;
    };
    let found = match &hunt.suspect {
        Some(suspect) => process::found(profile, hunt, suspect),
        None => machine::found(profile, hunt),
    };
    if let Some(hunt) = &mut profile.sections.hunt {
        hunt.outcome = found.outcome;
        hunt.conclusion = found.text;
        hunt.next = found.next;
    }
}

/// Bytes per minute without their sign: "3.10 MiB/min".
fn rate(per_min: f64) -> String {
    // A cast of a float ends at the largest number.
    format!("{}/min", bytes(per_min.abs().round() as u64))
}

/// A growth with its interval: "6.00 MiB/min (5.90 MiB to 6.10 MiB)".
fn rate_of(growth: &Growth) -> String {
    let signed = |per_min: f64| {
        let sign = if per_min < 0.0 { "-" } else { "" };
        format!("{sign}{}", bytes(per_min.abs().round() as u64))
    };
    match (growth.low, growth.high) {
        (Some(low), Some(high)) => format!(
            "{} ({} to {})",
            rate(growth.per_min),
            signed(low),
            signed(high)
        ),
        _ => rate(growth.per_min),
    }
}
