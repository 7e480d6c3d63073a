//! Explanations as people and programs see them, against golden files.

#[path = "samples/golden.rs"]
mod golden;

use std::path::Path;

use jiff::tz::TimeZone;
use memlens::explain::growth::{self, BlockStack, Blocks, Growth, Ranges, Seen, Stack};
use memlens::explain::text::TextOptions;
use memlens::explain::value::{
    Allocator, Figure, Heap, HeapArena, MappedBlocks, Place, ProcessFacts, Row, Runtime, Stacks,
    Totals,
};
use memlens::explain::{Explanation, diff, json, kind::Kind, text, words};
use memlens::process::pagemap::Region;
use memlens::symbolize::Frame;

const MIB: u64 = 1 << 20;

fn row(kind: Kind, name: Option<&str>, virtual_size: u64, resident: u64, mappings: u64) -> Row {
    Row {
        kind,
        name: name.map(str::to_owned),
        mappings,
        virtual_size,
        resident,
        proportional: resident,
        anonymous: if kind <= Kind::LibraryData {
            resident
        } else {
            0
        },
        swapped: 0,
        huge: 0,
    }
}

/// An explanation whose total is the sum of its rows; the sentences are made as for a real one.
fn explanation(
    ledger: Vec<Row>,
    allocators: Vec<Allocator>,
    runtimes: Vec<Runtime>,
) -> Explanation {
    let sum = |value: fn(&Row) -> u64| ledger.iter().map(value).sum::<u64>();
    let mut explanation = Explanation {
        time: 1_795_000_000.25,
        process: ProcessFacts {
            pid: 4242,
            comm: "api-server".to_owned(),
            exe: Some("/usr/bin/api-server".to_owned()),
            start_ticks: 99_000,
            threads: 9,
        },
        totals: Totals {
            resident: sum(|row| row.resident),
            virtual_size: sum(|row| row.virtual_size),
            proportional: Some(sum(|row| row.proportional)),
            anonymous: sum(|row| row.anonymous),
            file: sum(|row| row.resident - row.anonymous),
            shared: 0,
            swapped: sum(|row| row.swapped),
            huge: Some(sum(|row| row.huge)),
            hugetlb: 0,
            page_tables: 3 * MIB,
        },
        ledger,
        unaccounted: 0,
        stacks: None,
        huge_pages: None,
        places: Vec::new(),
        allocators,
        runtimes,
        findings: Vec::new(),
        notes: Vec::new(),
    };
    explanation.findings = words::findings(&explanation);
    explanation
}

fn arena(main: bool, in_use: u64, free: u64, free_untouched: u64, trimmable: u64) -> HeapArena {
    HeapArena {
        main,
        threads: 1,
        pieces: 1,
        system: in_use + free + 4096,
        in_use,
        blocks: in_use / 100,
        top: 4096,
        free,
        free_untouched,
        trimmable,
        largest_free: vec![free / 2, free / 4],
        ..HeapArena::default()
    }
}

/// A server with a fragmented heap of several arenas, thread stacks, and a mapping that was swapped out.
fn server() -> Explanation {
    let mut swapped = row(Kind::Anonymous, None, 64 * MIB, 20 * MIB, 3);
    swapped.swapped = 40 * MIB;
    swapped.huge = 2 * MIB;
    let ledger = vec![
        row(Kind::BrkHeap, None, 700 * MIB, 690 * MIB, 1),
        row(Kind::GlibcArenas, None, 128 * MIB, 100 * MIB, 4),
        row(Kind::GlibcMapped, None, 512 * MIB, 4096, 2),
        row(Kind::MainStack, None, MIB, 64 << 10, 1),
        row(Kind::ThreadStacks, None, 64 * MIB, 512 << 10, 8),
        swapped,
        row(Kind::ProgramCode, None, 10 * MIB, 6 * MIB, 4),
        row(Kind::LibraryCode, None, 20 * MIB, 9 * MIB, 40),
        row(Kind::Reserved, None, 900 * MIB, 0, 9),
    ];
    let mut second = arena(false, 60 * MIB, 30 * MIB, 0, 0);
    (second.thread_cached, second.fast, second.unknown) = (1 << 15, 1 << 14, 2 * MIB);
    second.trouble = Some("0x7f2000001000 is a chunk of an impossible size".to_owned());
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
        figures: Vec::new(),
        unreadable: None,
    };
    let mut server = explanation(ledger, vec![glibc], Vec::new());
    server.stacks = Some(Stacks {
        count: 8,
        virtual_size: 64 * MIB,
        resident: 512 << 10,
    });
    server.unaccounted = -8192;
    server.notes.push(
        "this note is long enough to need a second line in a narrow terminal, and says nothing"
            .to_owned(),
    );
    server
}

/// A program with a runtime, whose native side has grown to this.
fn managed(native: u64, heap: u64) -> Explanation {
    let ledger = vec![
        row(Kind::RuntimeHeap, Some("V8 heap"), 80 * MIB, heap, 200),
        row(Kind::GlibcMapped, None, native, native, 12),
        row(Kind::ProgramCode, None, 80 * MIB, 30 * MIB, 7),
    ];
    let runtime = Runtime {
        name: "V8".to_owned(),
        heap_resident: Some(heap),
        objects: Some(heap - MIB),
        figures: vec![Figure {
            name: "heap committed".to_owned(),
            bytes: heap,
        }],
        unreadable: None,
    };
    let jemalloc = Allocator {
        name: "jemalloc".to_owned(),
        file: "/usr/lib/libjemalloc.so.2".to_owned(),
        heap: None,
        figures: vec![Figure {
            name: "taken from the kernel".to_owned(),
            bytes: 3 * MIB,
        }],
        unreadable: Some("not readable, because of a reason".to_owned()),
    };
    explanation(ledger, vec![jemalloc], vec![runtime])
}

/// What everybody may know.
fn coarse() -> Explanation {
    let mut coarse = explanation(
        vec![
            row(Kind::Anonymous, None, 0, 30 * MIB, 0),
            row(Kind::Shared, None, 0, 2 * MIB, 0),
            row(Kind::Files, None, 0, 9 * MIB, 0),
        ],
        Vec::new(),
        Vec::new(),
    );
    coarse.totals.virtual_size = 90 * MIB;
    coarse.totals.proportional = None;
    coarse.notes.push("run as root for more".to_owned());
    coarse
}

fn grown() -> (Explanation, diff::Change) {
    let (before, mut after) = (managed(50 * MIB, 40 * MIB), managed(150 * MIB, 45 * MIB));
    after.time += 61.5;
    let change = diff::compare(Path::new("before.json"), &before, &after).expect("one process");
    (after, change)
}

/// The same, traced meanwhile: blocks, a mapping of the program's own, and pages of the runtime's heap.
fn traced() -> (Explanation, diff::Change, Growth) {
    let (before, mut after) = (managed(50 * MIB, 40 * MIB), managed(150 * MIB, 45 * MIB));
    after.time += 30.0;
    after.unaccounted = 8192;
    after.totals.resident += 3 * MIB + 8192;
    after
        .ledger
        .push(row(Kind::Anonymous, None, 12 * MIB, 3 * MIB, 1));
    let at = 0x7f00_0000_0000;
    after.places = vec![
        place(at, at + 100 * MIB, Kind::GlibcMapped),
        place(at + 100 * MIB, at + 112 * MIB, Kind::Anonymous),
    ];
    let frame = |address, symbol: &str, module: &str| Frame {
        address,
        symbol: Some(symbol.to_owned()),
        offset: Some(0x12),
        module: Some(module.into()),
        module_offset: Some(0x1012),
        ..Frame::default()
    };
    let stack = |symbol| Stack {
        frames: vec![
            frame(0x40_1012, symbol, "/usr/bin/api-server"),
            frame(0x40_2012, "main", "/usr/bin/api-server"),
        ],
        truncated: None,
    };
    let seen = Seen {
        blocks: Ok(Blocks {
            bytes: 99 * MIB,
            count: 1_234,
            stacks: vec![
                BlockStack {
                    bytes: 90 * MIB,
                    count: 1_000,
                    stack: stack("keep_request"),
                },
                BlockStack {
                    bytes: 9 * MIB,
                    count: 234,
                    stack: stack("log_line"),
                },
            ],
            stacks_total: 5,
        }),
        ranges: Ok(Ranges {
            ranges: vec![(at, at + 100 * MIB, 0), (at + 100 * MIB, at + 112 * MIB, 1)],
            stacks: vec![stack("keep_request"), stack("map_file")],
        }),
        lost: vec!["3 events were lost".to_owned()],
    };
    let touched = [Region {
        start: at,
        end: at + 103 * MIB,
        swapped: false,
    }];
    let change = diff::between(&before, &after);
    let growth = growth::join(&before, &after, &change, seen, &touched, 10);
    (after, change, growth)
}

fn place(start: u64, end: u64, kind: Kind) -> Place {
    Place {
        start,
        end,
        kind,
        name: None,
    }
}

fn dressed(
    explanation: &Explanation,
    change: Option<&diff::Change>,
    growth: Option<&Growth>,
    width: Option<usize>,
) -> String {
    let options = TextOptions {
        width,
        colour: false,
        all_arenas: false,
        zone: Some(TimeZone::UTC),
    };
    let mut out = Vec::new();
    text::write(explanation, change, growth, &options, &mut out).expect("a vector takes all");
    String::from_utf8(out).expect("text")
}

#[test]
fn explanations_are_what_they_were() {
    let (after, change) = grown();
    let traced = traced();
    let cases = [
        ("server", server(), None, None),
        ("managed", after, Some(change), None),
        ("traced", traced.0, Some(traced.1), Some(traced.2)),
        ("coarse", coarse(), None, None),
    ];
    let mut files = Vec::new();
    for (name, explanation, change, growth) in &cases {
        let (change, growth) = (change.as_ref(), growth.as_ref());
        for (suffix, width) in [("", None), ("_80", Some(80)), ("_50", Some(50))] {
            let text = dressed(explanation, change, growth, width);
            if let Some(width) = width {
                let widest = text.lines().map(|line| line.chars().count()).max();
                assert!(
                    widest <= Some(width),
                    "{name}: a line of {widest:?} columns"
                );
            }
            files.push((format!("../golden_explain/{name}{suffix}.txt"), text));
        }
        let mut out = Vec::new();
        json::write(explanation, change, growth, &mut out).expect("a vector takes all");
        files.push((
            format!("../golden_explain/{name}.json"),
            String::from_utf8(out).expect("text"),
        ));
    }
    golden::check_all(files);
}

#[test]
fn what_is_written_reads_back() {
    let (after, change) = grown();
    for explanation in [server(), after, coarse()] {
        let mut out = Vec::new();
        json::write(&explanation, Some(&change), None, &mut out).expect("a vector takes all");
        assert_eq!(json::parse(&out), Ok(explanation));
    }
    assert!(json::parse(br#"{"schema":"memlens.explain/2"}"#).is_err());
    assert!(json::parse(b"[]").is_err());
}

#[test]
fn two_processes_are_not_compared() {
    let before = server();
    let mut after = server();
    after.process.start_ticks += 1;
    let error = diff::compare(Path::new("x.json"), &before, &after).expect_err("another one");
    assert!(
        error
            .to_string()
            .starts_with("x.json is about api-server (4242)"),
        "{error}"
    );
}

/// The parts of the growth add up to it.
#[test]
fn the_parts_are_the_growth() {
    let (_, change, growth) = traced();
    let mapped = growth.mapped.as_ref().expect("traced");
    assert_eq!(growth.resident, change.resident);
    assert_eq!(growth.heap, 100 << 20);
    assert_eq!(mapped.resident, 3 * MIB);
    let sum = growth.heap + mapped.resident.cast_signed() + growth.older_resident();
    assert_eq!(sum, growth.resident);
    let sentence = growth.findings.first().expect("a sentence");
    assert!(
        sentence.contains("100 MiB is the heap's: 99 MiB in 1,234 blocks")
            && sentence.contains("90.9% of it on heap stack #1"),
        "{sentence}"
    );
}

/// Sentences come and go with the figures that they rest on.
#[test]
fn sentences_rest_on_figures() {
    let says = |explanation: &Explanation, words: &str| {
        explanation
            .findings
            .iter()
            .any(|finding| finding.contains(words))
    };
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
    let native = managed(150 * MIB, 45 * MIB);
    assert!(says(&native, "most is on the native side"));
    let own = managed(10 * MIB, 60 * MIB);
    assert!(
        !says(&own, "most is on the native side") && says(&own, "60 MiB (60.0%) is V8's own heap")
    );
    assert!(
        coarse()
            .findings
            .iter()
            .all(|finding| !finding.contains("touched"))
    );
}
