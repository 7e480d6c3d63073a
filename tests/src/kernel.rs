//! The JSON report of `memlens kernel`, typed.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result, anyhow, ensure};
use serde::Deserialize;

use crate::Memlens;
use crate::memlens::Ended;
use crate::need;
use crate::report::Frame;

/// A report.
#[derive(Clone, Debug, Deserialize)]
pub struct KernelReport {
    /// Whether it is the last one.
    pub last: bool,
    /// The loss counters.
    pub loss: BTreeMap<String, u64>,
    /// Sentences.
    pub notes: Vec<String>,
    /// What is followed, where that is not everything.
    pub only: Option<String>,
    /// All kinds together.
    pub totals: Held,
    /// By kind.
    pub kinds: BTreeMap<String, Held>,
    /// Pages under other kinds.
    pub backing: BTreeMap<String, Held>,
    /// The stacks.
    pub stacks: Vec<KernelStack>,
    /// Caches that have grown.
    pub caches: Vec<CacheGrowth>,
    /// How the numbers were estimated.
    pub sampling: Option<BTreeMap<String, u64>>,
}

/// What is held.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
pub struct Held {
    /// Bytes held.
    pub live_bytes: u64,
    /// Objects held.
    pub live_count: u64,
    /// Bytes allocated.
    pub alloc_bytes: u64,
    /// Objects allocated.
    pub alloc_count: u64,
}

/// A stack.
#[derive(Clone, Debug, Deserialize)]
pub struct KernelStack {
    /// `slab`, `pages` or `percpu`.
    pub kind: String,
    /// The cache or order.
    pub what: String,
    /// Bytes of one object.
    pub size: Option<u64>,
    /// How much.
    #[serde(flatten)]
    pub held: Held,
    /// What its pages lie under.
    pub backing: Option<String>,
    /// Age of the oldest object.
    pub oldest_age_ms: Option<u64>,
    /// Frames, innermost first.
    pub frames: Vec<Frame>,
}

/// A cache that has grown.
#[derive(Clone, Debug, Deserialize)]
pub struct CacheGrowth {
    /// Its name.
    pub name: String,
    /// Change of its objects.
    pub objects_change: i64,
    /// Change of its slabs.
    pub bytes_change: i64,
    /// What stacks hold of it.
    pub held_bytes: Option<u64>,
}

/// Traces the kernel's memory, as JSON with all stacks; returns once it is traced. Reports come every 200 ms.
pub fn trace(more: &[&str]) -> Result<Memlens> {
    need::root()?;
    let mut words = vec!["kernel", "0.2", "--json", "--top", "0"];
    words.extend(more);
    let mut memlens = Memlens::start(words)?;
    memlens.wait_until_tracing()?;
    Ok(memlens)
}

fn parse(line: &str) -> Result<KernelReport> {
    serde_json::from_str(line).with_context(|| format!("not a report: {line}"))
}

/// A report that was begun after this call.
pub fn fresh(memlens: &mut Memlens) -> Result<KernelReport> {
    let mut next = || {
        memlens
            .line(Duration::from_secs(20))
            .map_err(|why| anyhow!("no report came: {why:?}"))
    };
    // Reports that wait to be read are older; the first that has to be waited for may have been begun before.
    let mut waited = 0;
    loop {
        let began = std::time::Instant::now();
        let line = next()?;
        if began.elapsed() > Duration::from_millis(20) {
            waited += 1;
        }
        if waited == 2 {
            return parse(&line);
        }
    }
}

/// The last report of a memlens that ended well.
pub fn last_report(ended: &Ended) -> Result<KernelReport> {
    ensure!(
        ended.status.code() == Some(0),
        "memlens ended with {}: {}",
        ended.status,
        ended.errors.join("\n")
    );
    let report = parse(ended.output.last().context("no report came")?)?;
    ensure!(report.last, "the last report does not say that it is");
    Ok(report)
}

impl KernelReport {
    /// What stacks through all these functions hold of memory that is called `what`.
    pub fn held(&self, what: &str, functions: &[&str]) -> Held {
        let mut sum = Held::default();
        for stack in self.stacks.iter().filter(|stack| stack.what == what) {
            if functions.iter().all(|function| stack.has(function)) {
                sum.live_bytes += stack.held.live_bytes;
                sum.live_count += stack.held.live_count;
                sum.alloc_bytes += stack.held.alloc_bytes;
                sum.alloc_count += stack.held.alloc_count;
            }
        }
        sum
    }

    /// Names of what stacks through a function hold, and how many of each.
    pub fn of_function(&self, function: &str) -> BTreeMap<String, u64> {
        let mut held = BTreeMap::new();
        for stack in self.stacks.iter().filter(|stack| stack.has(function)) {
            *held.entry(stack.what.clone()).or_default() += stack.held.live_count;
        }
        held
    }
}

impl KernelStack {
    /// Whether one of the functions, of which "|" stands between two, is among the frames; perhaps as a copy that the compiler has made.
    pub fn has(&self, functions: &str) -> bool {
        self.frames.iter().any(|frame| {
            let symbol = frame.symbol.as_deref().unwrap_or_default();
            let plain = symbol.split('.').next().unwrap_or_default();
            functions.split('|').any(|function| function == plain)
        })
    }
}
