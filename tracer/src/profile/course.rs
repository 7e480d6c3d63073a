//! How memory goes on: by its course over the reports of a trace, not by its amount.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::wire;

/// The form of a course.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Form {
    /// It grows on: the lower bound of its slope stays above zero.
    Growing,
    /// It grows less and less: a cache that fills, a warm-up.
    Saturating,
    /// It neither grows nor shrinks by an amount that matters.
    Steady,
    /// It shrinks.
    Shrinking,
    /// New blocks take the place of blocks that are older than the trace: together they do not grow.
    Turnover,
    /// The reports do not tell yet.
    #[default]
    TooEarly,
}

impl Form {
    /// The form in a word or two, as reports show it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Growing => "growing",
            Self::Saturating => "saturating",
            Self::Steady => "steady",
            Self::Shrinking => "shrinking",
            Self::Turnover => "turnover",
            Self::TooEarly => "too early",
        }
    }
}

/// What can be said of a course.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Course {
    /// Its form.
    pub form: Form,
    /// Reports that it rests on.
    pub reports: u32,
    /// Where it is too early to say: for how long the trace is to go on.
    #[serde(rename = "wait_ms", with = "wire::optional_millis", default)]
    #[schemars(with = "Option<u64>")]
    pub wait: Option<Duration>,
}
