//! Whose memory it is: a process (one program image: an `exec` starts a new subject), the kernel, or a group of
//! processes.

use std::collections::BTreeMap;
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::course::Course;
use super::measure::Measure;
use super::number::Values;
use super::place::Place;
use super::sample::RegionKind;
use super::wire;

/// Whose memory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Subject {
    /// PID, as the initial PID namespace has it; null for the kernel and for a group.
    pub pid: Option<u32>,
    /// Number of the program image within the trace: two programs of one process differ in it.
    #[serde(default)]
    pub image: u32,
    /// Name of the process, or of the group.
    pub command: String,
    /// Number of processes: 1, or those of a group.
    pub processes: u64,
    /// What became of it.
    pub state: State,
    /// Where it belongs.
    #[serde(flatten)]
    pub place: Place,
    /// Numeric id of the user that it runs as, as the host has it.
    pub uid: Option<u32>,
    /// Name of that user; the number where it has none.
    pub user: Option<String>,
    /// How long it has been running, where that is known.
    #[serde(rename = "age_ms", with = "wire::optional_millis", default)]
    #[schemars(with = "Option<u64>")]
    pub age: Option<Duration>,
    /// Elapsed time of the trace when it was first seen; 0 for what ran before.
    #[serde(rename = "first_seen_ms", with = "wire::millis", default)]
    #[schemars(with = "u64")]
    pub first_seen: Duration,
    /// Whether it started during the trace.
    #[serde(default)]
    pub started_in_trace: bool,
    /// Mean bytes between two samples of its heap, at its thinnest so far; null where every block was followed.
    #[serde(default)]
    pub sample_bytes: Option<u64>,
    /// Elapsed time of the trace when its probes were removed: its figures stop there.
    #[serde(rename = "probes_off_ms", with = "wire::optional_millis", default)]
    #[schemars(with = "Option<u64>")]
    pub probes_off: Option<Duration>,
    /// Part of its CPU time since the previous profile that its probes took, in percent, estimated from their hits;
    /// null where there are none, or where it is not known.
    #[serde(default)]
    pub probe_percent: Option<f64>,
    /// Its figures.
    pub totals: Values,
    /// Its figures in the previous profile, where they are compared.
    #[serde(default, skip_serializing_if = "Values::is_empty")]
    pub before: Values,
    /// What the profile is about in the first place at each time of `sections.history`; null where it was not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Option<i64>>,
    /// What is mapped of each kind.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub regions: BTreeMap<RegionKind, Values>,
    /// How its heap goes on, turnover taken off; null where that is not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub course: Option<Course>,
    /// When it comes to its limit if it goes on; null where it does not certainly grow.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<Limit>,
    /// How its figures grow, by the key of the measure.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty", with = "growths")]
    #[schemars(with = "BTreeMap<String, Growth>")]
    pub growth: BTreeMap<Measure, Growth>,
}

/// When memory runs out for a process that goes on to grow as it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// What runs out first.
    pub of: LimitOf,
    /// Bytes that are left now.
    pub left_bytes: u64,
    /// Time until they are used up, at the slope of the process's net growth.
    #[serde(rename = "reached_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub reached: Duration,
    /// The same at the upper end of that slope's 95 % interval.
    #[serde(rename = "earliest_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub earliest: Duration,
    /// The same at its lower end.
    #[serde(rename = "latest_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub latest: Duration,
}

/// What limits a process's memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitOf {
    /// The limit of its cgroup, or of one above it.
    Cgroup,
    /// The memory that the machine has left.
    Machine,
}

impl Limit {
    /// When so many bytes are used up by a slope and its 95 % interval, in bytes per second; `None` if it does not
    /// certainly grow, or beyond a hundred years.
    pub fn reached(
        of: LimitOf,
        left_bytes: u64,
        (slope, low, high): (f64, f64, f64),
    ) -> Option<Self> {
        const NEVER: f64 = 100.0 * 365.0 * 86_400.0;
        let after = |slope: f64| {
            let seconds = left_bytes as f64 / slope;
            (slope > 0.0).then(|| Duration::from_secs_f64(seconds.min(NEVER)))
        };
        let reached = after(slope).filter(|time| time.as_secs_f64() < NEVER)?;
        Some(Self {
            of,
            left_bytes,
            reached,
            earliest: after(high)?,
            latest: after(low)?,
        })
    }
}

/// What a fit says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// It grows: the whole interval is above zero.
    Growing,
    /// It shrinks: the whole interval is below zero.
    Shrinking,
    /// It neither grows nor shrinks by an amount that matters.
    Steady,
    /// The samples do not tell.
    #[default]
    Unclear,
}

impl Verdict {
    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Growing => "growing",
            Self::Shrinking => "shrinking",
            Self::Steady => "steady",
            Self::Unclear => "unclear",
        }
    }
}

/// What became of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It runs.
    #[default]
    Running,
    /// It is stopped by a signal or by a debugger: it does nothing until it is continued.
    Stopped,
    /// It has exited: its figures are those of that moment.
    Exited,
    /// It has called `exec`: its figures are what the old program held.
    Replaced,
}

impl State {
    /// In one word.
    pub const fn word(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Stopped => "stopped",
            Self::Exited => "exited",
            Self::Replaced => "replaced",
        }
    }

    /// Whether the program is still there.
    pub const fn is_alive(self) -> bool {
        matches!(self, Self::Running | Self::Stopped)
    }
}

/// How a traced command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CommandExit {
    /// With this exit code.
    Code(i32),
    /// By this signal.
    Signal(i32),
}

/// How a figure grows: a line through its samples, with the slope's 95 % interval.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Growth {
    /// Units per minute.
    pub per_min: f64,
    /// Lower end of the interval; null where the samples are too few to tell.
    pub low: Option<f64>,
    /// Upper end of the interval; null where the samples are too few to tell.
    pub high: Option<f64>,
    /// Slope per minute that is certain: the end of the interval that is nearer to zero; 0 where none is.
    pub certain: f64,
    /// What can be said of it.
    pub verdict: Verdict,
    /// Number of samples.
    pub samples: usize,
}

impl Growth {
    /// Time until it has grown by this amount, if it certainly grows; `None` beyond a hundred years.
    pub fn time_to_grow(&self, amount: u64) -> Option<Duration> {
        const NEVER: f64 = 100.0 * 365.0 * 86_400.0;
        let seconds = amount as f64 / self.per_min * 60.0;
        let is_certain = self.certain > 0.0 && seconds < NEVER;
        is_certain.then(|| Duration::from_secs_f64(seconds))
    }

    /// Time until it has shrunk by this amount, if it certainly shrinks; `None` beyond a hundred years.
    pub fn time_to_shrink(&self, amount: u64) -> Option<Duration> {
        let opposite = Self {
            per_min: -self.per_min,
            certain: -self.certain,
            ..*self
        };
        opposite.time_to_grow(amount)
    }

    /// Half the width of the interval, per minute; `None` where it is not known.
    pub fn error(&self) -> Option<f64> {
        Some((self.high? - self.low?) / 2.0)
    }
}

impl Subject {
    /// A process of which no more is known.
    pub fn process(pid: u32, command: impl Into<String>) -> Self {
        Self {
            pid: Some(pid),
            command: command.into(),
            processes: 1,
            ..Self::default()
        }
    }

    /// Change of a figure since the previous profile, where both are known.
    pub fn change(&self, measure: Measure) -> Option<i64> {
        Some(
            self.totals
                .whole(measure)?
                .saturating_sub(self.before.whole(measure)?),
        )
    }

    /// What can be said of how a figure grows.
    pub fn verdict(&self, measure: Measure) -> Verdict {
        self.growth
            .get(&measure)
            .map_or(Verdict::Unclear, |growth| growth.verdict)
    }
}

/// Growths by the key of their measure; keys of a later version are passed over.
mod growths {
    use std::collections::BTreeMap;

    use serde::{Deserialize, Deserializer, Serializer};

    use super::{Growth, Measure};

    pub fn serialize<S: Serializer>(
        growth: &BTreeMap<Measure, Growth>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.collect_map(
            growth
                .iter()
                .map(|(measure, growth)| (measure.key(), growth)),
        )
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<BTreeMap<Measure, Growth>, D::Error> {
        let growth = BTreeMap::<String, Growth>::deserialize(from)?;
        let known = growth
            .into_iter()
            .map(|(key, growth)| (Measure::from_key(&key), growth));
        Ok(known
            .filter(|(measure, _)| *measure != Measure::Unknown)
            .collect())
    }
}
