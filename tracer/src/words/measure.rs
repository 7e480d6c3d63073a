//! Amounts of what is measured, in words.

use std::time::Duration;

use super::units::{bytes, count, counted, duration};
use crate::profile::{Measure, Source, Unit};

/// An amount: "12.3 MiB live", "1,234 blocks allocated", "7 page faults".
pub fn words(measure: Measure, amount: u64) -> String {
    let what = match measure {
        Measure::HeapLiveBytes | Measure::HeapLiveBlocks => "live",
        Measure::HeapAllocBytes | Measure::HeapAllocBlocks => "allocated",
        Measure::HeapFreeBytes | Measure::HeapFreeBlocks => "freed",
        Measure::VmMappedBytes | Measure::VmRanges => "mapped",
        Measure::VmReservedBytes => "without access",
        Measure::VmResidentBytes | Measure::ProcessRssBytes => "resident",
        Measure::VmSwappedBytes => "swapped",
        Measure::VmMappedTotalBytes => "mapped since the start",
        Measure::VmUnmappedTotalBytes => "unmapped since the start",
        Measure::FaultsNewBytes => "of new memory",
        Measure::KernelLiveBytes | Measure::KernelLiveBlocks => "held",
        Measure::KernelAllocBytes | Measure::KernelAllocBlocks => "allocated",
        Measure::FaultsCount | Measure::FaultsMajor => return value(measure, amount),
        Measure::HeapChangeBytes
        | Measure::VmChangeBytes
        | Measure::FaultsChangeBytes
        | Measure::KernelChangeBytes => "more than in the last report",
        Measure::HeapLostBytes | Measure::HeapLostBlocks => "lost",
        Measure::HeapLostWithBytes | Measure::HeapLostWithBlocks => "lost with them",
        Measure::HeapHeldBytes | Measure::HeapHeldBlocks => "held",
        Measure::HeapStackOnlyBytes | Measure::HeapStackOnlyBlocks => "held by a stack only",
        Measure::HeapNotJudgedBytes | Measure::HeapNotJudgedBlocks => "not judged",
        Measure::HeapOldFreeBytes | Measure::HeapOldFreeBlocks => {
            "freed of what is older than the trace"
        }
        other => other.key(),
    };
    format!("{} {what}", value(measure, amount))
}

/// The figure without its source: "live bytes", "change bytes", "mapped bytes".
pub fn name(measure: Measure) -> String {
    let key = measure.key();
    let name = key.split_once('.').map_or(key, |(_, name)| name);
    name.replace('_', " ")
}

/// What is counted, in the plural.
pub fn noun(measure: Measure) -> &'static str {
    match (measure, measure.unit()) {
        (Measure::VmRanges, _) => "ranges",
        (Measure::FaultsCount, _) => "page faults",
        (Measure::FaultsMajor, _) => "major page faults",
        (_, Unit::Bytes) => "bytes",
        (_, Unit::BytesPerMin) => "bytes a minute",
        (_, Unit::BytesPerS) => "bytes a second",
        (_, Unit::Ms) => "milliseconds",
        (_, Unit::CountPerS) => "a second",
        (_, Unit::Count) => match measure.source() {
            Source::Heap | Source::Kernel => "blocks",
            Source::AddressSpace | Source::PageFaults | Source::Process => "",
        },
    }
}

/// An amount in its unit.
fn value(measure: Measure, amount: u64) -> String {
    match measure.unit() {
        Unit::Bytes => bytes(amount),
        Unit::BytesPerMin => format!("{}/min", bytes(amount)),
        Unit::BytesPerS => format!("{}/s", bytes(amount)),
        Unit::Ms => duration(Duration::from_millis(amount)),
        Unit::CountPerS => format!("{}/s", count(amount)),
        Unit::Count => match noun(measure) {
            "" => count(amount),
            nouns => counted(amount, nouns.trim_end_matches('s')),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_told_in_words() {
        assert_eq!(words(Measure::HeapLiveBytes, 12_884_902), "12.3 MiB live");
        assert_eq!(
            words(Measure::HeapAllocBlocks, 1_234),
            "1,234 blocks allocated"
        );
        assert_eq!(words(Measure::VmRanges, 1), "1 range mapped");
        assert_eq!(words(Measure::FaultsCount, 7), "7 page faults");
        assert_eq!(words(Measure::HeapOldestMs, 7_000), "7.0s heap.oldest_ms");
    }
}
