//! The profile: what memlens knows at one moment, as one plain value. Sources write it, analyses add to it, renderers
//! read it.
//!
//! Its JSON form is `memlens/1` (`docs/json.md`). Frames, stacks and subjects are tables; samples refer to them by
//! index.

mod bend;
mod blocks;
mod build;
mod course;
pub mod diff;
mod finding;
pub mod form;
pub mod history;
pub mod hunt;
mod identity;
mod joining;
pub mod ledger;
mod loss;
pub mod machine;
mod measure;
mod named;
mod number;
mod place;
pub mod query;
mod reach;
mod sample;
mod section;
pub mod series;
mod stack;
mod subject;
#[cfg(test)]
mod tests;
pub mod trend;
pub mod turnover;
pub(crate) mod wire;

use std::time::Duration;

use jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use blocks::{BlockGroup, HeapBlocks};
pub use build::Builder;
pub use course::{Course, Form};
pub use diff::Difference;
pub use finding::{Finding, FindingKind};
pub use history::History;
pub use identity::{Identities, Numbers};
pub use loss::{LossKey, Losses, Severity};
pub use measure::{Kind, Measure, Source, Unit};
pub use number::{Number, Values, difference};
pub(crate) use place::is_id;
pub use place::{Container, Place, Runtime};
pub use reach::{HeldFrom, Holder, HolderLink, MOST_LINKS, Reachability, Registers, RootKind};
pub use sample::{
    Ages, Block, Detail, KernelKind, KernelObject, Mapper, Omitted, Region, RegionKind, Sample,
    Touched,
};
pub use section::{
    Admission, Cut, Ended, EndedName, EndedProcess, Filter, Group, Grouping, Guard, GuardAction,
    GuardStep, HeapSection, HostWide, KernelFaults, KernelSection, LateFile, NetGrowth, OldSizes,
    PageFaults, Refused, Sampling, Sections, SlabCache, SlabGrowth, TableUse,
};
pub use stack::{CutReason, Frame, FrameKind, Missing, Module, Stack};
pub use subject::{CommandExit, Growth, Limit, LimitOf, State, Subject};

/// Name and version of the JSON form. The number changes when a reader could break.
pub const SCHEMA: &str = "memlens/1";

/// What memlens knows at one moment. Sizes are in bytes, durations in milliseconds on the wire.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Profile {
    /// `"memlens/1"`.
    pub schema: Schema,
    /// When, where and for how long.
    pub meta: Meta,
    /// Whether every total is exact but for what `sections` says of samples: nothing was lost that affects one.
    pub complete: bool,
    /// The columns of `samples[].values`, in order.
    #[serde(with = "measure::columns")]
    #[schemars(with = "Vec<measure::Column>")]
    pub measures: Vec<Measure>,
    /// Mapped files.
    pub modules: Vec<Module>,
    /// Frames, each distinct one once.
    pub frames: Vec<Frame>,
    /// Call stacks, each distinct one once.
    pub stacks: Vec<Stack>,
    /// Whose memory: processes, the kernel, or groups of processes.
    pub subjects: Vec<Subject>,
    /// What each subject holds by each stack, those of one source in the order of its report.
    pub samples: Vec<Sample>,
    /// Sums of what is not among the samples, where a report shows only the first ones.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub omitted: Vec<Omitted>,
    /// What was lost, by counter. Every counter of the sources at work is there, zeros included.
    pub losses: Losses,
    /// What the figures do not cover, in sentences.
    pub notes: Vec<String>,
    /// What follows from the figures.
    pub findings: Vec<Finding>,
    /// What is neither a sample nor a total, by kind.
    pub sections: Sections,
}

/// The constant [`SCHEMA`]: a profile of another version is refused.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Schema;

/// When a profile was taken, where, and for how long it was traced.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Meta {
    /// When the figures were read: RFC 3339, UTC, milliseconds.
    #[serde(with = "wire::time")]
    #[schemars(with = "String")]
    pub time: Timestamp,
    /// How long the trace had run by then.
    #[serde(rename = "elapsed_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub elapsed: Duration,
    /// How long it had run at the previous report, which changes are relative to; null in the first.
    #[serde(rename = "previous_ms", with = "wire::optional_millis", default)]
    #[schemars(with = "Option<u64>")]
    pub previous: Option<Duration>,
    /// Whether it is the last profile of the trace.
    pub last: bool,
    /// Name of the host.
    pub host: String,
    /// Release of its kernel.
    pub kernel: String,
    /// Version of memlens.
    pub version: String,
    /// How the traced command ended; null while it runs, or if memlens did not start it.
    pub command_exit: Option<CommandExit>,
}

impl Default for Profile {
    fn default() -> Self {
        Self {
            schema: Schema,
            meta: Meta::default(),
            complete: true,
            measures: Vec::new(),
            modules: Vec::new(),
            frames: Vec::new(),
            stacks: Vec::new(),
            subjects: Vec::new(),
            samples: Vec::new(),
            omitted: Vec::new(),
            losses: Losses::default(),
            notes: Vec::new(),
            findings: Vec::new(),
            sections: Sections::default(),
        }
    }
}

impl Profile {
    /// Reads a profile from its JSON form.
    ///
    /// # Errors
    /// What is wrong with the text, in one line.
    pub fn parse(text: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(text).map_err(|error| error.to_string())
    }
}
