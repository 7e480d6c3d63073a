//! Samples: what a subject holds by one stack, and what kind of memory it is.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracer_common::{kernel_memory, lifetime};

use super::course::Course;
use super::ledger::RowName;
use super::measure::Source;
use super::number::{Number, Values};
use super::reach::Holder;
use super::wire;

/// What a subject holds by one stack.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Sample {
    /// Where it comes from.
    pub source: Source,
    /// Index of the subject; of several that share the stack, the one with most.
    pub subject: u32,
    /// Indices of the other subjects that share the stack, whose memory is in the values too.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub also: Vec<u32>,
    /// Index of the stack; null for memory that no call of the trace has made.
    pub stack: Option<u32>,
    /// One value for each of the profile's measures; null where it has none.
    pub values: Vec<Option<Number>>,
    /// Of a difference, whose values say how much more there is: the earlier values.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub before: Vec<Option<Number>>,
    /// What its source follows in the first place at each time of `sections.history`; null where it was not there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub history: Vec<Option<i64>>,
    /// Live bytes by age, where single blocks are known.
    #[serde(rename = "age_bytes", default, skip_serializing_if = "Ages::is_empty")]
    pub ages: Ages,
    /// Blocks freed so far by the age at which they were.
    #[serde(rename = "freed_ages", default, skip_serializing_if = "Ages::is_empty")]
    pub freed: Ages,
    /// How it goes on; null where that is not followed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub course: Option<Course>,
    /// What holds the blocks, the way that most have in common first, where that was looked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Holder>,
    /// What kind of memory it is, where that is not plain heap.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<Detail>,
    /// The live blocks, oldest first, where they were asked for.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blocks: Option<Vec<Block>>,
}

impl Sample {
    /// The rows of the ledger that it belongs to, in words; empty where there are none.
    pub fn ledger_rows(&self) -> String {
        let Some(Detail::Ledger(rows)) = &self.detail else {
            return String::new();
        };
        let words: Vec<String> = rows.iter().map(RowName::words).collect();
        words.join(", ")
    }

    /// Whether it is of pages under memory of another kind, which has samples of its own: the two do not add up.
    pub const fn is_backing(&self) -> bool {
        matches!(&self.detail, Some(Detail::Kernel(object)) if object.backing.is_some())
    }
}

/// Amounts of [`Ages`] that the programs' counts come to: the last is of 262 seconds and more.
const LIFETIMES_END: usize = Ages::bucket(lifetime::FIRST_NS) + lifetime::BUCKETS - 1;

/// Amounts by age in powers of two: the first is below 1 ms, the next below 2 ms, then below 4 ms and so on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Ages(Vec<u64>);

impl Ages {
    /// Number of the amount of an age in nanoseconds.
    pub const fn bucket(age_ns: u64) -> usize {
        (u64::BITS - (age_ns / 1_000_000).leading_zeros()) as usize
    }

    /// Ages with these amounts, youngest first.
    pub fn from_buckets(amounts: &[u64]) -> Self {
        let end = amounts.iter().rposition(|amount| *amount != 0);
        Self(amounts[..end.map_or(0, |last| last + 1)].to_vec())
    }

    /// Adds an amount of an age in nanoseconds.
    pub fn add(&mut self, age_ns: u64, amount: u64) {
        let bucket = Self::bucket(age_ns);
        if self.0.len() <= bucket {
            self.0.resize(bucket + 1, 0);
        }
        self.0[bucket] = self.0[bucket].saturating_add(amount);
    }

    /// Adds the amounts of others.
    pub fn merge(&mut self, other: &Self) {
        if self.0.len() < other.0.len() {
            self.0.resize(other.0.len(), 0);
        }
        self.0
            .iter_mut()
            .zip(&other.0)
            .for_each(|(own, other)| *own = own.saturating_add(*other));
    }

    /// Ages from the counts of `tracer_common::lifetime`, the first of which has more ages in it than one of these: it
    /// counts as the oldest of them.
    pub fn of_lifetimes(counts: &[u64; lifetime::BUCKETS]) -> Self {
        let mut amounts = [0; LIFETIMES_END];
        amounts[LIFETIMES_END - lifetime::BUCKETS..].copy_from_slice(counts);
        Self::from_buckets(&amounts)
    }

    /// Of the ages at which blocks were freed: the age at which at least this share of them had been, rounded up to a
    /// power of two of milliseconds. `None` if none was freed, or if that age is among the oldest, which have no bound.
    pub fn gone(&self, share: f64) -> Option<Duration> {
        let all: u64 = self
            .0
            .iter()
            .fold(0, |sum, amount| sum.saturating_add(*amount));
        let wanted = (all as f64 * share.clamp(0.0, 1.0)).ceil().max(1.0);
        let mut sum: u64 = 0;
        let bucket = self.0.iter().position(|amount| {
            sum = sum.saturating_add(*amount);
            sum as f64 >= wanted
        })?;
        (bucket + 1 < LIFETIMES_END).then(|| Duration::from_millis(1 << bucket))
    }

    /// Number of the oldest ages of [`Self::of_lifetimes`], which have no upper end.
    pub const LAST_FREED: usize = LIFETIMES_END - 1;

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The amounts, youngest first.
    pub fn buckets(&self) -> &[u64] {
        &self.0
    }
}

/// A live block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Block {
    /// Its address.
    #[serde(with = "wire::address")]
    #[schemars(with = "String")]
    pub address: u64,
    /// Bytes that the program asked for.
    pub size: u64,
    /// How long it has lived.
    #[serde(rename = "age_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub age: Duration,
}

/// Sums of samples that are not in the profile.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Omitted {
    /// Where they come from.
    pub source: Source,
    /// Index of their subject.
    pub subject: u32,
    /// Whether they have a stack.
    pub with_stack: bool,
    /// How many.
    pub samples: u64,
    /// Their values together, without those of pages under memory of another kind.
    pub values: Values,
}

/// What kind of memory a sample is of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Ranges of an address space.
    Region(Region),
    /// The kernel's memory.
    Kernel(KernelObject),
    /// What a stack of page faults touched, most new memory first.
    Touched(Vec<Touched>),
    /// Rows of a process's ledger that the ranges of an address space belong to.
    Ledger(Vec<RowName>),
}

/// Ranges of an address space.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Region {
    /// Their kinds, most bytes first.
    pub kinds: Vec<RegionKind>,
    /// Paths of the files in them, most bytes first, as far as they are known.
    pub files: Vec<String>,
    /// Without a stack: they came during the trace, mapped by the kernel itself or by a call that was not seen.
    pub during_trace: bool,
}

/// What lies in a range.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RegionKind {
    /// The heap that `brk` moves.
    Brk,
    /// Private memory without a file.
    Anonymous,
    /// A stack: the first thread's, or one that was mapped with `MAP_STACK`.
    Stack,
    /// A file.
    File,
    /// Memory that processes share without a file of theirs: `MAP_SHARED` without a file, System V segments, memfds.
    Shared,
    /// What the kernel maps for itself: the vdso, probes.
    Kernel,
}

impl RegionKind {
    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Brk => "brk",
            Self::Anonymous => "anonymous",
            Self::Stack => "stack",
            Self::File => "file",
            Self::Shared => "shared",
            Self::Kernel => "kernel",
        }
    }
}

/// Memory of the kernel.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct KernelObject {
    /// The allocator that it comes from.
    pub kind: KernelKind,
    /// The cache, or the order of the pages: `filp`, `kmalloc-64`, `pages of order 2`, `per-CPU memory`.
    pub what: String,
    /// Bytes of one object or block; null for per-CPU memory, whose sizes differ.
    pub size: Option<u64>,
    /// These pages lie under memory of this kind, which has samples of its own.
    pub backing: Option<KernelKind>,
}

/// An allocator of the kernel.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum KernelKind {
    /// The slab allocator: `kmalloc` and the caches.
    Slab,
    /// The page allocator.
    Pages,
    /// The per-CPU allocator.
    PerCpu,
}

impl From<kernel_memory::Kind> for KernelKind {
    fn from(kind: kernel_memory::Kind) -> Self {
        match kind {
            kernel_memory::Kind::Slab => Self::Slab,
            kernel_memory::Kind::Pages => Self::Pages,
            kernel_memory::Kind::PerCpu => Self::PerCpu,
        }
    }
}

/// Ranges of one kind and origin that a stack touched.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Touched {
    /// What they are; null where nothing is known to be mapped.
    pub kind: Option<RegionKind>,
    /// The file, where they are one and its path is known.
    pub file: Option<String>,
    /// Who mapped them.
    pub mapper: Mapper,
    /// Page faults in them.
    pub faults: u64,
    /// Of those, major ones.
    pub major: u64,
    /// Memory that they brought in.
    pub new_bytes: u64,
}

/// Who mapped what was touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Mapper {
    /// It was there before the trace.
    Before,
    /// No call that was seen.
    Unknown,
    /// The stack of this index.
    Stack(u32),
}
