//! What follows from the figures, in sentences. Each rests on figures that the report prints.

use super::kind::Kind;
use super::value::{Explanation, Heap, HeapArena, Row, Runtime};
use crate::report::units::{bytes, count, counted, share};

/// Sizes below this are not worth a sentence.
const NOTABLE: u64 = 8 << 20;

/// Sentences on one explanation.
pub fn findings(explanation: &Explanation) -> Vec<String> {
    let mut sentences = Vec::new();
    sentences.extend(untouched(&explanation.ledger));
    for allocator in &explanation.allocators {
        if let Some(heap) = &allocator.heap {
            sentences.extend(does_not_add_up(heap));
            sentences.extend(held_back(heap));
            sentences.extend(in_use(heap, explanation));
        }
    }
    sentences.extend(
        explanation
            .runtimes
            .iter()
            .filter_map(|runtime| native_side(explanation, runtime)),
    );
    sentences.extend(huge_pages(explanation));
    sentences.extend(swapped(explanation));
    sentences.extend(files(explanation));
    sentences
}

fn is_notable(part: u64, whole: u64) -> bool {
    part >= NOTABLE && part >= whole / 10
}

fn sum(ledger: &[Row], of: impl Fn(&Row) -> bool, value: impl Fn(&Row) -> u64) -> u64 {
    ledger.iter().filter(|row| of(row)).map(value).sum()
}

/// Private memory that has addresses and no pages.
fn untouched(ledger: &[Row]) -> Option<String> {
    let absent = |row: &Row| row.virtual_size.saturating_sub(row.resident + row.swapped);
    let reserved = sum(ledger, |row| row.kind == Kind::Reserved, absent);
    let private = sum(ledger, |row| row.kind.is_private(), absent);
    let largest = ledger
        .iter()
        .filter(|row| row.kind.is_private())
        .max_by_key(|row| absent(row))?;
    if private + reserved < NOTABLE {
        return None;
    }
    let most = match absent(largest) {
        part if part >= NOTABLE => format!(" ({} of it: {})", bytes(part), largest.words()),
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
    (sum.unknown > sum.system / 100 && sum.unknown >= 64 << 10).then(|| {
        format!(
            "glibc's heap does not add up: {} of {} make no sense or were not reached; it is damaged, in pieces that \
             cannot be found, or changing too fast",
            bytes(sum.unknown),
            bytes(sum.system)
        )
    })
}

/// Memory that the program has freed and the allocator keeps.
fn held_back(heap: &Heap) -> Option<String> {
    let sum = heap.sum();
    let free = sum.all_free();
    let held = free.saturating_sub(sum.free_untouched);
    if !is_notable(held, sum.system) {
        return None;
    }
    let return_back = if sum.trimmable >= NOTABLE.min(held / 10) {
        format!(
            "malloc_trim(0) would give back at least {}",
            bytes(sum.trimmable)
        )
    } else {
        format!(
            "malloc_trim(0) could give back {}, since blocks in use are spread over all pages",
            bytes(sum.trimmable)
        )
    };
    Some(format!(
        "the allocator holds {} in memory that the program has freed: fragmentation, not a leak; {return_back}",
        bytes(held)
    ))
}

/// Most of the process is what it has allocated itself.
fn in_use(heap: &Heap, explanation: &Explanation) -> Option<String> {
    let sum: HeapArena = heap.sum();
    let mapped = heap.mapped.map_or(0, |mapped| mapped.bytes);
    let held = sum.in_use + mapped;
    if held < NOTABLE || held < explanation.totals.resident / 2 {
        return None;
    }
    let blocks = sum.blocks + heap.mapped.map_or(0, |mapped| mapped.blocks);
    let average = held.checked_div(blocks).unwrap_or(0);
    Some(format!(
        "the program holds {} in {}, {} on average: if that grows, `memlens leaks -p {}` shows who allocates it",
        bytes(held),
        counted(blocks, "block"),
        bytes(average),
        explanation.process.pid
    ))
}

/// Resident memory of a runtime's process that is not its heap.
pub fn native(explanation: &Explanation) -> u64 {
    sum(
        &explanation.ledger,
        |row| row.kind.is_native(),
        |row| row.resident,
    )
}

fn native_side(explanation: &Explanation, runtime: &Runtime) -> Option<String> {
    let heap = runtime.heap_resident?;
    let native = native(explanation);
    let resident = explanation.totals.resident;
    let name = runtime.name.split([' ', ',']).next().unwrap_or_default();
    let parts = format!(
        "of {} resident, {} ({}) is {name}'s own heap and {} ({}) native",
        bytes(resident),
        bytes(heap),
        share(heap, resident),
        bytes(native),
        share(native, resident)
    );
    if native >= heap && native >= NOTABLE && native >= resident / 4 {
        let trace = format!(
            "trace it with `memlens leaks -p {}`",
            explanation.process.pid
        );
        return Some(format!("{parts}: most is on the native side; {trace}"));
    }
    Some(parts)
}

/// What transparent huge pages cost beyond what was touched.
fn huge_pages(explanation: &Explanation) -> Option<String> {
    let sample = explanation.huge_pages?;
    let huge = explanation.totals.huge?;
    let read = match sample.read {
        1 => "1 of them, which was read".to_owned(),
        read => format!("{} of them, which were read", count(read)),
    };
    is_notable(sample.zero_estimate, huge).then(|| {
        format!(
            "{} of RSS is transparent huge pages, and about {} ({}) of that is nothing but zeros, most likely never \
             touched (an estimate by {read}): MADV_NOHUGEPAGE, or max_ptes_none of khugepaged, would save it",
            bytes(huge),
            bytes(sample.zero_estimate),
            share(sample.zero_estimate, huge)
        )
    })
}

fn swapped(explanation: &Explanation) -> Option<String> {
    let swapped = explanation.totals.swapped;
    (swapped >= NOTABLE).then(|| {
        format!(
            "{} is swapped out: it is not in RSS, and would be if it were touched",
            bytes(swapped)
        )
    })
}

/// Pages of files, which the kernel can drop.
fn files(explanation: &Explanation) -> Option<String> {
    let of_files = |row: &Row| {
        matches!(
            row.kind,
            Kind::Files | Kind::ProgramCode | Kind::LibraryCode
        )
    };
    let size = sum(&explanation.ledger, of_files, |row| {
        row.resident.saturating_sub(row.anonymous)
    });
    is_notable(size, explanation.totals.resident).then(|| {
        format!(
            "{} of RSS is pages of files: the kernel drops them when it needs the room",
            bytes(size)
        )
    })
}

/// How many thread stacks there are, in words.
pub fn stacks(explanation: &Explanation) -> Option<String> {
    explanation.stacks.map(|stacks| {
        let average = stacks.virtual_size.checked_div(stacks.count).unwrap_or(0);
        format!(
            "{} found, {} each on average, {} touched",
            counted(stacks.count, "thread stack"),
            bytes(average),
            bytes(stacks.resident)
        )
    })
}

/// The process in a few words.
pub fn subject(explanation: &Explanation) -> String {
    let process = &explanation.process;
    format!(
        "{} ({}), {}",
        process.comm,
        process.pid,
        match process.threads {
            1 => "1 thread".to_owned(),
            threads => format!("{} threads", count(threads)),
        }
    )
}
