//! `memlens demo`: traces a built-in victim that leaks in several known ways.

use std::hint::black_box;
use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::leaks;
use crate::cli::{
    Allocator, Command, DemoConfig, Invocation, LeaksConfig, MAX_STACK_DEPTH, Output, SizeRange,
    Sort, Target, Unwind,
};
use crate::preflight;

/// The word that makes a memlens the victim; how many milliseconds it is to run follows.
const VICTIM: &str = "demo-victim";

/// Plays the victim, if this process was started as one.
pub fn play_victim() -> bool {
    let mut words = std::env::args().skip(1);
    if words.next().as_deref() != Some(VICTIM) {
        return false;
    }
    let milliseconds = words
        .next()
        .and_then(|text| text.parse().ok())
        .unwrap_or(1000);
    victim::run(Duration::from_millis(milliseconds));
    true
}

/// Runs `memlens demo`.
pub fn run(invocation: &Invocation, config: &DemoConfig) -> Result<u8> {
    if let Some(mounted) = preflight::ensure_tracefs().context("the demo wants tracefs")? {
        eprintln!("memlens: {mounted}");
    }
    let own = std::env::current_exe().context("cannot find the path of memlens itself")?;
    let milliseconds = config.duration.as_millis().to_string();
    let command = [own.into_os_string(), VICTIM.into(), milliseconds.into()];
    let settings = LeaksConfig {
        target: Target::Command(command.to_vec()),
        host: None,
        interval: config.duration + Duration::from_secs(3600),
        count: NonZeroU64::new(1),
        sizes: SizeRange::ALL,
        older: Duration::ZERO,
        allocator: Allocator::default(),
        output: Output {
            json: config.json,
            folded: None,
            svg: Some(config.svg.clone()),
            top: Some(8),
            source: true,
            addresses: false,
        },
        sort: Sort::Bytes,
        show_allocs: false,
        all_stacks: false,
        fail_over: None,
        combined: false,
        sample_bytes: None,
        stack_depth: MAX_STACK_DEPTH,
        unwind: Unwind::Auto,
        unwind_memory: 64 << 20,
        max_live: 1 << 16,
    };
    eprintln!(
        "memlens: the demo traces a small program that leaks, for {:.0?}",
        config.duration
    );
    let invocation = Invocation {
        command: Command::Demo(config.clone()),
        ..invocation.clone()
    };
    let code = leaks::run(&invocation, &settings)?;
    eprintln!(
        "memlens: flame graph in {}; open it in a browser",
        config.svg.display()
    );
    Ok(code)
}

/// The victim: a small server that forgets things.
mod victim {
    use super::*;
    use std::collections::HashMap;

    /// Rounds per second.
    const RATE: u64 = 100;

    /// Leaks for a while. Each round forgets 1 KiB, keeps a session of 256 bytes for ever, grows a log and releases a
    /// scratch buffer, which shows in the totals only.
    #[inline(never)]
    pub fn run(duration: Duration) {
        let end = Instant::now() + duration;
        let mut sessions = HashMap::new();
        let mut log = Vec::new();
        let mut round = 0u64;
        while Instant::now() < end {
            serve_request(round, &mut sessions, &mut log);
            round += 1;
            thread::sleep(Duration::from_millis(1000 / RATE));
        }
        // It ends as servers do: without giving anything back.
        std::mem::forget((sessions, log));
    }

    #[inline(never)]
    fn serve_request(round: u64, sessions: &mut HashMap<u64, Vec<u8>>, log: &mut Vec<u64>) {
        forget_a_buffer();
        never_evict_a_session(round, sessions);
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
    fn never_evict_a_session(round: u64, sessions: &mut HashMap<u64, Vec<u8>>) {
        sessions.insert(round, black_box(vec![0u8; 256]));
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
