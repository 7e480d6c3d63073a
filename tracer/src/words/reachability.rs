//! What reachability says, in words: of a stack's blocks, and of how far that can be relied on.

use super::names;
use super::units::{bytes, count, counted, duration, plural};
use crate::profile::{Measure, Profile, Reachability, Sample};

/// What a stack's blocks are: "9,790 lost, 10 not judged"; `None` where none was judged. Whether it was proven that
/// what is called lost is not is for the caller to say.
pub fn classes(profile: &Profile, sample: &Sample, is_taken_back: bool) -> Option<String> {
    let lost = if is_taken_back { "called lost" } else { "lost" };
    let each = [
        (Measure::HeapLostBlocks, lost),
        (Measure::HeapLostWithBlocks, "lost with them"),
        (Measure::HeapHeldBlocks, "held"),
        (
            Measure::HeapStackOnlyBlocks,
            "held by a stack or a register only",
        ),
    ];
    let told = |(measure, words): (Measure, &str)| {
        let blocks = profile.amount(sample, measure);
        (blocks > 0).then(|| format!("{} {words}", count(blocks)))
    };
    let mut parts: Vec<String> = each.into_iter().filter_map(told).collect();
    if parts.is_empty() {
        return None;
    }
    parts.extend(told((Measure::HeapNotJudgedBlocks, "not judged")));
    Some(parts.join(", "))
}

/// The way that most of a stack's blocks are held by; `None` where that is not known.
pub fn holder(profile: &Profile, sample: &Sample) -> Option<String> {
    let first = sample.holders.first()?;
    let amount = |measure| profile.amount(sample, measure);
    let others =
        amount(Measure::HeapLostBlocks).saturating_add(amount(Measure::HeapLostWithBlocks));
    Some(match first.shared >= first.sampled {
        true if others == 0 => format!("all held: {}", first.text),
        true => format!("held: {}", first.text),
        false => format!(
            "{} of {} held: {}",
            count(first.shared.into()),
            counted(first.sampled.into(), "block"),
            first.text
        ),
    })
}

/// How far what is said of the processes can be relied on.
pub fn sentences(profile: &Profile) -> Vec<String> {
    let of_all = profile.sections.reachability.iter();
    of_all
        .flat_map(|reach| of_process(profile, reach))
        .collect()
}

fn of_process(profile: &Profile, reach: &Reachability) -> Vec<String> {
    let of = match profile.is_of_many() {
        true => format!(" of {}", names::subject_at(profile, reach.subject)),
        false => String::new(),
    };
    if reach.passes == 0 {
        let limits = reach.limits.iter();
        return limits
            .map(|why| format!("reachability{of}: {why}"))
            .collect();
    }
    let passes = u64::from(reach.passes);
    let mut text = format!(
        "reachability{of}: {} {} in {}, {}, {} read",
        count(passes),
        plural(passes, "pass", "passes"),
        duration(reach.took),
        counted(reach.blocks_judged, "block"),
        bytes(reach.bytes_read)
    );
    let mut add = |clause: String| text = format!("{text}; {clause}");
    if reach.bytes_unread > 0 {
        add(format!("{} not read", bytes(reach.bytes_unread)));
    }
    match u64::from(reach.quiet_passes) {
        0 if passes == 1 => {}
        0 => add("the last pass rescued some".to_owned()),
        1 => add("the last pass rescued none".to_owned()),
        quiet => add(format!("the last {} passes rescued none", count(quiet))),
    }
    if reach.lost_before > 0 {
        add(format!(
            "{} of {} called lost earlier {} freed since",
            count(reach.freed_after_lost),
            counted(reach.lost_before, "block"),
            plural(reach.freed_after_lost, "was", "were")
        ));
    }
    if reach.estimated_false >= 0.5 {
        let blocks = reach.estimated_false.round() as u64;
        add(format!(
            "by how the passes went, about {} called lost {} not",
            counted(blocks, "block"),
            plural(blocks, "is", "are")
        ));
    }
    if reach.unknown_holder_bytes > 0 {
        add(format!(
            "{} only memory of unknown content holds",
            bytes(reach.unknown_holder_bytes)
        ));
    }
    let limits = reach
        .limits
        .iter()
        .map(|limit| format!("not seen: {limit}"));
    std::iter::once(text).chain(limits).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::profile::{Builder, Holder, Meta, Source, Subject, Values};

    fn reach() -> Reachability {
        Reachability {
            passes: 7,
            quiet_passes: 3,
            took: Duration::from_millis(1_250),
            blocks_judged: 4_019_510,
            bytes_read: 1_181_116_007,
            lost_before: 312,
            ..Reachability::default()
        }
    }

    fn said(of: &[Reachability], processes: u32) -> Vec<String> {
        let mut build = Builder::new(Meta::default());
        for pid in 0..processes {
            build.subject(Subject::process(pid, "app"));
        }
        build.profile.sections.reachability = of.to_vec();
        sentences(&build.finish())
    }

    #[test]
    fn how_far_it_can_be_relied_on_is_one_line() {
        assert_eq!(
            said(&[reach()], 1),
            [
                "reachability: 7 passes in 1.2s, 4,019,510 blocks, 1.10 GiB read; the last 3 passes rescued none; 0 of 312 \
                 blocks called lost earlier were freed since"
            ]
        );
        let unsure = Reachability {
            subject: 1,
            passes: 1,
            quiet_passes: 0,
            bytes_unread: 4_096,
            lost_before: 0,
            estimated_false: 1.4,
            unknown_holder_bytes: 2_048,
            limits: vec!["registers of thread 7".to_owned()],
            ..reach()
        };
        assert_eq!(
            said(&[unsure], 2),
            [
                "reachability of app (1): 1 pass in 1.2s, 4,019,510 blocks, 1.10 GiB read; 4 KiB not read; by how the passes went, about 1 block called lost is not; 2 KiB only memory of unknown \
                 content holds",
                "not seen: registers of thread 7"
            ]
        );
    }

    #[test]
    fn what_blocks_are_is_told_where_they_were_judged() {
        let mut build = Builder::new(Meta::default());
        build.measures(Measure::of(Source::Heap));
        build.subject(Subject::process(7, "app"));
        let unjudged = Values::default().with(Measure::HeapNotJudgedBlocks, 10_u64);
        let none = build.sample(Source::Heap, 0, None, &unjudged);
        let lost = build.sample(
            Source::Heap,
            0,
            None,
            &unjudged.with(Measure::HeapLostBlocks, 9_790_u64),
        );
        let held = Values::default().with(Measure::HeapHeldBlocks, 100_u64);
        let mut held = build.sample(Source::Heap, 0, None, &held);
        held.holders.push(Holder {
            sampled: 100,
            shared: 100,
            root: Default::default(),
            links: Vec::new(),
            more_links: 0,
            text: "global sessions in app -> 32 B (insert)".to_owned(),
        });
        let profile = build.finish();
        assert_eq!(classes(&profile, &none, false), None);
        assert_eq!(
            classes(&profile, &lost, false).as_deref(),
            Some("9,790 lost, 10 not judged")
        );
        assert_eq!(
            classes(&profile, &lost, true).as_deref(),
            Some("9,790 called lost, 10 not judged")
        );
        assert_eq!(holder(&profile, &lost), None);
        assert_eq!(
            holder(&profile, &held).as_deref(),
            Some("all held: global sessions in app -> 32 B (insert)")
        );
        held.holders[0].shared = 12;
        assert_eq!(
            holder(&profile, &held).as_deref(),
            Some("12 of 100 blocks held: global sessions in app -> 32 B (insert)")
        );
    }
}
