//! What the ledger of a process shows, in sentences. Each rests on figures that the profile has.

use crate::profile::ledger::{Heap, LanguageRuntime, Ledger, Purpose, Row};
use crate::profile::{Finding, FindingKind, Measure, Profile, Subject};
use crate::words::units::{bytes, count, counted, share};

/// Sizes below this are not worth a sentence.
const NOTABLE: u64 = 8 << 20;

/// Adds what a ledger shows.
pub fn add(profile: &mut Profile) {
    let (Some(ledger), Some(process)) = (&profile.sections.ledger, profile.subjects.first()) else {
        return;
    };
    let sentences = sentences(ledger, process);
    let finding = |text| Finding {
        subject: Some(0),
        ..Finding::new(FindingKind::Ledger, text)
    };
    profile.findings.extend(sentences.into_iter().map(finding));
}

fn sentences(ledger: &Ledger, process: &Subject) -> Vec<String> {
    let mut sentences = Vec::new();
    sentences.extend(untouched(ledger));
    for heap in ledger
        .allocators
        .iter()
        .filter_map(|allocator| allocator.heap.as_ref())
    {
        sentences.extend(does_not_add_up(heap));
        sentences.extend(held_back(heap));
        sentences.extend(in_use(heap, process));
    }
    let runtimes = ledger.runtimes.iter();
    sentences.extend(runtimes.filter_map(|runtime| native_side(ledger, process, runtime)));
    sentences.extend(huge_pages(ledger, process));
    sentences.extend(swapped(process));
    sentences.extend(files(ledger, process));
    sentences
}

fn is_notable(part: u64, whole: u64) -> bool {
    part >= NOTABLE && part >= whole / 10
}

fn resident(process: &Subject) -> u64 {
    process.totals.amount(Measure::ProcessRssBytes)
}

/// How to trace who allocates in a process.
pub(super) fn trace_command(process: &Subject) -> String {
    let pid = process
        .pid
        .map_or_else(|| "PID".to_owned(), |pid| pid.to_string());
    format!("`memlens leaks -p {pid}`")
}

/// Private memory that has addresses and no pages.
fn untouched(ledger: &Ledger) -> Option<String> {
    let absent = |row: &Row| {
        let present = row.resident_bytes + row.swapped_bytes;
        row.virtual_bytes.saturating_sub(present)
    };
    let of = |is_wanted: fn(Purpose) -> bool| {
        ledger
            .rows
            .iter()
            .filter(move |row| is_wanted(row.row.kind))
    };
    let reserved: u64 = of(|kind| kind == Purpose::Reserved).map(absent).sum();
    let private: u64 = of(Purpose::is_private).map(absent).sum();
    let largest = of(Purpose::is_private).max_by_key(|row| absent(row))?;
    if private + reserved < NOTABLE {
        return None;
    }
    let most = match absent(largest) {
        part if part >= NOTABLE => format!(" ({} of it: {})", bytes(part), largest.row.words()),
        _ => String::new(),
    };
    Some(match private {
        0..NOTABLE => format!(
            "{} of address space is reserved without access: it costs nothing",
            bytes(reserved)
        ),
        _ => format!(
            "{} is reserved but not touched: it costs nothing{most}",
            bytes(private)
        ),
    })
}

/// Much of the heap makes no sense.
fn does_not_add_up(heap: &Heap) -> Option<String> {
    let sum = heap.sum();
    let is_much = sum.unknown_bytes > sum.system_bytes / 100 && sum.unknown_bytes >= 64 << 10;
    is_much.then(|| {
        format!(
            "glibc's heap does not add up: {} of {} make no sense or were not reached; it is damaged, in pieces that \
             cannot be found, or changing too fast",
            bytes(sum.unknown_bytes),
            bytes(sum.system_bytes)
        )
    })
}

/// Memory that the program has freed and the allocator keeps.
fn held_back(heap: &Heap) -> Option<String> {
    let sum = heap.sum();
    let held = sum
        .all_free_bytes()
        .saturating_sub(sum.free_untouched_bytes);
    if !is_notable(held, sum.system_bytes) {
        return None;
    }
    let trimmable = bytes(sum.trimmable_bytes);
    let return_back = match sum.trimmable_bytes >= NOTABLE.min(held / 10) {
        true => format!("malloc_trim(0) would give back at least {trimmable}"),
        false => format!(
            "malloc_trim(0) could give back {trimmable}, since blocks in use are spread over all pages"
        ),
    };
    Some(format!(
        "the allocator holds {} in memory that the program has freed: fragmentation, not a leak; {return_back}",
        bytes(held)
    ))
}

/// Most of the process is what it has allocated itself.
fn in_use(heap: &Heap, process: &Subject) -> Option<String> {
    let sum = heap.sum();
    let (mapped, mapped_bytes) = heap
        .mapped
        .map_or((0, 0), |mapped| (mapped.blocks, mapped.bytes));
    let held = sum.in_use_bytes + mapped_bytes;
    if held < NOTABLE || held < resident(process) / 2 {
        return None;
    }
    let blocks = sum.blocks + mapped;
    Some(format!(
        "the program holds {} in {}, {} on average: if that grows, {} shows who allocates it",
        bytes(held),
        counted(blocks, "block"),
        bytes(held.checked_div(blocks).unwrap_or(0)),
        trace_command(process)
    ))
}

fn native_side(ledger: &Ledger, process: &Subject, runtime: &LanguageRuntime) -> Option<String> {
    let heap = runtime.heap_resident_bytes?;
    let native = ledger.resident_bytes(Purpose::is_native);
    let resident = resident(process);
    let name = runtime.name.split([' ', ',']).next().unwrap_or_default();
    let parts = format!(
        "of {} resident, {} ({}) is {name}'s own heap and {} ({}) native",
        bytes(resident),
        bytes(heap),
        share(heap, resident),
        bytes(native),
        share(native, resident)
    );
    let is_most = native >= heap && native >= NOTABLE && native >= resident / 4;
    Some(match is_most {
        true => format!(
            "{parts}: most is on the native side; trace it with {}",
            trace_command(process)
        ),
        false => parts,
    })
}

/// What transparent huge pages cost beyond what was touched.
fn huge_pages(ledger: &Ledger, process: &Subject) -> Option<String> {
    let sample = ledger.huge_pages?;
    let huge = process.totals.amount(Measure::ProcessHugeBytes);
    let read = match sample.read {
        1 => "1 of them, which was read".to_owned(),
        read => format!("{} of them, which were read", count(read)),
    };
    is_notable(sample.zero_estimate_bytes, huge).then(|| {
        format!(
            "{} of RSS is transparent huge pages, and about {} ({}) of that is nothing but zeros, most likely never \
             touched (an estimate by {read}): MADV_NOHUGEPAGE, or max_ptes_none of khugepaged, would save it",
            bytes(huge),
            bytes(sample.zero_estimate_bytes),
            share(sample.zero_estimate_bytes, huge)
        )
    })
}

fn swapped(process: &Subject) -> Option<String> {
    let swapped = process.totals.amount(Measure::ProcessSwapBytes);
    (swapped >= NOTABLE).then(|| {
        format!(
            "{} is swapped out: it is not in RSS, and would be if it were touched",
            bytes(swapped)
        )
    })
}

/// Pages of files, which the kernel can drop.
fn files(ledger: &Ledger, process: &Subject) -> Option<String> {
    let is_file = |row: &&Row| {
        let kind = row.row.kind;
        matches!(
            kind,
            Purpose::Files | Purpose::ProgramCode | Purpose::LibraryCode
        )
    };
    let rows = ledger.rows.iter().filter(is_file);
    let size = rows
        .map(|row| row.resident_bytes.saturating_sub(row.anonymous_bytes))
        .sum();
    is_notable(size, resident(process)).then(|| {
        format!(
            "{} of RSS is pages of files: the kernel drops them when it needs the room",
            bytes(size)
        )
    })
}
