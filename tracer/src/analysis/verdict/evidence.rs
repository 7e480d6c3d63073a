//! What a profile knows of a stack, as the plain figures that its class follows from.

use std::time::Duration;

use super::class::{Evidence, Holders, Reach};
use crate::profile::{
    Form, Holder, Measure, Number, Profile, Reachability, RootKind, Sample, Values,
};

/// Part of the sampled blocks that a holder must have to be the one that holds them.
const MOST: f64 = 0.8;

/// Blocks can be told to be young only in a trace that is older.
const LONG_ENOUGH: Duration = Duration::from_secs(2);

/// What is known of a stack's memory.
pub fn of(profile: &Profile, sample: &Sample) -> Evidence {
    let real = |measure: Measure| profile.value(sample, measure).map(Number::real);
    let age = profile.whole(sample, Measure::HeapOldestMs);
    let age = age.filter(|_| profile.meta.elapsed >= LONG_ENOUGH);
    let elapsed = profile.meta.elapsed.as_secs_f64();
    Evidence {
        form: sample.course.map(|course| course.form),
        growth_low: real(Measure::HeapGrowthPerSLow),
        // A cast of a float ends at the largest number, and below zero it is zero.
        grown_bytes: real(Measure::HeapGrowthPerS).map(|growth| (growth * elapsed) as u64),
        live_bytes: profile.amount(sample, Measure::HeapLiveBytes),
        oldest: age.map(|ms| Duration::from_millis(ms.max(0).cast_unsigned())),
        reach: reach(profile, sample),
    }
}

fn reach(profile: &Profile, sample: &Sample) -> Option<Reach> {
    let amount = |measure| profile.amount(sample, measure);
    let reach = Reach {
        lost: amount(Measure::HeapLostBytes).saturating_add(amount(Measure::HeapLostWithBytes)),
        held: amount(Measure::HeapHeldBytes),
        stack_only: amount(Measure::HeapStackOnlyBytes),
        holders: holders(sample),
        is_taken_back: freed_after_lost(profile, sample) > 0,
    };
    (reach.lost > 0 || reach.held > 0 || reach.stack_only > 0).then_some(reach)
}

fn holders(sample: &Sample) -> Holders {
    match sample.holders.first() {
        None => Holders::Unknown,
        Some(first) if !is_most(first) => Holders::Many,
        Some(first) if has_name(first) => Holders::One,
        Some(_) => Holders::Nameless,
    }
}

/// Whether a holder has so many of the blocks that it alone holds them.
pub fn is_most(holder: &Holder) -> bool {
    holder.sampled > 0 && f64::from(holder.shared) >= MOST * f64::from(holder.sampled)
}

/// Whether the way begins at something that a reader finds in the source.
fn has_name(holder: &Holder) -> bool {
    let is_named = holder
        .root
        .name
        .as_ref()
        .is_some_and(|name| !name.is_empty());
    match holder.root.kind {
        RootKind::ThreadLocal | RootKind::Kernel => true,
        RootKind::Global | RootKind::Mapping | RootKind::Runtime => is_named,
        RootKind::YoungBlock
        | RootKind::OlderBlock
        | RootKind::UnknownHeap
        | RootKind::Stack
        | RootKind::Register
        | RootKind::Written => false,
    }
}

/// Blocks of a stack that an earlier report called lost and that were released since; of its process, where the stacks
/// are not told apart.
pub fn freed_after_lost(profile: &Profile, sample: &Sample) -> u64 {
    let of = |sample: &Sample| profile.whole(sample, Measure::HeapFreedAfterLostBlocks);
    if let Some(own) = of(sample) {
        return own.max(0).cast_unsigned();
    }
    let freed = of_process(profile, sample.subject).map_or(0, |reach| reach.freed_after_lost);
    let others = || {
        profile
            .samples
            .iter()
            .filter(|other| other.subject == sample.subject)
    };
    match freed > 0 && others().any(|other| of(other).is_some()) {
        true => 0,
        false => freed,
    }
}

/// What is said of how far the verdicts on a process can be relied on.
pub fn of_process(profile: &Profile, subject: u32) -> Option<&Reachability> {
    let reachability = &profile.sections.reachability;
    reachability.iter().find(|reach| reach.subject == subject)
}

/// Whether a link of the way to a stack's blocks, other than these themselves, is of a stack that grows.
pub fn growing_link<'a>(profile: &Profile, sample: &Sample, holder: &'a Holder) -> Option<&'a str> {
    let grows = |stack: u32| {
        profile.samples.iter().any(|other| {
            other.stack == Some(stack)
                && other.subject == sample.subject
                && other
                    .course
                    .is_some_and(|course| course.form == Form::Growing)
        })
    };
    let others = holder
        .links
        .iter()
        .filter(|link| link.stack.is_some() && link.stack != sample.stack);
    others
        .filter(|link| link.stack.is_some_and(grows))
        .find_map(|link| link.function.as_deref())
}

/// The figures of a sample that a verdict rests on; those of what is lost only where that has not been proven wrong.
pub fn figures(values: &Values, with_lost: bool) -> Values {
    const LOST: [Measure; 4] = [
        Measure::HeapLostBytes,
        Measure::HeapLostBlocks,
        Measure::HeapLostWithBytes,
        Measure::HeapLostWithBlocks,
    ];
    const OTHERS: [Measure; 10] = [
        Measure::HeapLiveBytes,
        Measure::HeapLiveBlocks,
        Measure::HeapGrowthPerS,
        Measure::HeapGrowthPerSLow,
        Measure::HeapGrowthPerSHigh,
        Measure::HeapOldestMs,
        Measure::HeapHeldBytes,
        Measure::HeapHeldBlocks,
        Measure::HeapStackOnlyBytes,
        Measure::HeapStackOnlyBlocks,
    ];
    let lost = LOST.into_iter().filter(|_| with_lost);
    let known = OTHERS.into_iter().chain(lost);
    known
        .filter_map(|measure| Some((measure, values.get(measure)?)))
        .collect()
}
