//! Findings: what an analysis concludes, in a sentence, with the figures that it rests on.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::number::Values;
use super::reach::Holder;

/// What an analysis concludes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Finding {
    /// What it is about.
    pub kind: FindingKind,
    /// Index of the subject.
    #[serde(default)]
    pub subject: Option<u32>,
    /// Index of the stack.
    #[serde(default)]
    pub stack: Option<u32>,
    /// The sentence.
    pub text: String,
    /// The figures that it rests on.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub figures: Values,
    /// What holds the memory that it is about, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub holder: Option<Holder>,
    /// Commands that show more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub commands: Vec<String>,
}

/// What a finding is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FindingKind {
    /// Whether the machine's memory is shrinking, and where to.
    Outlook,
    /// What to look at next.
    Next,
    /// What the ledger of a process shows.
    Ledger,
    /// What has changed since an earlier ledger.
    Change,
    /// What the growth of a process is made of.
    Growth,
    /// Memory that grows and that nothing points to.
    Leak,
    /// Memory that grows and that one holder holds, which grows too: a collection that never shrinks.
    Collection,
    /// Memory that grows with many holders.
    Load,
    /// Memory that grows less and less: a cache that fills, a warm-up.
    Cache,
    /// New blocks that take the place of blocks older than the trace.
    Turnover,
    /// Memory that nothing points to and that does not grow.
    OneTimeLoss,
    /// Old memory that only a stack or a register holds.
    StackOnly,
    /// Growth of a process that no stack explains.
    Unexplained,
    /// Memory that grows; what holds it is not known.
    Growing,
    /// Memory that was called lost and, as some of it was released since, is not.
    TakenBack,
    /// Whether anything grows cannot be told yet.
    TooEarly,
}

impl Finding {
    /// A sentence about nothing in particular.
    pub fn new(kind: FindingKind, text: impl Into<String>) -> Self {
        Self {
            kind,
            subject: None,
            stack: None,
            text: text.into(),
            figures: Values::default(),
            holder: None,
            commands: Vec::new(),
        }
    }
}
