//! A live process as the target of the passes.

use std::ops::Range;
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::kernel;
use super::modules::Modules;
use super::names::Names;
use super::older::{OlderBlocks, allocator_records};
use super::threads::Threads;
use crate::process::info::{self, ImageId, Machine};
use crate::process::maps::{self, Mapping};
use crate::process::memory::Reader;
use crate::process::{ProcessError, pagemap};
use crate::profile::{Registers, ledger};
use crate::reach::index::BlockIndex;
use crate::reach::judge::{Target, Word};
use crate::reach::parts::{Layout, Thread, is_brk, is_read};
use crate::reach::passes::Limits;
use crate::reach::scan::{Memory, Part};
use crate::sources::ledger::managed;
use crate::sources::ledger::memory::ProcessMemory;

/// Least time between two passes: a program that maps memory waits for those that read it.
const LEAST_PAUSE: Duration = Duration::from_millis(50);
/// Of the time so much is spent on reading its memory at most, in percent.
const BUSY_PERCENT: u32 = 30;

/// Why a process's memory cannot be judged.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The kernel refuses to let its memory be read.
    #[error(
        "its memory may not be read: run as root with CAP_SYS_PTRACE, and see /proc/sys/kernel/yama/ptrace_scope (3 \
         forbids it to everybody)"
    )]
    Denied,
    /// It has ended.
    #[error("it has exited")]
    Gone,
    /// Its pointers have another size.
    #[error("it is a 32-bit process")]
    Words,
    /// The kernel has no such system call.
    #[error("this kernel has no process_vm_readv: boot one with CONFIG_CROSS_MEMORY_ATTACH")]
    NoCall,
}

/// Blocks that have come since the list of blocks was made.
pub trait NewerBlocks {
    /// Their addresses.
    fn list(&mut self) -> Vec<Range<u64>>;
}

/// A live process.
pub struct ProcessTarget<Y> {
    pid: u32,
    image: Option<ImageId>,
    reader: Reader,
    newer: Y,
    threads: Threads,
    modules: Modules,
    older: OlderBlocks,
    /// What the allocator itself keeps, which holds nothing.
    records: Vec<Range<u64>>,
    mappings: Vec<Mapping>,
    now: Vec<Thread>,
    begun: Instant,
    /// When the pass began that runs, and when it has read the last time.
    pass: Instant,
    read: Instant,
    /// What the kernel holds is read once for each pass.
    is_new_pass: bool,
    /// Bytes of it that are in swap.
    pub swapped: u64,
}

impl<Y: NewerBlocks> ProcessTarget<Y> {
    /// A process, by its PID in our PID namespace.
    ///
    /// # Errors
    /// [`Refusal`].
    pub fn new(pid: u32, older: OlderBlocks, newer: Y) -> Result<Self, Refusal> {
        if info::machine(pid) == Some(Machine::ThirtyTwoBit) {
            return Err(Refusal::Words);
        }
        let reader = Reader::new(pid);
        match reader.refusal() {
            None => {}
            Some(nix::Error::ESRCH) => return Err(Refusal::Gone),
            Some(nix::Error::ENOSYS) => return Err(Refusal::NoCall),
            Some(_) => return Err(Refusal::Denied),
        }
        let now = Instant::now();
        Ok(Self {
            pid,
            image: info::image(pid).ok(),
            reader,
            newer,
            threads: Threads::new(pid),
            modules: Modules::default(),
            older,
            records: allocator_records(pid),
            mappings: Vec::new(),
            now: Vec::new(),
            begun: now,
            pass: now,
            read: now,
            is_new_pass: true,
            swapped: 0,
        })
    }

    /// Whether the program still runs: nothing can be said of one that ended while it was read.
    pub fn is_there(&self) -> bool {
        self.image.is_some() && info::image(self.pid).ok() == self.image
    }

    /// Where the registers come from.
    pub fn registers(&self) -> Registers {
        self.threads.source()
    }

    /// What could not be looked at, in sentences.
    pub fn limits(&self) -> Vec<String> {
        let mut limits: Vec<String> = self.threads.limit.iter().cloned().collect();
        if matches!(self.older, OlderBlocks::Unknown) {
            limits.push(
                "free memory of this allocator is not told from blocks older than the trace: what only such memory \
                 points to counts as held"
                    .to_owned(),
            );
        }
        limits
    }

    /// Heaps of the language runtimes in it.
    pub fn runtimes(&self) -> Vec<ledger::Range> {
        let kinds = managed::kinds(&self.mappings);
        let read = || {
            let info = info::read(self.pid).ok()?;
            let mut memory = ProcessMemory::open(self.pid).ok()?;
            managed::look(&mut memory, &info, &self.mappings, &kinds).ok()
        };
        if kinds.is_empty() {
            return Vec::new();
        }
        read().map_or_else(Vec::new, |(_, ranges)| ranges)
    }

    /// What its places are called.
    pub fn names<'a>(&'a self, runtimes: &'a [ledger::Range]) -> Names<'a> {
        Names {
            mappings: &self.mappings,
            modules: &self.modules,
            threads: &self.now,
            runtimes,
            knows_older: matches!(self.older, OlderBlocks::Glibc(_)),
        }
    }

    /// A word of its memory.
    pub fn word(&mut self, address: u64) -> Option<u64> {
        self.reader.word(address)
    }
}

impl<Y> Memory for ProcessTarget<Y> {
    fn has_time(&self) -> bool {
        self.begun.elapsed() < Limits::DEFAULT.time
    }

    fn read(&mut self, address: u64, into: &mut [u8]) -> usize {
        self.read = Instant::now();
        self.reader.read(address, into)
    }
}

impl<Y: NewerBlocks> Target for ProcessTarget<Y> {
    fn parts(&mut self, blocks: &BlockIndex) -> Result<Vec<Part>, ProcessError> {
        self.pass = Instant::now();
        self.is_new_pass = true;
        self.mappings = maps::read(self.pid)?;
        self.modules.update(self.pid, &self.mappings);
        (self.now, _) = self.threads.read();
        let ranges: Vec<Range<u64>> = self
            .mappings
            .iter()
            .filter(|mapping| is_read(mapping))
            .map(|mapping| mapping.start..mapping.end)
            .collect();
        let touched = pagemap::touched(self.pid, &ranges)?;
        let swapped = touched.iter().filter(|region| region.swapped);
        self.swapped = swapped.map(|region| region.end - region.start).sum();
        let data = self.modules.data();
        let layout = Layout {
            mappings: &self.mappings,
            touched: &touched,
            data: &data,
            threads: &self.now,
            thread_data: self.modules.thread_data(),
            passed_over: &self.records,
        };
        let older = &self.older;
        Ok(layout.parts(|mapping| {
            let range = mapping.start..mapping.end;
            is_brk(mapping) || older.is_arena(mapping.start) || blocks.reaches(&range)
        }))
    }

    fn words(&mut self) -> Vec<Word> {
        let (_, mut words) = self.threads.read();
        if std::mem::take(&mut self.is_new_pass) {
            words.extend(kernel::words(self.pid));
        }
        words
    }

    fn newer(&mut self) -> Vec<Range<u64>> {
        self.newer.list()
    }

    fn may_hold(&mut self, place: u64) -> bool {
        self.older.may_hold(place)
    }

    fn contents(&mut self, ranges: &[Range<u64>]) -> Vec<Option<u64>> {
        self.reader.hashes(ranges)
    }

    fn pause(&mut self) -> Duration {
        let busy = self.read.saturating_duration_since(self.pass);
        let rest = busy * (100 - BUSY_PERCENT) / BUSY_PERCENT;
        sleep(rest.max(LEAST_PAUSE));
        self.begun.elapsed()
    }
}
