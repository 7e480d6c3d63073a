//! The outputs of `memlens explain`, against golden files, and what follows from the figures.

#[path = "samples/golden.rs"]
mod golden;

#[path = "samples/keys.rs"]
mod keys;

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use memlens::analysis::change::{self, CompareError};
use memlens::analysis::growth::{self, MappedRange, Seen};
use memlens::analysis::ledger;
use memlens::process::pagemap::Region;
use memlens::profile::ledger::{
    Allocator, Arena, Heap, LanguageRuntime, Ledger, MappedBlocks, PublishedFigure, Purpose, Range,
    Row, RowName, RssGrowth, ThreadStacks,
};
use memlens::profile::{Builder, Frame, Measure, Meta, Omitted, Profile, Source, Subject, Values};
use memlens::render::{Format, Options};

use keys::{documented, json_part, keys_of};

const MIB: u64 = 1 << 20;

fn row(kind: Purpose, virtual_bytes: u64, resident_bytes: u64, mappings: u64) -> Row {
    let is_anonymous = kind <= Purpose::LibraryData;
    Row {
        row: kind.into(),
        mappings,
        virtual_bytes,
        resident_bytes,
        proportional_bytes: resident_bytes,
        anonymous_bytes: if is_anonymous { resident_bytes } else { 0 },
        swapped_bytes: 0,
        huge_bytes: 0,
    }
}

/// A profile whose total is the sum of its rows.
fn profile(rows: Vec<Row>, allocators: Vec<Allocator>, runtimes: Vec<LanguageRuntime>) -> Profile {
    let sum = |value: fn(&Row) -> u64| rows.iter().map(value).sum::<u64>();
    let totals = Values::default()
        .with(Measure::ProcessRssBytes, sum(|row| row.resident_bytes))
        .with(Measure::ProcessVirtualBytes, sum(|row| row.virtual_bytes))
        .with(Measure::ProcessPssBytes, sum(|row| row.proportional_bytes))
        .with(
            Measure::ProcessAnonymousBytes,
            sum(|row| row.anonymous_bytes),
        )
        .with(Measure::ProcessSwapBytes, sum(|row| row.swapped_bytes))
        .with(Measure::ProcessHugeBytes, sum(|row| row.huge_bytes))
        .with(Measure::ProcessHugetlbBytes, 0_u64)
        .with(Measure::ProcessPageTableBytes, 3 * MIB)
        .with(Measure::ProcessThreads, 9_u64);
    let mut profile = Profile {
        meta: Meta {
            time: Timestamp::from_millisecond(1_795_000_000_250).expect("a time"),
            host: "web-1".to_owned(),
            kernel: "6.18.0".to_owned(),
            version: "0.1.0".to_owned(),
            ..Meta::default()
        },
        subjects: vec![Subject {
            totals,
            ..Subject::process(4242, "api-server")
        }],
        ..Profile::default()
    };
    profile.sections.ledger = Some(Ledger {
        executable: Some("/usr/bin/api-server".to_owned()),
        start_ticks: 99_000,
        rows,
        allocators,
        runtimes,
        ..Ledger::default()
    });
    profile
}

fn ledger_of(profile: &mut Profile) -> &mut Ledger {
    profile.sections.ledger.as_mut().expect("a ledger")
}

/// The profile with what follows from it, as for a real one.
fn concluded(mut profile: Profile) -> Profile {
    ledger::add(&mut profile);
    profile
}

fn arena(main: bool, in_use: u64, free: u64, free_untouched: u64, trimmable: u64) -> Arena {
    Arena {
        main,
        threads: 1,
        pieces: 1,
        system_bytes: in_use + free + 4096,
        in_use_bytes: in_use,
        blocks: in_use / 100,
        top_bytes: 4096,
        free_bytes: free,
        free_untouched_bytes: free_untouched,
        trimmable_bytes: trimmable,
        largest_free_bytes: vec![free / 2, free / 4],
        ..Arena::default()
    }
}

/// A server with a fragmented heap of several arenas, thread stacks, and a mapping that was swapped out.
fn server() -> Profile {
    let mut swapped = row(Purpose::Anonymous, 64 * MIB, 20 * MIB, 3);
    swapped.swapped_bytes = 40 * MIB;
    swapped.huge_bytes = 2 * MIB;
    let rows = vec![
        row(Purpose::BrkHeap, 700 * MIB, 690 * MIB, 1),
        row(Purpose::GlibcArenas, 128 * MIB, 100 * MIB, 4),
        row(Purpose::GlibcMapped, 512 * MIB, 4096, 2),
        row(Purpose::MainStack, MIB, 64 << 10, 1),
        row(Purpose::ThreadStacks, 64 * MIB, 512 << 10, 8),
        swapped,
        row(Purpose::ProgramCode, 10 * MIB, 6 * MIB, 4),
        row(Purpose::LibraryCode, 20 * MIB, 9 * MIB, 40),
        row(Purpose::Reserved, 900 * MIB, 0, 9),
    ];
    let second = Arena {
        thread_cached_bytes: 1 << 15,
        fast_bytes: 1 << 14,
        unknown_bytes: 2 * MIB,
        trouble: Some("0x7f2000001000 is a chunk of an impossible size".to_owned()),
        ..arena(false, 60 * MIB, 30 * MIB, 0, 0)
    };
    let heap = Heap {
        arenas: vec![arena(true, 90 * MIB, 600 * MIB, 8 * MIB, 550 * MIB), second],
        mapped: Some(MappedBlocks {
            blocks: 2,
            bytes: 512 * MIB,
        }),
        thread_caches: 9,
        lists_cut: true,
    };
    let glibc = Allocator {
        name: "glibc".to_owned(),
        file: "/usr/lib/x86_64-linux-gnu/libc.so.6".to_owned(),
        heap: Some(heap),
        ..Allocator::default()
    };
    let mut server = profile(rows, vec![glibc], Vec::new());
    ledger_of(&mut server).stacks = Some(ThreadStacks {
        count: 8,
        virtual_bytes: 64 * MIB,
        resident_bytes: 512 << 10,
    });
    ledger_of(&mut server).unaccounted_bytes = -8192;
    server.notes.push(
        "this note is long enough to need a second line in a narrow terminal, and says nothing"
            .to_owned(),
    );
    concluded(server)
}

/// A program with a runtime, whose native side has grown to this.
fn managed(native: u64, heap: u64) -> Profile {
    let v8 = RowName {
        kind: Purpose::RuntimeHeap,
        name: Some("V8 heap".to_owned()),
    };
    let rows = vec![
        Row {
            row: v8,
            ..row(Purpose::RuntimeHeap, 80 * MIB, heap, 200)
        },
        row(Purpose::GlibcMapped, native, native, 12),
        row(Purpose::ProgramCode, 80 * MIB, 30 * MIB, 7),
    ];
    let runtime = LanguageRuntime {
        name: "V8".to_owned(),
        heap_resident_bytes: Some(heap),
        objects_bytes: Some(heap - MIB),
        figures: vec![PublishedFigure::new("heap committed", heap)],
        unreadable: None,
    };
    let jemalloc = Allocator {
        name: "jemalloc".to_owned(),
        file: "/usr/lib/libjemalloc.so.2".to_owned(),
        heap: None,
        figures: vec![PublishedFigure::new("taken from the kernel", 3 * MIB)],
        unreadable: Some("not readable, because of a reason".to_owned()),
    };
    profile(rows, vec![jemalloc], vec![runtime])
}

/// What everybody may know.
fn coarse() -> Profile {
    let mut coarse = profile(
        vec![
            row(Purpose::Anonymous, 0, 30 * MIB, 0),
            row(Purpose::Shared, 0, 2 * MIB, 0),
            row(Purpose::Files, 0, 9 * MIB, 0),
        ],
        Vec::new(),
        Vec::new(),
    );
    let totals = &mut coarse.subjects[0].totals;
    totals.set(Measure::ProcessVirtualBytes, 90 * MIB);
    totals.set(Measure::ProcessPssBytes, 0_u64);
    coarse.notes.push("run as root for more".to_owned());
    concluded(coarse)
}

fn grown() -> Profile {
    let (before, mut after) = (managed(50 * MIB, 40 * MIB), managed(150 * MIB, 45 * MIB));
    after.meta.time += Duration::from_millis(61_500);
    change::add(&before, &mut after).expect("one process");
    concluded(after)
}

/// What a trace saw: blocks on two stacks and three more, and two ranges.
fn seen() -> Seen {
    let mut trace = Builder::new(Meta::default());
    trace.measures([Measure::HeapLiveBytes, Measure::HeapLiveBlocks]);
    let live = |bytes: u64, blocks: u64| {
        Values::default()
            .with(Measure::HeapLiveBytes, bytes)
            .with(Measure::HeapLiveBlocks, blocks)
    };
    let module = trace.module("/usr/bin/api-server", None);
    let frame = |trace: &mut Builder, address, symbol: &str| {
        let symbol = Some(trace.string(symbol));
        trace.frame(Frame {
            address,
            symbol,
            offset: Some(0x12),
            module: Some(module),
            module_offset: Some(0x1012),
            ..Frame::default()
        })
    };
    let stack = |trace: &mut Builder, symbol| {
        let frames = vec![
            frame(trace, 0x40_1012, symbol),
            frame(trace, 0x40_2012, "main"),
        ];
        trace.stack(frames, None)
    };
    trace.subject(Subject {
        totals: live(99 * MIB, 1_234),
        ..Subject::process(4242, "api-server")
    });
    let keep = stack(&mut trace, "keep_request");
    let log = stack(&mut trace, "log_line");
    let map = stack(&mut trace, "map_file");
    for (stack, bytes, blocks) in [(keep, 90 * MIB, 1_000), (log, 9 * MIB, 234)] {
        let sample = trace.sample(Source::Heap, 0, Some(stack), &live(bytes, blocks));
        trace.add(sample);
    }
    trace.profile.omitted.push(Omitted {
        source: Source::Heap,
        subject: 0,
        with_stack: true,
        samples: 3,
        values: Values::default(),
    });
    let range = |start, end, stack| MappedRange {
        start: AT + start * MIB,
        end: AT + end * MIB,
        stack,
    };
    Seen {
        trace: trace.finish(),
        ranges: Some(vec![range(0, 100, keep), range(100, 112, map)]),
        not_seen: vec!["3 events were lost".to_owned()],
    }
}

/// Where the ranges lie.
const AT: u64 = 0x7f00_0000_0000;

/// The same, traced meanwhile: blocks, a mapping of the program's own, and pages of the runtime's heap.
fn traced() -> Profile {
    let before = managed(50 * MIB, 40 * MIB);
    let mut after = concluded(managed(150 * MIB, 45 * MIB));
    after.meta.time += Duration::from_secs(30);
    let totals = &mut after.subjects[0].totals;
    totals.set(Measure::ProcessRssBytes, 228 * MIB + 8192);
    let ledger = ledger_of(&mut after);
    ledger.unaccounted_bytes = 8192;
    ledger
        .rows
        .push(row(Purpose::Anonymous, 12 * MIB, 3 * MIB, 1));
    ledger.ranges = vec![
        Range::new(AT, AT + 100 * MIB, Purpose::GlibcMapped),
        Range::new(AT + 100 * MIB, AT + 112 * MIB, Purpose::Anonymous),
    ];
    let touched = [Region {
        start: AT,
        end: AT + 103 * MIB,
        swapped: false,
    }];
    change::add(&before, &mut after).expect("one process");
    growth::add(&before, after, &seen(), &touched, 10)
}

fn growth_of(profile: &Profile) -> &RssGrowth {
    profile.sections.growth.as_ref().expect("traced")
}

fn rendered(profile: &Profile, format: Format, width: Option<usize>) -> String {
    let options = Options {
        width,
        time_zone: TimeZone::UTC,
        ..Options::default()
    };
    let mut out = Vec::new();
    let renderer = format.renderer();
    renderer
        .render(profile, &options, &mut out)
        .expect("a vector takes all");
    String::from_utf8(out).expect("text")
}

#[test]
fn profiles_are_as_blessed() {
    let cases = [
        ("server", server()),
        ("managed", grown()),
        ("traced", traced()),
        ("coarse", coarse()),
    ];
    let mut files = Vec::new();
    for (name, profile) in &cases {
        for (suffix, width) in [("", None), ("_80", Some(80)), ("_50", Some(50))] {
            let text = rendered(profile, Format::Text, width);
            if let Some(width) = width {
                let widest = text.lines().map(|line| line.chars().count()).max();
                assert!(
                    widest <= Some(width),
                    "{name}: a line of {widest:?} columns"
                );
            }
            files.push((format!("{name}{suffix}.txt"), text));
        }
        files.push((
            format!("{name}.json"),
            rendered(profile, Format::Json, None),
        ));
    }
    golden::check_folder("explain", files);
}

#[test]
fn what_is_written_reads_back() {
    for mut profile in [server(), grown(), traced(), coarse()] {
        let line = rendered(&profile, Format::Json, None);
        let read = Profile::parse(line.as_bytes()).expect("a profile");
        // Which part of the address space belongs to which row is not written.
        ledger_of(&mut profile).ranges.clear();
        assert_eq!(read, profile);
    }
}

/// A profile that was read back is compared like one that was never written.
#[test]
fn changes_are_found_after_a_detour_over_json() {
    let line = rendered(&managed(50 * MIB, 40 * MIB), Format::Json, None);
    let before = Profile::parse(line.as_bytes()).expect("a profile");
    let mut after = managed(150 * MIB, 45 * MIB);
    after.meta.time += Duration::from_millis(61_500);
    change::add(&before, &mut after).expect("one process");
    assert_eq!(after.sections.ledger_change, grown().sections.ledger_change);
}

#[test]
fn two_processes_are_not_compared() {
    let before = server();
    let mut after = server();
    ledger_of(&mut after).start_ticks += 1;
    let error = change::add(&before, &mut after).expect_err("another one");
    assert!(
        error
            .to_string()
            .starts_with("it is about api-server (4242)"),
        "{error}"
    );
    assert_eq!(
        change::add(&Profile::default(), &mut after),
        Err(CompareError::NoLedger)
    );
}

/// The parts of the growth add up to it.
#[test]
fn the_parts_are_the_growth() {
    let profile = traced();
    let growth = growth_of(&profile);
    let change = profile.sections.ledger_change.as_ref().expect("compared");
    assert_eq!(growth.resident_bytes, change.resident_bytes);
    assert_eq!(growth.heap_bytes, 100 << 20);
    assert_eq!(growth.mapped_bytes, Some(3 << 20));
    let sum = growth.heap_bytes + growth.mapped_bytes.unwrap_or(0) + growth.older_bytes;
    assert_eq!(sum, growth.resident_bytes);
    assert!(says(
        &profile,
        "100 MiB is the heap's: 99 MiB in 1,234 blocks"
    ));
    assert!(says(&profile, "90.9% of it on heap stack #1"));
}

fn says(profile: &Profile, words: &str) -> bool {
    profile
        .findings
        .iter()
        .any(|finding| finding.text.contains(words))
}

/// Sentences come and go with the figures that they rest on.
#[test]
fn sentences_rest_on_figures() {
    let server = server();
    assert!(says(
        &server,
        "fragmentation, not a leak; malloc_trim(0) would give back at least 550 MiB"
    ));
    assert!(says(
        &server,
        "reserved but not touched: it costs nothing (512 MiB of it"
    ));
    assert!(says(&server, "40 MiB is swapped out"));
    let native = concluded(managed(150 * MIB, 45 * MIB));
    assert!(says(&native, "most is on the native side"));
    let own = concluded(managed(10 * MIB, 60 * MIB));
    assert!(
        !says(&own, "most is on the native side") && says(&own, "60 MiB (60.0%) is V8's own heap")
    );
    assert!(!says(&coarse(), "touched"));
}

/// Every key of the sections is in the document, and nothing else.
#[test]
fn keys_are_those_documented() {
    let mut keys = BTreeSet::new();
    for profile in [server(), traced()] {
        let value = serde_json::to_value(&profile.sections).expect("serialize");
        for section in ["ledger", "ledger_change", "growth"] {
            keys_of(&value[section], section, &[], &[], &mut keys);
        }
    }
    // No sample has huge pages that were read.
    keys.extend(
        ["read", "zero_bytes", "zero_estimate_bytes"].map(|key| format!("ledger.huge_pages.{key}")),
    );
    let document = json_part("explain.md");
    let documented = documented(&document);
    let only_in_one: Vec<&String> = documented.symmetric_difference(&keys).collect();
    assert!(only_in_one.is_empty(), "{only_in_one:?}");
    for kind in Purpose::ALL {
        let name = kind.name();
        assert!(
            document.contains(&format!("`{name}`")),
            "{name} is not in the document"
        );
    }
}
