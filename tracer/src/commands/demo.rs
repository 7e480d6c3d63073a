//! `memlens demo`: traces a built-in victim that leaks in several known ways.

use std::hint::black_box;
use std::num::NonZeroU64;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result};

use super::output::{Heaps, Printer};
use super::{follow, log, refuse_if_unable};
use crate::cli::{DemoConfig, Invocation, Outcome, Outputs, Shown};
use crate::engine::target::{self, Target};
use crate::engine::{Schedule, Trace, Walk};
use crate::preflight;
use crate::profile::Grouping;
use crate::render::Format;
use crate::sources::heap::reach::When;
use crate::sources::heap::{Heap, HeapOptions, Order};

/// Stacks that the report shows.
const TOP: usize = 8;
/// Live blocks followed at most: the victim has fewer.
const MAX_LIVE: u32 = 1 << 16;
/// Most bytes for unwind tables: those of memlens itself and of the C library need less.
const TABLE_BYTES: u64 = 64 << 20;

/// The word that makes a memlens the victim.
const VICTIM: &str = "demo-victim";

/// Plays the victim, if this process was started as one.
pub fn play_victim() -> bool {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() != Some(VICTIM) {
        return false;
    }
    victim::run();
    true
}

/// Runs `memlens demo`.
pub fn run(invocation: &Invocation, config: &DemoConfig) -> Result<Outcome> {
    if let Some(mounted) = preflight::ensure_tracefs().context("the demo wants tracefs")? {
        eprintln!("memlens: {mounted}");
    }
    let own = std::env::current_exe().context("cannot find the path of memlens itself")?;
    let command = [own.into_os_string(), VICTIM.into()];
    let outputs = Outputs::to_file(Format::Svg, &config.svg, config.json);
    let shown = Shown {
        top: Some(TOP),
        ..Shown::default()
    };
    let facts = refuse_if_unable("load BPF programs")?;
    eprintln!(
        "memlens: the demo traces a small program that leaks, for {:.0?}",
        config.duration
    );
    // The victim runs until memlens has ended: what holds its blocks can be told only while it lives.
    let only_at_the_end = Schedule {
        interval: Some(config.duration),
        count: NonZeroU64::new(1),
    };
    let mut printer = Printer::showing(&outputs, &shown, invocation);
    printer.judge(Heaps {
        order: Order::Verdict,
        group_frames: None,
        must_know_all: true,
    });
    follow(&mut printer, &only_at_the_end, || {
        let about = target::resolve(
            &Target::Command(command.to_vec()),
            Grouping::default(),
            false,
        )?;
        let heap = Heap::new(HeapOptions {
            max_live: MAX_LIVE,
            reach: When::Last,
            ..HeapOptions::default()
        });
        let walk = Walk {
            table_bytes: Some(TABLE_BYTES),
            ..Walk::default()
        };
        Trace::start(about, heap, walk, &facts, log(invocation))
    })?;
    eprintln!(
        "memlens: flame graph in {}; open it in a browser",
        config.svg.display()
    );
    Ok(Outcome::Done(None))
}

/// The victim: a small server that forgets things.
mod victim {
    use super::*;
    use std::collections::HashMap;
    use std::os::unix::process::parent_id;
    use std::sync::Mutex;

    /// Rounds per second.
    const RATE: u64 = 100;
    /// It never runs longer, whatever becomes of memlens.
    const LONGEST: u64 = 3600 * RATE;

    /// The sessions, as a server has them: in a global.
    static SESSIONS: Mutex<Option<HashMap<u64, Vec<u8>>>> = Mutex::new(None);

    /// Leaks until memlens has ended. Each round forgets 1 KiB, keeps a session of 256 bytes for ever, grows a log and
    /// releases a scratch buffer, which shows in the totals only.
    #[inline(never)]
    pub fn run() {
        let memlens = parent_id();
        let mut log = Vec::new();
        for round in 0..LONGEST {
            if parent_id() != memlens {
                break;
            }
            serve_request(round, &mut log);
            thread::sleep(Duration::from_millis(1000 / RATE));
        }
        // It ends as servers do: without giving anything back.
        std::mem::forget(log);
    }

    #[inline(never)]
    fn serve_request(round: u64, log: &mut Vec<u64>) {
        forget_a_buffer();
        never_evict_a_session(round);
        grow_a_log(round, log);
        use_a_scratch_buffer();
    }

    /// A forgotten free: nothing points to the block any more.
    #[inline(never)]
    fn forget_a_buffer() {
        std::mem::forget(black_box(vec![0u8; 1024]));
    }

    /// A reachable orphan: a cache that only grows.
    #[inline(never)]
    fn never_evict_a_session(round: u64) {
        if let Ok(mut sessions) = SESSIONS.lock() {
            let sessions = sessions.get_or_insert_default();
            sessions.insert(round, black_box(vec![0u8; 256]));
        }
    }

    /// Growth by realloc: one block that doubles.
    #[inline(never)]
    fn grow_a_log(round: u64, log: &mut Vec<u64>) {
        log.push(black_box(round));
    }

    /// No leak: allocated and released.
    #[inline(never)]
    fn use_a_scratch_buffer() {
        drop(black_box(vec![0u8; 64 * 1024]));
    }
}
