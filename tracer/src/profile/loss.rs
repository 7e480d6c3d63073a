//! What was lost, by counter: data only; `words::loss` has the sentences.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tracer_common::kernel_memory::KernelLoss;
use tracer_common::loss::Loss;

/// A counter of losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum LossKey {
    /// Of a trace of processes.
    Trace(Loss),
    /// Of a trace of the kernel's memory; on the wire with `kernel.` before its name.
    Kernel(KernelLoss),
}

/// What a loss means for the figures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Severity {
    /// Totals are not exact.
    Totals,
    /// Totals are exact, but details (stacks, event lines) are missing.
    Detail,
    /// Nothing was lost: it only tells what the trace does not cover.
    Coverage,
}

/// The counters of the sources at work, zeros included.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Losses(BTreeMap<LossKey, u64>);

impl LossKey {
    /// All counters, those of processes first.
    pub fn all() -> impl Iterator<Item = Self> {
        let trace = Loss::ALL.into_iter().map(Self::Trace);
        trace.chain(KernelLoss::ALL.into_iter().map(Self::Kernel))
    }

    /// Its key on the wire.
    pub fn key(self) -> String {
        match self {
            Self::Trace(loss) => loss.name().to_owned(),
            Self::Kernel(loss) => format!("kernel.{}", loss.name()),
        }
    }

    /// What a count here means.
    pub const fn severity(self) -> Severity {
        match self {
            Self::Trace(loss) if loss.affects_totals() => Severity::Totals,
            Self::Kernel(loss) if loss.affects_totals() => Severity::Totals,
            Self::Trace(Loss::UnknownFrees | Loss::UntracedChildren)
            | Self::Kernel(KernelLoss::UnknownFrees) => Severity::Coverage,
            _ => Severity::Detail,
        }
    }
}

impl Losses {
    /// A counter's value; 0 where its source is not at work.
    pub fn get(&self, key: LossKey) -> u64 {
        self.0.get(&key).copied().unwrap_or(0)
    }

    /// A counter of a trace of processes.
    pub fn of(&self, loss: Loss) -> u64 {
        self.get(LossKey::Trace(loss))
    }

    /// Adds to a counter.
    pub fn add(&mut self, key: LossKey, count: u64) {
        let sum = self.0.entry(key).or_default();
        *sum = sum.saturating_add(count);
    }

    /// Adds the counters of other profiles.
    pub fn merge(&mut self, other: &Self) {
        other.iter().for_each(|(key, count)| self.add(key, count));
    }

    /// All counters, in order.
    pub fn iter(&self) -> impl Iterator<Item = (LossKey, u64)> {
        self.0.iter().map(|(key, count)| (*key, *count))
    }

    /// Whether nothing was lost that affects totals.
    pub fn are_harmless(&self) -> bool {
        !self
            .iter()
            .any(|(key, count)| count > 0 && key.severity() == Severity::Totals)
    }
}

impl FromIterator<(LossKey, u64)> for Losses {
    fn from_iter<I: IntoIterator<Item = (LossKey, u64)>>(counters: I) -> Self {
        Self(counters.into_iter().collect())
    }
}

impl Serialize for Losses {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter().map(|(key, count)| (key.key(), count)))
    }
}

impl<'de> Deserialize<'de> for Losses {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let counters = BTreeMap::<String, u64>::deserialize(from)?;
        // Counters of a later version are passed over.
        Ok(LossKey::all()
            .filter_map(|key| Some((key, *counters.get(&key.key())?)))
            .collect())
    }
}

impl JsonSchema for Losses {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Losses".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let keys: serde_json::Map<String, serde_json::Value> = LossKey::all()
            .map(|key| {
                (
                    key.key(),
                    serde_json::json!({"type": "integer", "minimum": 0}),
                )
            })
            .collect();
        schemars::json_schema!({
            "description": "Counters of what was lost.",
            "type": "object",
            "properties": keys,
            "additionalProperties": false,
        })
    }
}
