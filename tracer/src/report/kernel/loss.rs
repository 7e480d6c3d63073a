//! Loss counters of a trace of the kernel's memory, as sentences.

use std::collections::BTreeMap;

use tracer_common::kernel_memory::{KernelLoss, MAX_BULK};

use crate::report::loss::{Sentence, Severity, be, told};
use crate::report::units::{bytes, count, counted};

/// A sentence for each counter that is not zero.
pub(super) fn sentences(loss: &BTreeMap<&'static str, u64>) -> Vec<Sentence> {
    told(loss, severity, sentence)
}

fn severity(counter: KernelLoss) -> Severity {
    match counter {
        _ if counter.affects_totals() => Severity::Totals,
        KernelLoss::UnknownFrees => Severity::Coverage,
        _ => Severity::Detail,
    }
}

/// The sentence of one counter; `None` where it is zero or told by the counter that it is paired with.
fn sentence(counter: KernelLoss, value: &dyn Fn(KernelLoss) -> u64) -> Option<String> {
    let n = value(counter);
    if n == 0 {
        return None;
    }
    let (what, how) = match counter {
        KernelLoss::LiveFullBytes => return None,
        KernelLoss::LiveFullBlocks => {
            let size = bytes(value(KernelLoss::LiveFullBytes));
            (
                format!("{} of {size} in all", counted(n, "block")),
                "not tracked, because the table of live blocks was full (--max-live): the live totals are too low by at most that",
            )
        }
        KernelLoss::BusyBlocks => (
            counted(n, "block"),
            "not tracked, because an interrupt came upon the table of live blocks: the live totals are too low by at most that many",
        ),
        KernelLoss::StackTableFull => (
            counted(n, "block"),
            "counted without a stack, because the table of stacks was full: the totals are right",
        ),
        KernelLoss::NoStack => (
            counted(n, "block"),
            "counted without a stack, because the kernel could not walk it: the totals are right",
        ),
        KernelLoss::MissedFrees => (
            counted(n, "block"),
            "allocated again although no release had been seen: the kernel releases some memory without telling, so the live totals may be too high",
        ),
        KernelLoss::UnknownFrees => (
            counted(n, "release"),
            "of memory that is not tracked: older than the trace, filtered, unsampled, or allocated in bulk",
        ),
        KernelLoss::CachesFull => (
            counted(n, "object"),
            "of caches beyond the table of caches: they have no name",
        ),
        KernelLoss::BulkTooLong => {
            return Some(format!(
                "{} {} released in lots of more than {} and not seen: the live totals may be too high by that many",
                counted(n, "object"),
                be(n),
                count(u64::from(MAX_BULK))
            ));
        }
        KernelLoss::NestedAllocs => (
            format!("{} in interrupts", counted(n, "allocation")),
            "not seen, because the programs were at work on that CPU: the live totals may be too low by that many blocks",
        ),
        KernelLoss::NestedFrees => (
            format!("{} in interrupts", counted(n, "release")),
            "not seen, because the programs were at work on that CPU: the live totals may be too high by that many blocks",
        ),
    };
    Some(format!("{what} {} {how}", be(n)))
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
                    counter.affects_totals()
                );
            }
        }
        assert!(sentences(&BTreeMap::from([("missed_frees", 0)])).is_empty());
    }
}
