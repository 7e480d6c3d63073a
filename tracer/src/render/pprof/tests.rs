//! What a pprof profile must hold whatever it is made of.

use std::collections::HashSet;

use super::*;
use crate::profile::{Builder, Frame, Meta, Subject, Values, diff};

/// One process with an inlined function, and so many live bytes.
fn profile(live: u64) -> Profile {
    let mut build = Builder::new(Meta::default());
    build.measures(Measure::of(Source::Heap));
    let subject = build.subject(Subject::process(42, "app"));
    let library = build.module("/lib/libc.so.6", Some("cafe"));
    let program = build.module("/usr/bin/app", Some("beef"));
    let frames = [
        (library, "malloc", 0x100, false),
        (program, "inner", 0x2000, true),
        (program, "outer", 0x2000, false),
        (program, "main", 0x3000, false),
    ];
    let frames = frames.map(|(module, symbol, offset, inlined)| {
        build.frame(Frame {
            symbol: Some(symbol.into()),
            module: Some(module),
            address: 0x5555_0000 + offset,
            module_offset: Some(offset),
            line: Some(7),
            inlined,
            ..Frame::default()
        })
    });
    let stack = build.stack(frames.to_vec(), None);
    let values = Values::default()
        .with(Measure::HeapLiveBytes, live)
        .with(Measure::HeapLiveBlocks, 2_u64)
        .with(Measure::HeapAllocBytes, 900_u64)
        .with(Measure::HeapAllocBlocks, 9_u64);
    let sample = build.sample(Source::Heap, subject, Some(stack), &values);
    build.add(sample);
    build.finish()
}

fn text(proto: &proto::Profile, index: i64) -> &str {
    &proto.string_table[usize::try_from(index).expect("an index")]
}

#[test]
fn a_heap_looks_like_that_of_go() {
    let proto = encoded(&profile(500));
    let types: Vec<(&str, &str)> = proto
        .sample_type
        .iter()
        .map(|of| (text(&proto, of.r#type), text(&proto, of.unit)))
        .collect();
    let expected = [
        ("alloc_objects", "count"),
        ("alloc_space", "bytes"),
        ("inuse_objects", "count"),
        ("inuse_space", "bytes"),
    ];
    assert_eq!(types, expected);
    assert_eq!(text(&proto, proto.default_sample_type), "inuse_space");
    assert_eq!(proto.sample[0].value, [9, 900, 2, 500]);
    let labels: Vec<(&str, &str, i64)> = proto.sample[0]
        .label
        .iter()
        .map(|label| (text(&proto, label.key), text(&proto, label.str), label.num))
        .collect();
    assert_eq!(labels, [("comm", "app", 0), ("pid", "", 42)]);
}

#[test]
fn inlined_functions_share_the_location_of_their_address() {
    let proto = encoded(&profile(500));
    let lines: Vec<Vec<&str>> = proto
        .location
        .iter()
        .map(|location| {
            let functions = location.line.iter();
            let function = |line: &proto::Line| &proto.function[line.function_id as usize - 1];
            functions
                .map(|line| text(&proto, function(line).name))
                .collect()
        })
        .collect();
    assert_eq!(
        lines,
        [vec!["malloc"], vec!["inner", "outer"], vec!["main"]]
    );
    // The main program is the first mapping, whatever comes first in the stacks.
    let main = &proto.mapping[0];
    assert_eq!(
        (text(&proto, main.filename), text(&proto, main.build_id)),
        ("/usr/bin/app", "beef")
    );
    assert!(
        main.has_functions
            && main.has_line_numbers
            && main.has_inline_frames
            && !main.has_filenames
    );
    assert!(proto.location.iter().all(|location| {
        let mapping = &proto.mapping[location.mapping_id as usize - 1];
        (mapping.memory_start..mapping.memory_limit).contains(&location.address)
    }));
    let system_names: HashSet<i64> = proto
        .function
        .iter()
        .map(|function| function.system_name)
        .collect();
    assert_eq!(
        system_names,
        HashSet::from([0]),
        "pprof would cut the names"
    );
}

#[test]
fn a_difference_has_its_base() {
    let proto = encoded(&diff::between(&profile(200), &profile(500)));
    let samples: Vec<(i64, bool)> = proto
        .sample
        .iter()
        .map(|sample| {
            let mut labels = sample.label.iter();
            let is_base = labels
                .any(|label| text(&proto, label.key) == BASE && text(&proto, label.str) == "true");
            (sample.value[3], is_base)
        })
        .collect();
    assert_eq!(samples, [(500, false), (-200, true)]);
}
