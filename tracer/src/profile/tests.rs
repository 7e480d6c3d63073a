//! The profile: its JSON form, its tables, and what can be asked of it.

use std::time::Duration;

use proptest::prelude::*;

use super::query::Shown;
use super::*;

/// A process that holds these live bytes on a stack of one function each.
fn profile(holds: &[(u32, &str, u64)]) -> Profile {
    let mut build = Builder::new(Meta {
        elapsed: Duration::from_secs(5),
        ..Meta::default()
    });
    build.measures([
        Measure::HeapLiveBytes,
        Measure::HeapLiveBlocks,
        Measure::HeapOldestMs,
    ]);
    for (pid, function, bytes) in holds {
        let known = build
            .profile
            .subjects
            .iter()
            .position(|subject| subject.pid == Some(*pid));
        let subject = match known {
            Some(known) => known as u32,
            None => build.subject(Subject::process(*pid, "app")),
        };
        let values = Values::default()
            .with(Measure::HeapLiveBytes, *bytes)
            .with(Measure::HeapLiveBlocks, 1_u64)
            .with(Measure::HeapOldestMs, *bytes);
        build.profile.subjects[subject as usize].totals.add(&values);
        let module = build.module(&format!("/proc/{pid}/app"), Some("abcd"));
        let symbol = Some(build.string(function));
        let frame = Frame {
            symbol,
            module: Some(module),
            address: u64::from(*pid) << 32,
            offset: Some(16),
            ..Frame::default()
        };
        let frame = build.frame(frame);
        let stack = build.stack(vec![frame], None);
        let sample = build.sample(Source::Heap, subject, Some(stack), &values);
        build.add(sample);
    }
    build.finish()
}

fn held(profile: &Profile) -> Vec<(u64, usize)> {
    let samples = profile.samples.iter();
    samples
        .map(|sample| {
            (
                profile.amount(sample, Measure::HeapLiveBytes),
                1 + sample.also.len(),
            )
        })
        .collect()
}

#[test]
fn what_is_written_is_read_back() {
    let mut profile = profile(&[(7, "leak", 100), (8, "leak", 300)]);
    profile.samples[0].blocks = Some(vec![Block {
        address: 0xdead,
        size: 3,
        age: Duration::from_millis(9),
    }]);
    profile.samples[0].ages.add(9_000_000, 100);
    profile.sections.guard = Some(Guard {
        steps: vec![GuardStep {
            at: Duration::from_secs(1),
            pid: 7,
            command: "app".to_owned(),
            place: Place::default(),
            action: GuardAction::Sample {
                from: None,
                to: Some(4096),
            },
            hits_per_second: 1,
            cost_percent: 1.5,
            total_percent: 2.5,
            own_percent: Some(3.5),
        }],
        ..Guard::default()
    });
    profile.sections.host_wide = Some(HostWide {
        admission: Some(Admission {
            traced: 3,
            refused: vec![Refused::default()],
            ..Admission::default()
        }),
        ..HostWide::default()
    });
    let text = serde_json::to_vec(&profile).expect("serialize");
    assert_eq!(Profile::parse(&text).expect("parse"), profile);
}

#[test]
fn another_schema_is_refused_in_one_line() {
    let refused = Profile::parse(br#"{"schema": "memlens/9"}"#).expect_err("another schema");
    assert!(
        refused.contains("memlens/9") && !refused.contains('\n'),
        "{refused}"
    );
}

#[test]
fn what_a_later_version_adds_is_passed_over() {
    let mut json = serde_json::to_value(profile(&[(7, "leak", 100)])).expect("serialize");
    json["new"] = serde_json::json!({"a": 1});
    json["subjects"][0]["totals"]["heap.new_measure"] = 5.into();
    json["losses"]["new_counter"] = 7.into();
    let read = Profile::parse(json.to_string().as_bytes()).expect("parse");
    assert_eq!(read.subjects[0].totals.amount(Measure::HeapLiveBytes), 100);
}

#[test]
fn keys_of_measures_are_unique_and_read_back() {
    for measure in Measure::ALL {
        assert_eq!(Measure::from_key(measure.key()), *measure);
    }
}

#[test]
fn the_first_samples_and_the_sum_of_the_others_are_all() {
    let profile = profile(&[(7, "a", 100), (8, "b", 50), (7, "c", 25), (8, "d", 5)]);
    let top = profile.top(Shown {
        stacks: Some(1),
        ..Shown::ALL
    });
    assert_eq!(held(&top), [(100, 1)]);
    assert_eq!(
        top.stacks_total(Source::Heap, Measure::HeapLiveBytes),
        (4, 180)
    );
    assert_eq!(
        (top.stacks.len(), top.frames.len(), top.modules.len()),
        (1, 1, 1)
    );
    let each = profile.top(Shown {
        stacks: Some(2),
        per_subject: 1,
        others: None,
    });
    assert_eq!(held(&each), [(100, 1), (50, 1)]);
    assert_eq!(
        each.top(Shown {
            stacks: Some(1),
            ..Shown::ALL
        })
        .omitted,
        top.omitted
    );
}

#[test]
fn equal_stacks_of_several_processes_are_one() {
    let profile = profile(&[(7, "leak", 100), (8, "leak", 300), (8, "other", 50)]);
    let merged = profile.by_stack(Source::Heap, Measure::HeapLiveBytes);
    assert_eq!(held(&merged), [(400, 2), (50, 1)]);
    let first = &merged.samples[0];
    assert_eq!(
        merged
            .subject(first.subject)
            .and_then(|subject| subject.pid),
        Some(8)
    );
    assert_eq!(
        merged.whole(first, Measure::HeapOldestMs),
        Some(300),
        "an age does not add up"
    );
}

#[test]
fn a_difference_says_what_is_new_and_what_is_gone() {
    let before = profile(&[(7, "stays", 100), (7, "goes", 30)]);
    let after = profile(&[(9, "stays", 140), (9, "comes", 60)]);
    let changed = diff::between(&before, &after);
    let rows: Vec<_> = changed
        .samples
        .iter()
        .map(|sample| {
            let name = changed
                .frames(sample)
                .next()
                .and_then(|frame| frame.symbol.as_deref());
            (
                name.unwrap_or("?").to_owned(),
                changed.whole(sample, Measure::HeapLiveBytes),
            )
        })
        .collect();
    let expected = [("comes", 60), ("stays", 40), ("goes", -30)];
    assert_eq!(
        rows,
        expected.map(|(name, bytes)| (name.to_owned(), Some(bytes)))
    );
    assert_eq!(changed.subjects.len(), 1);
    assert_eq!(
        changed.subjects[0].totals.whole(Measure::HeapLiveBytes),
        Some(70)
    );
}

#[test]
fn groups_add_up_to_the_whole() {
    let mut profile = profile(&[(7, "a", 100), (8, "b", 50), (9, "c", 25)]);
    for (subject, unit) in
        profile
            .subjects
            .iter_mut()
            .zip(["one.service", "two.service", "one.service"])
    {
        subject.place.unit = Some(unit.to_owned());
    }
    let groups = profile.groups(Grouping::Container, &[Measure::HeapLiveBytes]);
    let rows: Vec<_> = groups
        .iter()
        .map(|group| {
            (
                group.name.as_str(),
                group.processes,
                group.totals.amount(Measure::HeapLiveBytes),
            )
        })
        .collect();
    assert_eq!(rows, [("one.service", 2, 125), ("two.service", 1, 50)]);
}

proptest! {
    #[test]
    fn ages_fall_into_the_bucket_below_their_power_of_two(milliseconds in 0_u64..1 << 40) {
        let mut ages = Ages::default();
        ages.add(milliseconds * 1_000_000, 1);
        let bucket = ages.buckets().len() - 1;
        prop_assert!(milliseconds < 1 << bucket);
        prop_assert!(bucket == 0 || milliseconds >= 1 << (bucket - 1));
    }

    #[test]
    fn a_top_keeps_every_byte(sizes in prop::collection::vec((1_u32..5, 0_u64..1 << 30), 0..40), stacks in 0_usize..50) {
        let named: Vec<(u32, String, u64)> =
            sizes.iter().enumerate().map(|(index, (pid, size))| (*pid, format!("f{index}"), *size)).collect();
        let holds: Vec<(u32, &str, u64)> = named.iter().map(|(pid, name, size)| (*pid, name.as_str(), *size)).collect();
        let profile = profile(&holds);
        let all = profile.stacks_total(Source::Heap, Measure::HeapLiveBytes);
        let top = profile.top(Shown { stacks: Some(stacks), ..Shown::ALL });
        prop_assert_eq!(top.stacks_total(Source::Heap, Measure::HeapLiveBytes), all);
    }

    /// The age by which a share had gone is one by which at least that share had, and half of it is not enough.
    #[test]
    fn ages_tell_when_most_had_gone(counts in proptest::array::uniform16(0_u64..1000), share in 0.01_f64..1.0) {
        let freed = Ages::of_lifetimes(&counts);
        let all: u64 = counts.iter().sum();
        let within = |ms: u64| -> u64 {
            let bounds = (0..15).map(|power| 16_u64 << power).chain([u64::MAX]);
            counts.iter().zip(bounds).filter(|(_, bound)| *bound <= ms).map(|(count, _)| count).sum()
        };
        match freed.gone(share) {
            Some(age) => {
                let ms = u64::try_from(age.as_millis()).expect("it fits");
                prop_assert!(within(ms) as f64 >= share * all as f64);
                prop_assert!(ms == 16 || (within(ms / 2) as f64) < share * all as f64);
            }
            None => prop_assert!(all == 0 || (within(16 << 14) as f64) < share * all as f64),
        }
    }
}

/// A line of interpreted code is the same wherever its code object lies, and another line of it is not.
#[test]
fn interpreted_code_is_compared_by_its_lines() {
    let profile = Builder::new(Meta::default()).finish();
    let frame = |address: u64, line: u32| Frame {
        kind: FrameKind::Python,
        address,
        symbol: Some("Cache.grow".into()),
        file: Some("/srv/app.py".into()),
        line: Some(line),
        ..Frame::default()
    };
    assert_eq!(profile.code(&frame(1, 7)), profile.code(&frame(2, 7)));
    assert_ne!(profile.code(&frame(1, 7)), profile.code(&frame(1, 8)));
}
