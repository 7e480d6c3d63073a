//! Holds what the trace says of a process's growth against the heap itself: glibc's is read at both ends of the trace.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::{Duration, Instant};

use tracer_common::key::Owner;

use super::Heap;
use super::courses::Moment;
use crate::attach::allocator::AllocatorKind;
use crate::engine::Core;
use crate::sources::ledger::in_use;
use crate::words::units::change;

/// Most processes whose heaps are read.
const MOST: usize = 8;
/// Programs that come later have no beginning of their own in the trace.
const AT_START: Duration = Duration::from_millis(500);
/// Longest that the end of the trace waits for the last reading of all heaps.
const PATIENCE: Duration = Duration::from_secs(2);
/// Difference that is worth a sentence: of the larger growth, of the heap, and at least.
const NOTABLE: (f64, f64, f64) = (0.05, 0.01, 65_536.0);

/// The readings of the heaps of a trace.
#[derive(Debug, Default)]
pub(super) struct Walks {
    by_owner: HashMap<Owner, Walk>,
}

/// The two readings of one heap.
#[derive(Debug)]
struct Walk {
    libc: PathBuf,
    before: Reading,
    after: Reading,
}

/// A reading, made by a thread of its own so that the trace goes on.
#[derive(Debug, Default)]
enum Reading {
    #[default]
    None,
    Begun(Receiver<Read>),
    Done(Read),
}

/// What a reading found.
#[derive(Clone, Copy, Debug)]
struct Read {
    /// Bytes in use, headers included; `None` where the heap could not be read.
    bytes: Option<u64>,
    took: Duration,
}

impl Reading {
    fn begin(pid: u32, libc: PathBuf) -> Self {
        let (to, from) = channel();
        let since = Instant::now();
        let read = move || {
            let bytes = in_use::of_glibc(pid, &libc);
            // Nobody may want to know any more.
            let _ = to.send(Read {
                bytes,
                took: since.elapsed(),
            });
        };
        match thread::Builder::new().name("heap".into()).spawn(read) {
            Ok(_) => Self::Begun(from),
            Err(_) => Self::None,
        }
    }

    /// What it found, if it has come to the end by then.
    fn get(&mut self, until: Instant) -> Option<Read> {
        if let Self::Begun(from) = self {
            let left = until.saturating_duration_since(Instant::now());
            if let Ok(read) = from.recv_timeout(left) {
                *self = Self::Done(read);
            }
        }
        match self {
            Self::Done(read) => Some(*read),
            Self::None | Self::Begun(_) => None,
        }
    }

    fn bytes(&self) -> Option<u64> {
        match self {
            Self::Done(read) => read.bytes,
            Self::None | Self::Begun(_) => None,
        }
    }
}

impl Walks {
    /// Bytes in use in the heap of a program when the trace began, and at its end.
    pub fn of(&self, owner: Owner) -> (Option<u64>, Option<u64>) {
        let walk = self.by_owner.get(&owner);
        walk.map_or((None, None), |walk| {
            (walk.before.bytes(), walk.after.bytes())
        })
    }

    /// Takes in the first readings that are done.
    pub fn collect(&mut self) {
        for walk in self.by_owner.values_mut() {
            walk.before.get(Instant::now());
        }
    }

    /// Reads the heaps once more, of those whose first reading came to its end in time.
    pub fn finish(&mut self) {
        let is_quick = |read: Read| read.bytes.is_some() && read.took < PATIENCE;
        for (owner, walk) in &mut self.by_owner {
            if walk.before.get(Instant::now()).is_some_and(is_quick) {
                walk.after = Reading::begin(owner.tgid, walk.libc.clone());
            }
        }
        let until = Instant::now() + PATIENCE;
        for walk in self.by_owner.values_mut() {
            walk.after.get(until);
        }
    }
}

impl Heap {
    /// Begins to read the heap of a program that was named and is counted from now on.
    pub(super) fn begin_walk(&mut self, core: &Core, owner: Owner) {
        let is_one_of_many = self.walks.by_owner.len() >= MOST;
        let is_late = core.elapsed() > AT_START;
        if core.members.come_by_themselves() || self.from_start || is_one_of_many || is_late {
            return;
        }
        let files = self.prober.survey(owner.tgid).unwrap_or_default();
        let mut allocators = files
            .iter()
            .filter(|file| file.plan.allocator != AllocatorKind::Unknown);
        // Where another allocator is in use, glibc's heap is nobody's.
        let (Some(only), None) = (allocators.next(), allocators.next()) else {
            return;
        };
        if only.plan.allocator != AllocatorKind::Glibc {
            return;
        }
        let libc = only.path.clone();
        let walk = Walk {
            before: Reading::begin(owner.tgid, libc.clone()),
            after: Reading::None,
            libc,
        };
        self.walks.by_owner.insert(owner, walk);
    }

    /// Where the heap has grown by another amount than the trace says, in a sentence. The allocator's own share of each
    /// block is in both.
    pub(super) fn disagreement(
        &self,
        owner: Owner,
        moment: &Moment,
        live: (u64, f64),
    ) -> Option<String> {
        let (before, after) = self.walks.of(owner);
        let (before, after) = (before?, after?);
        let by_heap = after as f64 - before as f64;
        let by_trace = moment.net_with_headers(live.0, live.1)?;
        let apart = (by_heap - by_trace).abs();
        let (of_growth, of_heap, least) = NOTABLE;
        let larger = by_heap.abs().max(by_trace.abs());
        let bound = (of_growth * larger)
            .max(of_heap * before.max(after) as f64)
            .max(least);
        (apart > bound).then(|| {
            let words = |bytes: f64| change(bytes.round() as i64);
            format!(
                "process {}: by its own lists the heap has changed by {} in the trace, and by the calls that were seen by {}",
                owner.tgid,
                words(by_heap),
                words(by_trace)
            )
        })
    }
}
