//! Loss counters as sentences: what was lost, why, and what that means for the totals.

use tracer_common::kernel_memory::{KernelLoss, MAX_BULK};
use tracer_common::loss::Loss;

use super::filter;
use super::units::{bytes, count, counted, plural};
use crate::profile::{LossKey, Losses, Profile, Severity};

/// One kind of loss, in plain words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// The sentence, without a full stop.
    pub text: String,
    /// What it means for the figures.
    pub severity: Severity,
}

/// A sentence for each nonzero counter, in the order of the counters. A pair (blocks and their bytes) has one.
pub fn sentences(profile: &Profile) -> Vec<Sentence> {
    let losses = &profile.losses;
    let lost = losses.iter().filter(|(_, count)| *count > 0);
    let told = lost.filter_map(|(key, count)| {
        let text = match key {
            LossKey::Trace(Loss::UnknownFrees) => unknown_frees(count, profile),
            LossKey::Trace(loss) => of_trace(loss, count, losses)?,
            LossKey::Kernel(loss) => of_kernel(loss, count, losses)?,
        };
        let severity = key.severity();
        Some(Sentence { text, severity })
    });
    told.collect()
}

/// How many of what, and what became of them.
fn became(what: &str, n: u64, fate: &str) -> String {
    let was = plural(n, "was", "were");
    format!("{} {was} {fate}", counted(n, what))
}

/// The sentence of a pair of counters, with the bound that it puts on the live totals.
fn untracked(blocks: u64, size: u64, why: &str) -> String {
    let fate =
        format!("not tracked, because {why}: the live totals are too low by at most that much");
    let was = plural(blocks, "was", "were");
    format!(
        "{} ({} in total) {was} {fate}",
        counted(blocks, "block"),
        bytes(size)
    )
}

const FULL: &str = "the live block table was full (raise --max-live)";
const LATE: &str =
    "the live block table was full before it was made larger (memory, or time to do so, was short)";
const FAR: &str = "of an address or a size beyond 128 TiB";
const STACKS_FULL: &str = "because the stack table was full";
const RING_FULL: &str = "dropped, because the ring buffer was full";

/// The sentence of one counter; `None` where the counter that it is paired with has it.
fn of_trace(loss: Loss, n: u64, losses: &Losses) -> Option<String> {
    let became = |what: &str, fate: &str| became(what, n, fate);
    let is_alone = |blocks: Loss| losses.of(blocks) == 0;
    let bound = format!("the totals are off by at most {}", counted(n, "block"));
    Some(match loss {
        Loss::LiveMapFullBlocks => untracked(n, losses.of(Loss::LiveMapFullBytes), FULL),
        Loss::LiveMapFullBytes if is_alone(Loss::LiveMapFullBlocks) => untracked(0, n, FULL),
        Loss::LiveMapLateBlocks => untracked(n, losses.of(Loss::LiveMapLateBytes), LATE),
        Loss::LiveMapLateBytes if is_alone(Loss::LiveMapLateBlocks) => untracked(0, n, LATE),
        Loss::FarBlocks => untracked(n, losses.of(Loss::FarBytes), FAR),
        Loss::FarBytes if is_alone(Loss::FarBlocks) => untracked(0, n, FAR),
        Loss::LiveMapFullBytes | Loss::LiveMapLateBytes | Loss::FarBytes | Loss::UnknownFrees => {
            return None;
        }
        Loss::StackTableFull => became(
            "allocation",
            &format!(
                "counted only for the process, {STACKS_FULL}: the totals are exact, but the stacks shown may hold more \
                 than they say"
            ),
        ),
        Loss::MissedReturns => format!(
            "{} never returned (longjmp, an exception, or the end of the thread): {bound}",
            counted(n, "allocator call")
        ),
        Loss::MissedFrees => became(
            "block",
            "allocated again without a free in between: some frees are missed, so the live totals may be too high",
        ),
        Loss::NoThreadState => became(
            "allocator call",
            &format!(
                "not traced, because the kernel had no memory for the thread's state: {bound}"
            ),
        ),
        Loss::UnreadableResult => format!(
            "{} of successful posix_memalign calls could not be read: the live totals are too low by at most {}",
            counted(n, "result"),
            counted(n, "block")
        ),
        Loss::SpaceRingFull => became(
            "mapping change",
            &format!(
                "{RING_FULL}: {} recovered from /proc/PID/maps, without a stack; the totals are exact",
                plural(n, "it was", "they were")
            ),
        ),
        Loss::NotContinued => became(
            "block",
            "not tracked, because the program for stacks in language runtimes could not run: the totals are too low",
        ),
        Loss::NamesDropped => became(
            "name of interpreted code",
            &format!("{RING_FULL}: frames are without a name, the totals are exact"),
        ),
        Loss::CodeUnreadable => became(
            "code object on a stack",
            "not readable: its frames are without a name, the totals are exact",
        ),
        Loss::DiagnosticsDropped => became(
            "diagnostic message",
            &format!("{RING_FULL}: the totals are exact"),
        ),
        Loss::FaultsDropped => became(
            "sampled page fault",
            &format!("{RING_FULL}: the page fault figures are too low"),
        ),
        Loss::RingBufferFull => became(
            "trace event",
            &format!("{RING_FULL}: lines are missing, the totals are exact"),
        ),
        Loss::LifecycleFull => became(
            "exec, exit or fork event",
            &format!("{RING_FULL}: a process that has ended may still be counted"),
        ),
        Loss::LostInRealloc => format!(
            "{} could not be restored after a realloc failed: the live totals are too low by {}",
            counted(n, "block"),
            plural(n, "that block", "those blocks")
        ),
        Loss::UntracedChildren => format!(
            "{} {} started by a traced process {} not traced",
            count(n),
            plural(n, "process", "processes"),
            plural(n, "is", "are")
        ),
        Loss::ProbesGone => became(
            "probe",
            "gone from a process's memory, although memlens had not removed it: the notes say when and whose",
        ),
        Loss::ProcessTableFull => became(
            "allocator call",
            &format!("not traced, because the process table was full: {bound}"),
        ),
    })
}

/// The sentence on frees of blocks that are not in the live block table, with all that these may be.
fn unknown_frees(n: u64, profile: &Profile) -> String {
    let heap = profile.sections.heap.clone().unwrap_or_default();
    let is_lost = profile
        .losses
        .iter()
        .any(|(key, count)| count > 0 && key.severity() == Severity::Totals);
    let may_be = [
        (!heap.from_start, "allocated before the trace, "),
        (filter::sizes(&heap.filter).is_some(), "filtered out, "),
        (heap.sampling.is_some(), "not sampled, "),
        (is_lost, "lost as said above, "),
    ];
    let reasons: String = may_be
        .into_iter()
        .filter_map(|(is_so, reason)| is_so.then_some(reason))
        .collect();
    let or = if reasons.is_empty() { "" } else { "or " };
    let fate = format!(
        "of blocks that are not tracked: {reasons}{or}the allocator's own, such as the free blocks that glibc caches for \
         a thread and frees again when the thread ends"
    );
    became("free", n, &fate)
}

/// The sentence of one counter of a trace of the kernel's memory.
fn of_kernel(loss: KernelLoss, n: u64, losses: &Losses) -> Option<String> {
    let became = |what: &str, fate: &str| became(what, n, fate);
    let nested = |what: &str, bound: &str| {
        let fate = "not seen, because the programs were already running on that CPU: the live totals may be too";
        let was = plural(n, "was", "were");
        format!(
            "{} in interrupts {was} {fate} {bound} by that many blocks",
            counted(n, what)
        )
    };
    Some(match loss {
        KernelLoss::LiveFullBlocks => {
            let size = losses.get(LossKey::Kernel(KernelLoss::LiveFullBytes));
            untracked(n, size, FULL)
        }
        KernelLoss::LiveFullBytes => return None,
        KernelLoss::StackTableFull => became(
            "block",
            &format!("counted without a stack, {STACKS_FULL}: the totals are exact"),
        ),
        KernelLoss::NoStack => became(
            "block",
            "counted without a stack, because the kernel could not walk it: the totals are exact",
        ),
        KernelLoss::MissedFrees => became(
            "block",
            "allocated again without a release in between: the kernel releases some memory without a tracepoint, so the \
             live totals may be too high",
        ),
        KernelLoss::UnknownFrees => became(
            "release",
            "of memory that is not tracked: allocated before the trace or in bulk, filtered out, or not sampled",
        ),
        KernelLoss::CachesFull => became(
            "object",
            "in caches that did not fit the table of caches: those have no name",
        ),
        KernelLoss::BulkTooLong => became(
            "object",
            &format!(
                "released in batches of more than {} and not seen: the live totals may be too high by that many objects",
                count(u64::from(MAX_BULK))
            ),
        ),
        KernelLoss::NestedAllocs => nested("allocation", "low"),
        KernelLoss::NestedFrees => nested("release", "high"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{HeapSection, Sampling};

    fn lossy(losses: Losses) -> Profile {
        Profile {
            losses,
            ..Profile::default()
        }
    }

    fn texts(counters: &[(Loss, u64)]) -> Vec<String> {
        let losses = counters
            .iter()
            .map(|(loss, n)| (LossKey::Trace(*loss), *n))
            .collect();
        sentences(&lossy(losses))
            .into_iter()
            .map(|told| told.text)
            .collect()
    }

    /// Every counter alone gives exactly one sentence, with its number in it; but the kernel's bytes, which go with
    /// their blocks.
    #[test]
    fn every_counter_has_a_sentence() {
        for key in LossKey::all() {
            for n in [1, 7] {
                let told = sentences(&lossy(Losses::from_iter([(key, n)])));
                if key == LossKey::Kernel(KernelLoss::LiveFullBytes) {
                    assert!(told.is_empty());
                    continue;
                }
                assert_eq!(told.len(), 1, "{key:?}");
                let text = &told[0].text;
                assert!(text.contains(&n.to_string()), "{text}");
                assert!(!text.contains("  ") && !text.contains("1 blocks"), "{text}");
                assert_eq!(told[0].severity, key.severity());
            }
        }
    }

    #[test]
    fn zero_counters_are_silent() {
        assert!(texts(&Loss::ALL.map(|counter| (counter, 0))).is_empty());
        assert!(texts(&[]).is_empty());
    }

    #[test]
    fn pairs_make_one_sentence() {
        assert_eq!(
            texts(&[
                (Loss::LiveMapFullBlocks, 1_200),
                (Loss::LiveMapFullBytes, 30_000)
            ]),
            [
                "1,200 blocks (29.3 KiB in total) were not tracked, because the live block table was full (raise --max-live): \
                 the live totals are too low by at most that much"
            ]
        );
        assert_eq!(
            texts(&[(Loss::FarBlocks, 1), (Loss::FarBytes, 64)]),
            [
                "1 block (64 B in total) was not tracked, because of an address or a size beyond 128 TiB: the live totals \
                 are too low by at most that much"
            ]
        );
    }

    #[test]
    fn singular_and_plural_agree() {
        let one = texts(&[(Loss::MissedReturns, 1), (Loss::UntracedChildren, 1)]);
        assert!(one[0].starts_with("1 allocator call never") && one[0].ends_with("1 block"));
        assert_eq!(
            one[1],
            "1 process started by a traced process is not traced"
        );
        let many = texts(&[(Loss::MissedReturns, 2), (Loss::UntracedChildren, 2)]);
        assert!(many[0].starts_with("2 allocator calls never") && many[0].ends_with("2 blocks"));
        assert_eq!(
            many[1],
            "2 processes started by a traced process are not traced"
        );
    }

    #[test]
    fn only_what_unknown_blocks_may_be_is_said() {
        let own = "the allocator's own, such as the free blocks that glibc caches for a thread and frees again when the \
                   thread ends";
        let said = |heap: HeapSection, lost| {
            let losses = [
                (LossKey::Trace(Loss::UnknownFrees), 2),
                (LossKey::Trace(Loss::MissedReturns), lost),
            ];
            let mut profile = lossy(Losses::from_iter(losses));
            profile.sections.heap = Some(heap);
            sentences(&profile).pop().map(|told| told.text)
        };
        let expected = |reasons: &str| {
            Some(format!(
                "2 frees were of blocks that are not tracked: {reasons}{own}"
            ))
        };
        let from_start = || HeapSection {
            from_start: true,
            ..HeapSection::default()
        };
        assert_eq!(said(from_start(), 0), expected(""));
        assert_eq!(said(from_start(), 1), expected("lost as said above, or "));
        let mut all = HeapSection {
            sampling: Some(Sampling::default()),
            ..HeapSection::default()
        };
        all.filter.min_size = Some(64);
        assert_eq!(
            said(all, 0),
            expected("allocated before the trace, filtered out, not sampled, or ")
        );
    }
}
