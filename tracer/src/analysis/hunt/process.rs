//! What was found of a process: whether it grows, and by what.

use super::cause::Cause;
use super::choose::matters;
use super::stacks::{self, Grows};
use super::{Found, machine, next, rate, rate_of};
use crate::profile::hunt::{Hunt, HuntOutcome, NextCommand, StepKind, Suspect};
use crate::profile::trend::Verdict;
use crate::profile::{FindingKind, Measure, Profile, Source};
use crate::words::units::{bytes, counted, duration, share};

/// What was found of a process.
pub(super) fn found(profile: &Profile, hunt: &Hunt, suspect: &Suspect) -> Found {
    let grows = suspect.growth.as_ref().filter(|growth| matters(growth));
    let mut found = if suspect.ended {
        ended(profile, hunt, suspect)
    } else if let Some(lost) = serious(profile).filter(|_| grows.is_none()) {
        // Blocks that are lost are so, however slowly the process grows.
        Found {
            outcome: HuntOutcome::Heap,
            text: format!("{}: {lost}", name(suspect)),
            next: next::heap(suspect.pid),
        }
    } else if grows.is_some() || has_grown(profile, suspect) {
        growing(profile, suspect)
    } else {
        not_growing(profile, hunt, suspect)
    };
    if let Some(why) = &hunt.not_traced
        && !suspect.ended
    {
        found.text = format!("{}. It was not traced: {why}", found.text);
    }
    for (text, command) in machine::beside(profile, hunt, grows) {
        found.text = format!("{}. Also, {text}", found.text);
        found.next.push(command);
    }
    found
}

/// A process in a sentence.
fn name(suspect: &Suspect) -> String {
    format!("{} ({})", suspect.command, suspect.pid)
}

/// "server (4242) grows 6.00 MiB/min (5.90 MiB to 6.10 MiB)"; where its course is no line, what it has grown by.
fn grows(profile: &Profile, suspect: &Suspect) -> String {
    let name = name(suspect);
    let certain = suspect.growth.filter(matters);
    match (certain, &profile.sections.ledger_change) {
        (Some(growth), _) => format!("{name} grows {}", rate_of(&growth)),
        (None, Some(change)) => format!(
            "{name} grew by {} in {}",
            bytes(change.resident_bytes.max(0).unsigned_abs()),
            duration(change.over)
        ),
        (None, None) => format!("{name} grows"),
    }
}

/// Whether it has grown for reasons that were seen, although the line through its memory is not one: memory and blocks
/// of a stack have grown, the blocks for certain.
fn has_grown(profile: &Profile, suspect: &Suspect) -> bool {
    let is_line = suspect
        .growth
        .is_some_and(|growth| growth.error().is_some());
    let change = profile.sections.ledger_change.as_ref();
    let grown = change.map_or(0, |change| change.resident_bytes);
    let growing = stacks::growing(profile);
    let first = growing.first().filter(|first| matters(&first.growth));
    let held = first.map_or(0, |first| {
        profile.amount(first.sample, Measure::HeapLiveBytes)
    });
    !is_line && grown > 0 && held >= grown.unsigned_abs() / 2
}

/// The text of a judgement that a stack leaks, or never shrinks.
fn serious(profile: &Profile) -> Option<&str> {
    let judged = stacks::judged(profile);
    let first = judged.first()?;
    matches!(first.kind, FindingKind::Leak | FindingKind::Collection).then_some(&first.text)
}

fn growing(profile: &Profile, suspect: &Suspect) -> Found {
    let pid = suspect.pid;
    let grows = grows(profile, suspect);
    let cause = Cause::of(profile);
    let (outcome, text, next) = match &cause {
        Cause::RuntimeHeap => (
            HuntOutcome::RuntimeHeap,
            format!("{grows}: {}", runtime(profile)),
            runtime_next(profile, pid),
        ),
        Cause::Shared => (
            HuntOutcome::Shared,
            format!("{grows}: shared memory, which stays until all who share it let go of it"),
            [next::mappings(pid), next::shared()].concat(),
        ),
        Cause::Files => (
            HuntOutcome::MappedFiles,
            format!(
                "{grows}: pages of mapped files. That is no leak: the kernel drops them when it needs the room"
            ),
            vec![next::ledger(pid)],
        ),
        Cause::Fragmentation => (
            HuntOutcome::Fragmentation,
            format!(
                "{grows}, but its blocks do not: the allocator keeps memory that the program has freed{}",
                kept_free(profile)
            ),
            vec![next::ledger(pid), next::explain(pid)],
        ),
        Cause::Heap if stacks::probes_off(profile).is_some() => (
            HuntOutcome::Heap,
            without_probes(profile, &grows),
            [vec![next::dearer(pid)], next::heap(pid)].concat(),
        ),
        Cause::Heap => (HuntOutcome::Heap, heap(profile, suspect), next::heap(pid)),
        Cause::Mapped => (
            HuntOutcome::Mappings,
            format!("{grows}: {}", mapped(profile)),
            next::mappings(pid),
        ),
        Cause::Older(row) => (
            HuntOutcome::OlderMappings,
            format!(
                "{grows}: it touches more and more of memory that it mapped before, {}",
                row.row.words()
            ),
            vec![next::explain(pid), next::ledger(pid)],
        ),
        Cause::Unknown => (
            HuntOutcome::NotExplained,
            format!("{grows}, and nothing that was seen meanwhile explains it"),
            vec![next::explain(pid), next::longer(Some(pid))],
        ),
    };
    // A judgement on a stack is worth a sentence even where the growth is elsewhere.
    let judged = serious(profile).filter(|_| !matches!(cause, Cause::Heap));
    Found {
        outcome,
        text: match judged {
            Some(judged) => format!("{text}. Beside that: {judged}"),
            None => text,
        },
        next,
    }
}

/// The heap's growth: as it is judged, else by its stacks.
fn heap(profile: &Profile, suspect: &Suspect) -> String {
    let grows = grows(profile, suspect);
    if let Some(first) = stacks::judged(profile).first() {
        return format!("{grows}: {}", first.text);
    }
    let stacks = stacks::growing(profile);
    match stacks.first() {
        Some(first) => format!(
            "{grows}, and {}: a leak, or a collection or cache that still fills",
            first_stack(profile, suspect, first)
        ),
        None if profile.has(Source::Heap) => format!(
            "{grows}: its heap, but no single stack grows for certain: {} on {} is live of what was allocated meanwhile",
            bytes(profile.totals().amount(Measure::HeapLiveBytes)),
            counted(
                profile.stacks_total(Source::Heap, Measure::HeapLiveBytes).0,
                "stack"
            )
        ),
        None => format!("{grows}: its heap, whose blocks were not traced"),
    }
}

/// The heap grows, and its probes were too dear to stay.
fn without_probes(profile: &Profile, grows: &str) -> String {
    let after = stacks::probes_off(profile).unwrap_or_default();
    format!(
        "{grows}: its heap. Its probes would have cost it more than --slowdown allows, and were removed after {}, too early \
         for a verdict on its stacks",
        duration(after)
    )
}

/// "heap stack #1 (work) accounts for it: 5.98 MiB/min (...), 3.80 MiB in 38,000 blocks so far".
fn first_stack(profile: &Profile, suspect: &Suspect, first: &Grows<'_>) -> String {
    let function = stacks::function(profile, first.sample.stack);
    let own = first.growth.per_min;
    let whole = suspect.growth.map_or(own, |growth| growth.per_min);
    let part = match own >= whole * 0.8 {
        true => "accounts for it".to_owned(),
        // A cast of a float ends at the largest number.
        false => format!(
            "is {} of that",
            share(own.max(0.0) as u64, whole.max(1.0) as u64)
        ),
    };
    format!(
        "heap stack #{} ({function}) {part}: {}, {} in {} so far",
        first.number,
        rate_of(&first.growth),
        bytes(profile.amount(first.sample, Measure::HeapLiveBytes)),
        counted(
            profile.amount(first.sample, Measure::HeapLiveBlocks),
            "block"
        )
    )
}

fn mapped(profile: &Profile) -> String {
    let first = profile.stack_samples(Source::AddressSpace).next();
    let Some(first) = first else {
        return "memory that it maps, and not for its allocator".to_owned();
    };
    format!(
        "memory that it maps, and not for its allocator: mapping stack #1 ({}) has mapped {} in {}, of which {} is in memory",
        stacks::function(profile, first.stack),
        bytes(profile.amount(first, Measure::VmMappedBytes)),
        counted(profile.amount(first, Measure::VmRanges), "range"),
        bytes(profile.amount(first, Measure::VmResidentBytes))
    )
}

/// The names of its runtimes: "the heap of its JVM".
fn runtime(profile: &Profile) -> String {
    let ledger = profile.sections.ledger.as_ref();
    let names: Vec<&str> = ledger
        .iter()
        .flat_map(|ledger| &ledger.runtimes)
        .map(|runtime| runtime.name.as_str())
        .collect();
    let native = profile
        .sections
        .ledger_change
        .as_ref()
        .map_or(0, |change| change.native_bytes);
    format!(
        "the heap of its language runtime ({}), not native memory ({}); the runtime's own tool shows what holds the objects",
        names.join(", "),
        crate::words::units::change(native)
    )
}

fn runtime_next(profile: &Profile, pid: u32) -> Vec<NextCommand> {
    let mut next = next::runtime_tools(profile, pid);
    next.push(next::ledger(pid));
    next
}

fn kept_free(profile: &Profile) -> String {
    let change = profile.sections.ledger_change.as_ref();
    let free = change.and_then(|change| change.heap_free_bytes);
    free.map_or_else(String::new, |free| {
        format!(
            " ({} more is free in its heap): fragmentation, not a leak",
            bytes(free.max(0).unsigned_abs())
        )
    })
}

fn ended(profile: &Profile, hunt: &Hunt, suspect: &Suspect) -> Found {
    let grew = match suspect.growth.as_ref().filter(|growth| matters(growth)) {
        Some(growth) => format!("until then it grew {}", rate_of(growth)),
        None => "until then no growth was certain".to_owned(),
    };
    let held = match stacks::growing(profile).first() {
        Some(first) if hunt.not_traced.is_none() => {
            format!(", and {}", first_stack(profile, suspect, first))
        }
        _ => String::new(),
    };
    Found {
        outcome: HuntOutcome::Ended,
        text: format!(
            "{} ended, or replaced its program, after {}: {grew}{held}",
            name(suspect),
            duration(hunt.took)
        ),
        next: vec![
            NextCommand::new(
                format!("memlens hunt -n {}", suspect.command),
                "the same for its successor, if there is one",
            ),
            NextCommand::new(
                "memlens leaks -- COMMAND",
                "start it under the trace: what it never frees, from its first instruction on",
            ),
        ],
    }
}

fn not_growing(profile: &Profile, hunt: &Hunt, suspect: &Suspect) -> Found {
    let name = name(suspect);
    let pid = suspect.pid;
    let watched = duration(hunt.took);
    let Some(growth) = suspect.growth.filter(|growth| growth.error().is_some()) else {
        return Found {
            outcome: HuntOutcome::TooEarly,
            text: format!(
                "it is too early to say whether {name} grows: {}",
                at_first(hunt)
            ),
            next: vec![next::longer(Some(pid)), next::ledger(pid)],
        };
    };
    let least = suspect.least_bytes_per_min;
    let seen = least.map_or_else(String::new, |least| {
        format!(
            "a growth of more than {} would have been seen",
            rate(least as f64)
        )
    });
    let no_more = format!("in {watched} {seen}");
    let (outcome, text) = match growth.verdict {
        Verdict::Growing => (
            HuntOutcome::DoesNotGrow,
            format!(
                "{name} grows {}, which is next to nothing: {no_more}",
                rate_of(&growth)
            ),
        ),
        Verdict::Shrinking => (
            HuntOutcome::DoesNotGrow,
            format!("{name} shrinks by {}: {no_more}", rate(growth.per_min)),
        ),
        Verdict::Steady => (
            HuntOutcome::DoesNotGrow,
            format!("{name} does not grow: {no_more}"),
        ),
        // What is noisier than a leak that matters hides one.
        Verdict::Unclear if least.is_some_and(|least| least as f64 <= WIDE) => (
            HuntOutcome::DoesNotGrow,
            format!("{name} does not certainly grow: {no_more}"),
        ),
        Verdict::Unclear => (
            HuntOutcome::TooEarly,
            format!("{name} goes up and down, and has no clear trend in {watched}: only {seen}"),
        ),
    };
    Found {
        outcome,
        text: format!("{text}{}", blocks_only(profile)),
        next: vec![next::longer(Some(pid)), next::ledger(pid)],
    }
}

/// What is known of a process whose memory went along no line.
fn at_first(hunt: &Hunt) -> String {
    let step = hunt.step(StepKind::Process);
    let growth = step.and_then(|step| Some((step.took, step.growth?)));
    let watched = duration(hunt.took);
    match growth.filter(|(_, growth)| matters(growth)) {
        Some((took, growth)) => format!(
            "it grew {} for {}, and went along no line in all {watched}",
            rate(growth.per_min),
            duration(took)
        ),
        None => format!("it went along no line in {watched}"),
    }
}

/// A growth in bytes per minute that should not stay hidden.
const WIDE: f64 = 16_777_216.0;

/// Resident memory stays, and yet blocks of a stack grow.
fn blocks_only(profile: &Profile) -> String {
    if let Some(first) = stacks::judged(profile).first() {
        return format!(". Of its heap: {}", first.text);
    }
    let growing = stacks::growing(profile);
    let first = growing.first().filter(|first| matters(&first.growth));
    first.map_or_else(String::new, |first| {
        format!(
            ". Blocks of heap stack #{} ({}) grow all the same, {}: they take the place of older ones, or lie in memory \
             that the heap had",
            first.number,
            stacks::function(profile, first.sample.stack),
            rate_of(&first.growth)
        )
    })
}
