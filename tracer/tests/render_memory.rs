//! Renderers write a large profile piece by piece: they need little memory beyond it, and do not clone it.

use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use memlens::profile::{Builder, Frame, Measure, Meta, Profile, Source, Subject, Values};
use memlens::render::{Format, Options};

/// The system's allocator, with the bytes that are allocated, and the most that were.
struct Counting;

static ALLOCATED: AtomicUsize = AtomicUsize::new(0);
static MOST: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator as it is.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let now = ALLOCATED.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        MOST.fetch_max(now, Ordering::Relaxed);
        // SAFETY: the caller keeps to the contract of this very method.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        ALLOCATED.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the block came from `alloc` above with this layout, which the caller guarantees.
        unsafe { System.dealloc(block, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const STACKS: u64 = 10_000;
const FRAMES: u64 = 40;
/// Distinct functions; each is in many stacks.
const FUNCTIONS: u64 = 2_000;

fn large() -> Profile {
    let mut build = Builder::new(Meta::default());
    build.measures(Measure::of(Source::Heap));
    let subject = build.subject(Subject::process(4242, "server"));
    let module = Some(build.module("/usr/bin/server", Some("0123456789abcdef")));
    for stack in 0..STACKS {
        let frames = (0..FRAMES).map(|depth| {
            let function = (stack * 7 + depth * 13) % FUNCTIONS;
            let symbol = build.string(&format!(
                "server::module_{}::function_{function}",
                function % 97
            ));
            let file = build.string(&format!("/build/server/src/module_{}.rs", function % 97));
            build.frame(Frame {
                symbol: Some(symbol),
                module,
                address: 0x5555_0000_0000 + function * 64,
                offset: Some(27),
                module_offset: Some(function * 64),
                file: Some(file),
                line: u32::try_from(function).ok(),
                ..Frame::default()
            })
        });
        let frames = frames.collect();
        let stack_index = build.stack(frames, None);
        let values = Values::default()
            .with(Measure::HeapLiveBytes, stack * 1_000 + 1)
            .with(Measure::HeapLiveBlocks, stack + 1);
        let sample = build.sample(Source::Heap, subject, Some(stack_index), &values);
        build.profile.subjects[0].totals.add(&values);
        build.add(sample);
    }
    build.finish()
}

#[test]
fn large_profiles_are_written_piece_by_piece() {
    let profile = large();
    let options = Options::default();
    for (format, most) in [
        (Format::Json, 64 << 10),
        (Format::Text, 512 << 10),
        (Format::Markdown, 512 << 10),
    ] {
        let before = ALLOCATED.load(Ordering::Relaxed);
        MOST.store(before, Ordering::Relaxed);
        let start = Instant::now();
        let written = format
            .renderer()
            .render(&profile, &options, &mut io::sink());
        written.expect("a sink takes all");
        let needed = MOST.load(Ordering::Relaxed) - before;
        println!("{format:?}: {:?}, {needed} bytes", start.elapsed());
        assert!(needed <= most, "{format:?} needs {needed} bytes");
    }
}
