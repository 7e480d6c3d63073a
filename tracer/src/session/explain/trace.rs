//! `memlens explain --trace`: what `leaks` and `vm` see between two looks at a process, joined into them.

use std::collections::BTreeMap;
use std::num::NonZeroU64;
use std::time::Duration;

use anyhow::{Context, Result};

use super::{Outcome, survey};
use crate::cli::{
    Allocator, Invocation, LeaksConfig, MAX_STACK_DEPTH, Output, SizeRange, Sort, SpaceSort,
    Target, Unwind, VmConfig,
};
use crate::explain::growth::{self, BlockStack, Blocks, Ranges, Seen, Stack};
use crate::explain::{ExplainError, Explanation, diff, explain, gather};
use crate::preflight::Facts;
use crate::process::{ProcessError, info, pagemap};
use crate::report::loss::{Severity, sentences};
use crate::report::{Report, space::Width, units};
use crate::session::error::one_line;
use crate::session::interrupt::Interrupt;
use crate::session::leaks::Leaks;
use crate::session::refuse_if_unable;
use crate::session::start::monotonic_ns;
use crate::session::vm::{Since, Vm};

/// Stacks kept of each part of the growth.
const STACKS: usize = 10;
/// Later than any trace ends: no report is due before.
const NO_REPORT: Duration = Duration::from_secs(365 * 86_400);

/// Looks at a process, traces it for so long, and looks again.
pub fn run(invocation: &Invocation, pid: u32, time: Duration) -> Result<Outcome> {
    let process = gather::find(pid)?;
    let facts = refuse_if_unable("trace a process")?;
    let interrupt = Interrupt::install()?;
    let settings = (leaks_config(process.pid), vm_config(process.pid));
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut begun = 0;
    let (before, tracers) = runtime.block_on(async {
        let mut tracers = Tracers::begin(invocation, &settings, &facts);
        begun = monotonic_ns();
        let before = tracers.follow(process.pid, time, interrupt).await?;
        tracers.stop();
        anyhow::Ok((before, tracers))
    })?;
    let touched = tracers.touched(process.pid, begun);
    let after = explain(process.pid, survey);
    // Names are looked up, and probes taken off, when the figures are there.
    let seen = {
        let _runtime = runtime.enter();
        tracers.end(process.pid, begun)
    };
    let after = match after {
        Ok(after) if info::image(process.pid).ok() == Some(process.image) => after,
        Err(error) if !is_gone(&error) => return Err(error.into()),
        _ => return Ok(only(before)),
    };
    Ok(join(&before, after, seen, touched))
}

/// What there is to print of a process that is not there any more.
fn only(mut explanation: Explanation) -> Outcome {
    let note = "the process exited or replaced its program while it was traced: this is what it was like before";
    explanation.notes.push(note.to_owned());
    Outcome {
        explanation,
        change: None,
        growth: None,
    }
}

fn join(
    before: &Explanation,
    after: Explanation,
    mut seen: Seen,
    touched: Result<Vec<pagemap::Region>, ProcessError>,
) -> Outcome {
    let touched = touched.unwrap_or_else(|error| {
        seen.ranges = Err(format!("what was mapped meanwhile: {error}"));
        Vec::new()
    });
    let change = diff::between(before, &after);
    let growth = growth::join(before, &after, &change, seen, &touched, STACKS);
    Outcome {
        explanation: after,
        change: Some(change),
        growth: Some(growth),
    }
}

/// The two traces that run beside each other; why one does not, where it does not.
struct Tracers<'a> {
    leaks: Result<Leaks<'a>>,
    vm: Result<Vm<'a>>,
}

impl<'a> Tracers<'a> {
    fn begin(
        invocation: &Invocation,
        (leaks, vm): &'a (LeaksConfig, VmConfig),
        facts: &Facts,
    ) -> Self {
        // Ranges have the time of their call, so what is mapped while the other trace begins can be left out.
        let vm = Vm::begun(invocation, vm);
        let leaks = Leaks::begun(invocation, leaks, facts);
        Self { leaks, vm }
    }

    /// Lets the traces go on until the time is over, and looks at the process at the beginning.
    async fn follow(
        &mut self,
        pid: u32,
        time: Duration,
        mut interrupt: Interrupt,
    ) -> Result<Explanation> {
        let over = tokio::time::Instant::now() + time;
        let (stop, stopped) = Interrupt::by_hand();
        let (end, mut ended) = Interrupt::by_hand();
        let (leaks, vm) = (self.leaks.as_mut().ok(), self.vm.as_mut().ok());
        let is_traced = leaks.is_some() || vm.is_some();
        let follow = async {
            let leaks = async {
                match leaks {
                    Some(leaks) => leaks.watch(stopped.clone()).await.map(drop),
                    None => Ok(()),
                }
            };
            let vm = async {
                match vm {
                    Some(vm) => vm.watch(stopped.clone()).await.map(drop),
                    None => Ok(()),
                }
            };
            let followed = tokio::try_join!(leaks, vm);
            // Where nothing is traced, the ledgers are compared when the time is over all the same.
            end.send_replace(is_traced);
            followed
        };
        let look = async {
            let before = look(pid).await?;
            eprintln!(
                "memlens: tracing process {pid} ({}) for {}; Ctrl-C ends it early",
                before.process.comm,
                units::duration(time)
            );
            tokio::select! {
                () = tokio::time::sleep_until(over) => {}
                () = interrupt.wait() => {}
                () = ended.wait() => {}
            }
            stop.send_replace(true);
            Ok(before)
        };
        let (before, _) = tokio::try_join!(look, follow)?;
        Ok(before)
    }

    /// Nothing is counted any more.
    fn stop(&mut self) {
        if let Ok(vm) = &mut self.vm {
            vm.stop();
        }
        if let Ok(leaks) = &mut self.leaks {
            leaks.stop();
        }
    }

    /// Which pages of what was mapped since `begun` are in memory or in swap now.
    fn touched(&self, pid: u32, begun: u64) -> Result<Vec<pagemap::Region>, ProcessError> {
        let Ok(vm) = &self.vm else {
            return Ok(Vec::new());
        };
        let ranges = vm.ranges(pid, begun).into_iter().map(|(range, _)| range);
        pagemap::touched(pid, &ranges.collect::<Vec<_>>())
    }

    /// Ends both traces; what was mapped before `begun` does not count.
    fn end(self, pid: u32, begun: u64) -> Seen {
        let mut lost = BTreeMap::new();
        let mut notes = Vec::new();
        let blocks = self.leaks.and_then(|leaks| leaks.ended_with(STACKS));
        let blocks = blocks.map(|mut report| {
            add(&mut lost, &report.loss);
            notes.append(&mut report.notes);
            blocks_of(report)
        });
        let ranges = self.vm.and_then(|vm| vm.ended_with(pid, begun));
        let ranges = ranges.map(|mut since| {
            add(&mut lost, &since.loss);
            notes.append(&mut since.notes);
            ranges_of(since)
        });
        let lost = sentences(&lost);
        let lost = lost
            .into_iter()
            .filter(|sentence| sentence.severity != Severity::Coverage);
        let mut lost: Vec<String> = lost.map(|sentence| sentence.text).collect();
        for note in notes {
            if !lost.contains(&note) {
                lost.push(note);
            }
        }
        let why = |what: &'static str| move |error| format!("{what}: {}", one_line(&error));
        Seen {
            blocks: blocks.map_err(why("blocks of the heap")),
            ranges: ranges.map_err(why("what was mapped meanwhile")),
            lost,
        }
    }
}

/// Looks at the process in another thread, so that the traces go on.
async fn look(pid: u32) -> Result<Explanation> {
    let looked = tokio::task::spawn_blocking(move || explain(pid, survey));
    Ok(looked.await.context("the look at the process failed")??)
}

fn is_gone(error: &ExplainError) -> bool {
    matches!(
        error,
        ExplainError::Exited { .. }
            | ExplainError::Zombie { .. }
            | ExplainError::Process(ProcessError::Gone { .. })
    )
}

fn add(sums: &mut BTreeMap<&'static str, u64>, more: &BTreeMap<&'static str, u64>) {
    for (name, count) in more {
        *sums.entry(name).or_default() += count;
    }
}

fn blocks_of(report: Report) -> Blocks {
    Blocks {
        bytes: report.live_bytes(),
        count: report.live_count(),
        stacks_total: report.stacks_total,
        stacks: report
            .stacks
            .into_iter()
            .map(|row| BlockStack {
                bytes: row.live_bytes,
                count: row.live_count,
                stack: Stack {
                    frames: row.frames,
                    truncated: row.truncated,
                },
            })
            .collect(),
    }
}

fn ranges_of(since: Since) -> Ranges {
    let ranges = since.ranges.into_iter();
    let stacks = since.stacks.into_iter();
    Ranges {
        ranges: ranges
            .map(|(range, stack)| (range.start, range.end, stack))
            .collect(),
        stacks: stacks
            .map(|(frames, truncated)| Stack { frames, truncated })
            .collect(),
    }
}

/// What the printer of a trace is asked for that prints nothing.
fn no_output() -> Output {
    Output {
        json: false,
        folded: None,
        svg: None,
        top: None,
        source: true,
        addresses: false,
    }
}

fn leaks_config(pid: u32) -> LeaksConfig {
    LeaksConfig {
        target: Target::Pids(vec![pid]),
        host: None,
        interval: NO_REPORT,
        count: NonZeroU64::new(1),
        sizes: SizeRange::ALL,
        older: Duration::ZERO,
        allocator: Allocator::default(),
        output: no_output(),
        sort: Sort::Bytes,
        show_allocs: false,
        all_stacks: false,
        fail_over: None,
        combined: false,
        sample_bytes: None,
        stack_depth: MAX_STACK_DEPTH,
        unwind: Unwind::Auto,
        unwind_memory: 256 << 20,
        max_live: 2_097_152,
    }
}

fn vm_config(pid: u32) -> VmConfig {
    VmConfig {
        target: Target::Pids(vec![pid]),
        by: None,
        interval: NO_REPORT,
        count: NonZeroU64::new(1),
        output: no_output(),
        sort: SpaceSort::Resident,
        width: Width::default(),
        faults: None,
        stack_depth: MAX_STACK_DEPTH,
        unwind: Unwind::Auto,
        unwind_memory: 256 << 20,
    }
}
