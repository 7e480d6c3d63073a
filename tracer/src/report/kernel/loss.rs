//! Loss counters of a trace of the kernel's memory, as sentences.

use std::collections::BTreeMap;

use tracer_common::kernel_memory::{KernelLoss, MAX_BULK};

use crate::report::loss::{Sentence, Severity};
use crate::report::units::{bytes, count, counted};

/// A sentence for each counter that is not zero.
pub(super) fn sentences(loss: &BTreeMap<&'static str, u64>) -> Vec<Sentence> {
    let value = |counter: KernelLoss| loss.get(counter.name()).copied().unwrap_or(0);
    let told = KernelLoss::ALL.iter().filter_map(|counter| {
        let text = sentence(*counter, &value)?;
        Some(Sentence {
            text,
            severity: severity(*counter),
        })
    });
    told.collect()
}

fn severity(counter: KernelLoss) -> Severity {
    match counter {
        _ if counter.spoils_totals() => Severity::Totals,
        KernelLoss::UnknownFrees => Severity::Coverage,
        _ => Severity::Detail,
    }
}

/// The sentence of one counter; `None` where it is zero or told by the counter that it is paired with.
fn sentence(counter: KernelLoss, value: &impl Fn(KernelLoss) -> u64) -> Option<String> {
    let n = value(counter);
    let be = if n == 1 { "was" } else { "were" };
    if n == 0 {
        return None;
    }
    let text = match counter {
        KernelLoss::LiveFullBlocks => format!(
            "{} of {} in all {be} not tracked, because the table of live blocks was full (--max-live): the live totals are too low by at most that",
            counted(n, "block"),
            bytes(value(KernelLoss::LiveFullBytes))
        ),
        KernelLoss::LiveFullBytes => return None,
        KernelLoss::BusyBlocks => format!(
            "{} {be} not tracked, because an interrupt came upon the table of live blocks: the live totals are too low by at most that many",
            counted(n, "block")
        ),
        KernelLoss::StackTableFull => format!(
            "{} {be} counted without a stack, because the table of stacks was full: the totals are right",
            counted(n, "block")
        ),
        KernelLoss::NoStack => format!(
            "{} {be} counted without a stack, because the kernel could not walk it: the totals are right",
            counted(n, "block")
        ),
        KernelLoss::MissedFrees => format!(
            "{} {be} allocated again although no release had been seen: the kernel releases some memory without telling, so the live totals may be too high",
            counted(n, "block")
        ),
        KernelLoss::UnknownFrees => format!(
            "{} {be} of memory that is not tracked: older than the trace, filtered, unsampled, or allocated in bulk",
            counted(n, "release")
        ),
        KernelLoss::CachesFull => format!(
            "{} {be} of caches beyond the table of caches: they have no name",
            counted(n, "object")
        ),
        KernelLoss::BulkTooLong => format!(
            "{} {be} released in lots of more than {} and not seen: the live totals may be too high by that many",
            counted(n, "object"),
            count(u64::from(MAX_BULK))
        ),
        KernelLoss::NestedAllocs => format!(
            "{} in interrupts {be} not seen, because the programs were at work on that CPU: the live totals may be too low by that many blocks",
            counted(n, "allocation")
        ),
        KernelLoss::NestedFrees => format!(
            "{} in interrupts {be} not seen, because the programs were at work on that CPU: the live totals may be too high by that many blocks",
            counted(n, "release")
        ),
    };
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every counter alone gives one sentence with its number in it, but the bytes, which go with their blocks.
    #[test]
    fn every_counter_has_a_sentence() {
        for counter in KernelLoss::ALL {
            for n in [1, 7] {
                let told = sentences(&BTreeMap::from([(counter.name(), n)]));
                if counter == KernelLoss::LiveFullBytes {
                    assert!(told.is_empty());
                    continue;
                }
                assert_eq!(told.len(), 1, "{counter:?}");
                assert!(told[0].text.starts_with(&n.to_string()), "{}", told[0].text);
                assert_eq!(
                    told[0].severity == Severity::Totals,
                    counter.spoils_totals()
                );
            }
        }
        assert!(sentences(&BTreeMap::from([("missed_frees", 0)])).is_empty());
    }
}
