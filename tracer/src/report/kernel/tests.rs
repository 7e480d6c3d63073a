//! A report of the kernel's memory in its dresses.

use std::time::{Duration, UNIX_EPOCH};

use jiff::tz::TimeZone;

use super::*;
use crate::report::text::TextOptions;

fn held(bytes: u64, count: u64) -> Held {
    Held {
        live_bytes: bytes,
        live_count: count,
        alloc_bytes: 4 * bytes,
        alloc_count: 4 * count,
    }
}

fn stack(kind: Kind, what: &str, function: &str, held: Held) -> KernelStack {
    KernelStack {
        kind,
        what: what.to_owned(),
        size: Some(held.live_bytes / held.live_count),
        held,
        growth: Some(192),
        oldest: Some(Duration::from_secs(3)),
        backing: None,
        truncated: None,
        frames: vec![Frame {
            address: 0xffff_ffff_8100_0000,
            symbol: Some(function.to_owned()),
            module: Some("[kernel]".into()),
            ..Frame::default()
        }],
    }
}

fn sample() -> KernelReport {
    let (files, pages) = (held(1920, 10), held(8192, 1));
    let mut under = stack(Kind::Pages, "pages of order 1", "allocate_slab", pages);
    under.backing = Some(Kind::Slab);
    KernelReport {
        time: UNIX_EPOCH,
        elapsed: Duration::from_secs(5),
        last: true,
        loss: BTreeMap::new(),
        taken_over: 0,
        notes: vec!["a note".to_owned()],
        only: None,
        older: Duration::ZERO,
        sampling: None,
        kinds: BTreeMap::from([(Kind::Slab, files), (Kind::Pages, Held::default())]),
        backing: BTreeMap::from([(Kind::Slab, pages)]),
        stacks: vec![under, stack(Kind::Slab, "filp", "alloc_empty_file", files)],
        stacks_total: 4,
        stacks_live_bytes: 1920,
        caches: vec![CacheGrowth {
            name: "filp".to_owned(),
            objects: 756,
            objects_change: 21,
            bytes: 147_456,
            bytes_change: 8192,
            held_bytes: Some(1920),
        }],
        caches_total: 1,
        grown: Some(Grown {
            bytes: 8192,
            explained: 1920,
        }),
    }
}

fn text(report: &KernelReport, width: Option<usize>) -> String {
    let options = TextOptions {
        width,
        time_zone: TimeZone::UTC,
        ..TextOptions::default()
    };
    let mut out = Vec::new();
    text::write(report, &options, &mut out).expect("a vector takes all");
    String::from_utf8(out).expect("text")
}

#[test]
fn the_text_says_what_lies_under_what() {
    let expected = "\
1970-01-01 00:00:00  kernel memory, traced for 5.0s, last report
held 1.88 KiB: slab 1.88 KiB in 10 objects, pages 0 B in 0 blocks
allocated since the start 7.50 KiB in 40, held by 4 stacks
under the slab objects lie 8 KiB of pages, which are not added

#1 8 KiB in 1 block, pages of order 1, +192 B, under slab objects, not added, oldest 3.0s
    allocate_slab  [kernel]

#2 1.88 KiB in 10 objects of 192 B, filp, +192 B, 100% of these, oldest 3.0s
    alloc_empty_file  [kernel]

2 more stacks hold memory

slab caches that have grown since the start, as the kernel counts them:
  change    bytes  objects  change of these  held by stacks  cache
  +8 KiB  144 KiB      756              +21        1.88 KiB  filp
these caches have grown by 8 KiB of slabs; the stacks of this trace hold 1.88 KiB of that (23.4%)

complete: nothing was lost
note: a note
";
    assert_eq!(text(&sample(), None), expected);
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    for width in [20, 40, 80] {
        for line in text(&sample(), Some(width)).lines() {
            assert!(line.chars().count() <= width, "{width}: {line}");
        }
    }
}

#[test]
fn a_loss_makes_the_report_incomplete() {
    let mut report = sample();
    report.loss.insert(KernelLoss::NestedFrees.name(), 2);
    let text = text(&report, None);
    assert!(text.contains("incomplete: ") && text.contains("lost: 2 releases in interrupts"));
    let mut report = sample();
    report.loss.insert(KernelLoss::UnknownFrees.name(), 2);
    assert!(report.complete());
}

/// Pages under slab objects are in the JSON, marked, and in neither the totals nor the picture.
#[test]
fn what_lies_under_other_memory_is_not_added() {
    let mut out = Vec::new();
    json::write(&sample(), &mut out).expect("a vector takes all");
    let json: serde_json::Value = serde_json::from_slice(&out).expect("JSON");
    assert_eq!(json["schema"], "memlens.kernel/1");
    assert_eq!(json["totals"]["live_bytes"], 1920);
    assert_eq!(json["backing"]["slab"]["live_bytes"], 8192);
    assert_eq!(json["stacks"][0]["backing"], "slab");
    assert_eq!(json["loss"]["nested_frees"], 0);
    let mut out = Vec::new();
    folded(&sample(), &mut out).expect("a vector takes all");
    let lines = String::from_utf8(out).expect("text");
    assert_eq!(lines, "alloc_empty_file;[filp] 1920\n");
}
