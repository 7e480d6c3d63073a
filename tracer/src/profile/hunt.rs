//! The section of `memlens hunt`: what each step found, what follows from it, and what to run next.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::named::named;
use super::subject::Growth;
use super::wire;

/// What only a hunt has. The other sections and the samples of its profile are the evidence that it rests on; its only
/// subject, where it has one, is the suspect.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Hunt {
    /// What was found.
    pub outcome: HuntOutcome,
    /// What was found, in sentences.
    pub conclusion: String,
    /// What each step found, in their order; steps that there was no reason for are left out.
    pub steps: Vec<HuntStep>,
    /// What to run next, the most useful command first.
    pub next: Vec<NextCommand>,
    /// The process that was looked at; null where none grows.
    pub suspect: Option<Suspect>,
    /// Why the process was not traced, in words; null where it was, or where there was none.
    pub not_traced: Option<String>,
    /// Whether the user ended it early.
    pub interrupted: bool,
    /// How long it was to take.
    #[serde(rename = "for_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub time: Duration,
    /// How long it took.
    #[serde(rename = "took_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub took: Duration,
}

named! {
    /// What a hunt found.
    #[derive(Default)]
    pub enum HuntOutcome {
        /// Nothing on the machine grows.
        NothingGrows = "nothing_grows", "nothing grows";
        /// The kernel's own memory grows.
        Kernel = "kernel", "the kernel's memory";
        /// The page cache grows: not a leak.
        PageCache = "page_cache", "page cache";
        /// Shared memory or tmpfs grows.
        Shared = "shared", "shared memory";
        /// Memory that drivers and others take directly grows.
        Drivers = "drivers", "drivers and others";
        /// The heap of the process grows by blocks that the program holds.
        Heap = "heap", "heap blocks";
        /// The process maps more and more memory, and not for its allocator.
        Mappings = "mappings", "mappings";
        /// The heap of the process's language runtime grows.
        RuntimeHeap = "runtime_heap", "the runtime's heap";
        /// The allocator keeps more and more memory that the program has freed.
        Fragmentation = "fragmentation", "free memory that the allocator keeps";
        /// Mapped files of the process: page cache, not a leak.
        MappedFiles = "mapped_files", "mapped files";
        /// The process touches more and more of what it mapped before the trace.
        OlderMappings = "older_mappings", "memory mapped before";
        /// The process grows, and it is not known by what.
        NotExplained = "not_explained", "not explained";
        /// The process that was asked for does not grow.
        DoesNotGrow = "does_not_grow", "does not grow";
        /// The process ended meanwhile.
        Ended = "ended", "ended";
        /// Too little was seen to say anything.
        #[default]
        TooEarly = "too_early", "too early to say";
    }
}

named! {
    /// A step of a hunt.
    pub enum StepKind {
        /// Is the machine's memory shrinking, and who takes it.
        Machine = "machine";
        /// Which process certainly grows most.
        Process = "process";
        /// Which part of the process grows.
        Ledger = "ledger";
        /// Which stacks grow.
        Trace = "trace";
    }
}

/// What a step found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HuntStep {
    /// Which one.
    pub step: StepKind,
    /// What it found.
    pub text: String,
    /// How long it took; steps overlap.
    #[serde(rename = "took_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub took: Duration,
    /// How the figure moved that it looks at: available memory, resident and swapped memory of the process, live bytes
    /// of its heap; null where it has none.
    pub growth: Option<Growth>,
    /// The least growth of that figure, in bytes per minute, that it would have seen; null where that is not known.
    pub least_bytes_per_min: Option<u64>,
}

/// The process that a hunt looked at.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Suspect {
    /// Its PID.
    pub pid: u32,
    /// Its name.
    pub command: String,
    /// Whether the user asked for it.
    pub asked_for: bool,
    /// Whether it ended, or replaced its program, before the hunt was over.
    pub ended: bool,
    /// How its resident and swapped memory moved, over the whole hunt or, where that is no line, over the trace; null
    /// where it was seen too shortly.
    pub growth: Option<Growth>,
    /// The least growth in bytes per minute that would have been seen meanwhile; null where that is not known.
    pub least_bytes_per_min: Option<u64>,
}

/// A command to run next.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct NextCommand {
    /// The command, as a shell takes it; words in capitals are to be filled in.
    pub command: String,
    /// What it is good for.
    pub what: String,
}

impl Hunt {
    /// A step, if there was reason for it.
    pub fn step(&self, step: StepKind) -> Option<&HuntStep> {
        self.steps.iter().find(|own| own.step == step)
    }
}

impl HuntStep {
    /// A step that has no figures.
    pub fn new(step: StepKind, text: impl Into<String>, took: Duration) -> Self {
        Self {
            step,
            text: text.into(),
            took,
            growth: None,
            least_bytes_per_min: None,
        }
    }
}

impl NextCommand {
    /// A command and what it is good for.
    pub fn new(command: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            command: command.into(),
            what: what.into(),
        }
    }
}
