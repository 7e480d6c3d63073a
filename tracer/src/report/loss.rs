//! Loss counters to sentences: what was lost, why, and what that does to the totals.

use std::collections::BTreeMap;

use tracer_common::counter::Counter;
use tracer_common::loss::Loss;

use super::units::{bytes, count, counted};

/// One kind of loss, in plain words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// The sentence, without a full stop.
    pub text: String,
    /// What it is about.
    pub severity: Severity,
}

/// What a loss does to a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// Totals are not exact.
    Totals,
    /// Totals are exact, but details (stacks, event lines) are missing.
    Detail,
    /// Nothing was lost: it is only said what the trace does not cover.
    Coverage,
}

/// A sentence for each counter that is not zero, in the order of [`Loss::ALL`].
///
/// A pair of counters (blocks and their bytes) makes one sentence. A counter that is not in
/// [`Loss::ALL`] is named rather than left out.
pub fn sentences(loss: &BTreeMap<&'static str, u64>) -> Vec<Sentence> {
    told(loss, severity, sentence)
}

/// Whether nothing was lost that makes totals wrong.
pub(super) fn is_exact<C: Counter>(loss: &BTreeMap<&'static str, u64>) -> bool {
    let is_lost = |counter: &C| loss.get(counter.name()).is_some_and(|count| *count > 0);
    let mut affecting = C::ALL.iter().filter(|counter| counter.affects_totals());
    !affecting.any(is_lost)
}

/// What `sentence` says of each counter, given the values of all; and counters that are none of `C`, by name.
pub(super) fn told<C: Counter>(
    loss: &BTreeMap<&'static str, u64>,
    severity: impl Fn(C) -> Severity,
    sentence: impl Fn(C, &dyn Fn(C) -> u64) -> Option<String>,
) -> Vec<Sentence> {
    let value = |counter: C| loss.get(counter.name()).copied().unwrap_or(0);
    let known = C::ALL.iter().filter_map(|counter| {
        Some(Sentence {
            text: sentence(*counter, &value)?,
            severity: severity(*counter),
        })
    });
    let is_unknown = |name: &str| !C::ALL.iter().any(|counter| counter.name() == name);
    let unknown = loss
        .iter()
        .filter(|(name, value)| **value > 0 && is_unknown(name))
        .map(|(name, value)| Sentence {
            text: format!("{name}: {}", count(*value)),
            severity: Severity::Detail,
        });
    known.chain(unknown).collect()
}

fn severity(counter: Loss) -> Severity {
    match counter {
        _ if counter.affects_totals() => Severity::Totals,
        Loss::UnknownFrees | Loss::UntracedChildren => Severity::Coverage,
        _ => Severity::Detail,
    }
}

/// The sentence of one counter; `None` where it is zero or told by the counter that it is paired with.
fn sentence(counter: Loss, value: &dyn Fn(Loss) -> u64) -> Option<String> {
    let n = value(counter);
    let text = match counter {
        Loss::LiveMapFullBlocks => {
            return untracked(
                n,
                value(Loss::LiveMapFullBytes),
                "the table of live blocks was full (--max-live)",
            );
        }
        Loss::NoMemoryBlocks => {
            return untracked(
                n,
                value(Loss::NoMemoryBytes),
                "the kernel had no memory for a table entry",
            );
        }
        Loss::LiveMapFullBytes | Loss::NoMemoryBytes => return None,
        _ if n == 0 => return None,
        Loss::StackTableFull => format!(
            "{} {} counted on the process only, because the table of stacks was full: the stacks \
             shown may hold more than is said, the totals are right",
            counted(n, "allocation"),
            be(n)
        ),
        Loss::MissedReturns => format!(
            "{} {} left without a return (longjmp, an exception or the thread's end): the totals \
             are off by at most {}",
            counted(n, "allocator call"),
            be(n),
            counted(n, "block")
        ),
        Loss::MissedFrees => format!(
            "{} {} handed out again although no free had been seen: frees are being missed, so the \
             live totals may be too high",
            counted(n, "block"),
            be(n)
        ),
        Loss::NoThreadState => format!(
            "{} {} not followed, because the kernel had no memory for the thread's state: the \
             totals are off by at most {}",
            counted(n, "allocator call"),
            be(n),
            counted(n, "block")
        ),
        Loss::UnreadableResult => format!(
            "{} of successful posix_memalign calls could not be read: the live totals are too low \
             by at most {}",
            counted(n, "result"),
            counted(n, "block")
        ),
        Loss::SpaceRingFull => format!(
            "{} {} dropped, because the ring buffer was full: what {} mapped or unmapped was found out from the maps, \
             without stacks; the totals are right",
            counted(n, "change"),
            be(n),
            if n == 1 { "it" } else { "they" }
        ),
        Loss::FaultsDropped => format!(
            "{} of the sample {} dropped, because the ring buffer was full: what is said of page faults is too low",
            counted(n, "page fault"),
            be(n)
        ),
        Loss::DiagnosticsDropped => format!(
            "{} {} dropped, because the ring buffer was full: the totals are right",
            counted(n, "diagnostic message"),
            be(n)
        ),
        Loss::RingBufferFull => format!(
            "{} {} dropped, because the ring buffer was full: the lines have gaps, the totals are \
             right",
            counted(n, "trace event"),
            be(n)
        ),
        Loss::LifecycleFull => format!(
            "{} (exec, exit, fork) {} dropped, because their ring buffer was full: a process that \
             is gone may still be counted",
            counted(n, "process event"),
            be(n)
        ),
        Loss::LostInRealloc => format!(
            "{} could not be put back when a realloc failed: the live totals are too low by {}",
            counted(n, "block"),
            if n == 1 { "that block" } else { "those blocks" }
        ),
        Loss::UnknownFrees => format!(
            "{} {} of blocks that are not tracked: older than the trace, filtered or unsampled",
            counted(n, "free"),
            be(n)
        ),
        Loss::UntracedChildren => format!(
            "{} by a traced process {} not traced",
            if n == 1 {
                "1 process started".to_owned()
            } else {
                format!("{} processes started", count(n))
            },
            if n == 1 { "is" } else { "are" }
        ),
        Loss::ProcessTableFull => format!(
            "{} {} not followed, because the table of processes was full: the totals are off by at \
             most {}",
            counted(n, "allocator call"),
            be(n),
            counted(n, "block")
        ),
    };
    Some(text)
}

/// The sentence of a pair of counters, with the bound that it puts on the live totals.
fn untracked(blocks: u64, size: u64, why: &str) -> Option<String> {
    if blocks == 0 && size == 0 {
        return None;
    }
    let all = if blocks == 1 { "" } else { " in all" };
    Some(format!(
        "{} of {}{all} {} not tracked, because {why}: the live totals are too low by at most that",
        counted(blocks, "block"),
        bytes(size),
        be(blocks)
    ))
}

/// "was" or "were".
pub(super) fn be(n: u64) -> &'static str {
    if n == 1 { "was" } else { "were" }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(counters: &[(Loss, u64)]) -> Vec<String> {
        let loss = counters.iter().map(|(loss, n)| (loss.name(), *n)).collect();
        sentences(&loss).into_iter().map(|s| s.text).collect()
    }

    /// Every counter alone gives exactly one sentence, with its number in it.
    #[test]
    fn every_counter_has_a_sentence() {
        for counter in Loss::ALL {
            let partner = match counter {
                Loss::LiveMapFullBytes => Some(Loss::LiveMapFullBlocks),
                Loss::NoMemoryBytes => Some(Loss::NoMemoryBlocks),
                _ => None,
            };
            for n in [1, 7] {
                let told = texts(&[(counter, n)]);
                assert_eq!(told.len(), 1, "{counter:?}");
                assert!(told[0].contains(&n.to_string()), "{}", told[0]);
                assert!(!told[0].contains("  ") && !told[0].contains("1 blocks"));
                if let Some(partner) = partner {
                    assert_eq!(texts(&[(partner, 2), (counter, n)]).len(), 1);
                }
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
                "1,200 blocks of 29.3 KiB in all were not tracked, because the table of live blocks \
              was full (--max-live): the live totals are too low by at most that"
            ]
        );
        assert_eq!(
            texts(&[(Loss::NoMemoryBlocks, 1), (Loss::NoMemoryBytes, 64)]),
            [
                "1 block of 64 B was not tracked, because the kernel had no memory for a table \
              entry: the live totals are too low by at most that"
            ]
        );
    }

    #[test]
    fn singular_and_plural_agree() {
        let one = texts(&[(Loss::MissedReturns, 1), (Loss::UntracedChildren, 1)]);
        assert!(one[0].starts_with("1 allocator call was left") && one[0].ends_with("1 block"));
        assert_eq!(
            one[1],
            "1 process started by a traced process is not traced"
        );
        let many = texts(&[(Loss::MissedReturns, 2), (Loss::UntracedChildren, 2)]);
        assert!(
            many[0].starts_with("2 allocator calls were left") && many[0].ends_with("2 blocks")
        );
        assert_eq!(
            many[1],
            "2 processes started by a traced process are not traced"
        );
    }

    /// The severity follows what tracer-common says about the counter.
    #[test]
    fn severity_agrees_with_the_counter() {
        for counter in Loss::ALL {
            let told = sentences(&BTreeMap::from([(counter.name(), 3)]));
            assert_eq!(
                told[0].severity == Severity::Totals || told.is_empty(),
                counter.affects_totals()
            );
        }
    }

    #[test]
    fn an_unknown_counter_is_named() {
        let told = sentences(&BTreeMap::from([("new_counter", 3)]));
        assert_eq!(told[0].text, "new_counter: 3");
    }
}
