//! The programs of `memlens kernel`: an object of its own, so that a trace of processes carries none of its tables, nor this one theirs.

use std::collections::{BTreeMap, HashMap};
use std::mem::MaybeUninit;
use std::os::fd::AsFd;

use aya::maps::{MapData, PerCpuArray};
use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};
use tracer_common::kernel_memory::{
    ANY, Cache, DEPTH, FRAMES, KernelBlock, KernelConfig, KernelGuard, KernelLoss, KernelRow,
    KernelState, NAME_WORDS, NO_KMALLOC, ROWS, SPARE_ROWS, What,
};
use tracer_common::key::StackTotals;

use super::kernel_offsets::{self, Layout, LayoutError};
use super::kernel_programs::{self, DOUBLED, FIRST_RELEASE, NUMBERS, SINGLE};
use super::load::{LoadError, map_fd, view};
use super::sys::{self, BatchCursor};
use super::view::ArrayView;

/// The BPF object, built and committed by `cargo xtask ebpf`.
static OBJECT: &[u8] = aya::include_bytes_aligned!("kernel.bpf.o");

/// Elements read by one system call.
const BATCH: usize = 4096;

/// The only slab cache to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheFilter {
    /// By its name.
    Named(String),
    /// A class of `kmalloc`.
    Kmalloc(What),
}

/// What a trace of the kernel's memory asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelSettings {
    /// Mean bytes between two samples; `None` traces every block.
    pub sample_bytes: Option<u64>,
    /// Smaller blocks are not tracked.
    pub min_size: u64,
    /// Most live blocks tracked.
    pub max_live: u32,
    /// Follow the slab allocator.
    pub slab: bool,
    /// Follow the page allocator.
    pub pages: bool,
    /// Follow the per-CPU allocator.
    pub percpu: bool,
    /// The only cache to follow.
    pub cache: Option<CacheFilter>,
    /// The only order of pages to follow.
    pub order: Option<u32>,
    /// Also follow movable pages.
    pub movable: bool,
}

/// The kernel's memory cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum KernelLoadError {
    /// The kernel does not tell enough.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A map or a program was refused.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// A tracepoint is not there.
    #[error(
        "this kernel has no tracepoint {0}, which memlens kernel needs; boot one that is built with CONFIG_TRACEPOINTS and CONFIG_FTRACE"
    )]
    NoTracepoint(&'static str),
}

/// A loaded trace of the kernel's memory.
pub struct KernelMemory {
    ebpf: Ebpf,
    state: ArrayView<KernelState>,
    rows: ArrayView<KernelRow>,
    frames: ArrayView<u64>,
    totals: ArrayView<StackTotals>,
    /// What is not followed, in sentences.
    gaps: Vec<String>,
    /// What had been lost when the trace began to count: between the placing of a program and of the one behind it.
    lost_before: Vec<u64>,
}

fn config(settings: &KernelSettings, layout: &Layout) -> KernelConfig {
    let mut config = KernelConfig {
        sample_bytes: settings.sample_bytes.unwrap_or(0),
        min_size: settings.min_size,
        order: settings.order.unwrap_or(ANY),
        movable: u32::from(settings.movable),
        ..layout.config
    };
    match &settings.cache {
        None => {}
        Some(CacheFilter::Kmalloc(what)) => {
            config.kmalloc = what.0;
            // No cache has this name.
            config.cache_name = name_words("/");
        }
        Some(CacheFilter::Named(name)) => {
            config.kmalloc = NO_KMALLOC;
            config.cache_name = name_words(name);
        }
    }
    config
}

/// The beginning of a name as the programs keep it: cut to what has room, and ended by a zero.
fn name_words(name: &str) -> [u64; NAME_WORDS] {
    let mut words = [0; NAME_WORDS];
    let bytes = name.bytes().take(NAME_WORDS * 8 - 1);
    for (index, byte) in bytes.enumerate() {
        words[index / 8] |= u64::from(byte) << (8 * (index % 8));
    }
    words
}

fn name_of(words: &[u64; NAME_WORDS]) -> String {
    let bytes: Vec<u8> = words
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

impl KernelMemory {
    /// Loads the programs that the settings need and places them; nothing is counted before [`Self::enable`].
    ///
    /// # Errors
    /// [`KernelLoadError`] where the kernel cannot be followed, or refuses.
    pub fn load(settings: &KernelSettings) -> Result<Self, KernelLoadError> {
        let layout = kernel_offsets::layout()?;
        let mut ebpf = open(settings, &layout)?;
        let gaps = kernel_programs::place_all(&mut ebpf, settings, &layout)?;
        let loaded = Self {
            state: view(&ebpf, "KERNEL_STATE", 1)?,
            rows: view(&ebpf, "KERNEL_ROWS", ROWS as usize)?,
            frames: view(&ebpf, "KERNEL_FRAMES", FRAMES as usize)?,
            totals: view(&ebpf, "KERNEL_TOTALS", ROWS as usize)?,
            ebpf,
            gaps,
            lost_before: Vec::new(),
        };
        loaded.write_state(|state| state.rows = SPARE_ROWS);
        Ok(loaded)
    }

    /// What is not followed on this kernel, in sentences.
    pub fn gaps(&self) -> &[String] {
        &self.gaps
    }

    /// Begins to count.
    pub fn enable(&mut self) {
        self.lost_before = self.lost().unwrap_or_default();
        self.write_state(|state| state.enabled = 1);
    }

    /// Stops counting; what was gathered stays.
    pub fn disable(&mut self) {
        if let Some(state) = self.state.pointer(0) {
            // SAFETY: a mapped, aligned u32 that only user space writes.
            unsafe { (&raw mut (*state).enabled).write_volatile(0) };
        }
    }

    /// Changes the state while no program counts.
    fn write_state(&self, change: impl FnOnce(&mut KernelState)) {
        if let Some(mut state) = self.state.read(0) {
            change(&mut state);
            self.state.write(0, state);
        }
    }

    /// Numbers of the rows that have been handed out, some of which may still be being written.
    pub fn rows(&self) -> std::ops::Range<u32> {
        let rows = self.state.read(0).map_or(0, |state| state.rows);
        SPARE_ROWS..rows.clamp(SPARE_ROWS, ROWS)
    }

    /// What a row stands for and its frames, innermost first; `None` while it is being written, or if it stays empty.
    pub fn stack(&self, row: u32) -> Option<(What, Vec<u64>)> {
        let entry = self.rows.read(row as usize)?;
        if entry.state != KernelRow::READY {
            return None;
        }
        let first = entry.first_frame as usize;
        let frames = (first..first + entry.frames.min(DEPTH) as usize)
            .filter_map(|index| self.frames.read(index))
            .collect();
        Some((What(entry.what), frames))
    }

    /// Blocks of a row that were allocated again although no release had been seen.
    pub fn missed_frees(&self, row: u32) -> u32 {
        let entry = self.rows.read(row as usize);
        entry.map_or(0, |entry| entry.missed_frees)
    }

    /// A row's totals. What was released is read first, so that nothing held is negative.
    pub fn totals(&self, row: u32) -> StackTotals {
        let Some(element) = self.totals.pointer(row as usize) else {
            return StackTotals::default();
        };
        // SAFETY: mapped, aligned counters that the programs add to meanwhile.
        unsafe {
            let free_bytes = (&raw const (*element).free_bytes).read_volatile();
            let free_count = (&raw const (*element).free_count).read_volatile();
            StackTotals {
                alloc_bytes: (&raw const (*element).alloc_bytes).read_volatile(),
                alloc_count: (&raw const (*element).alloc_count).read_volatile(),
                free_bytes,
                free_count,
            }
        }
    }

    /// Names and object sizes of the caches seen so far, by their address in the kernel.
    ///
    /// # Errors
    /// [`LoadError::Map`] if the table cannot be read.
    pub fn caches(&self) -> Result<HashMap<u64, (String, u32)>, LoadError> {
        let mut caches = HashMap::new();
        // SAFETY: the key and value types of KERNEL_CACHES.
        unsafe {
            self.for_each("KERNEL_CACHES", |address: &u64, cache: &Cache| {
                caches.insert(*address, (name_of(&cache.name), cache.size));
            })
        }?;
        Ok(caches)
    }

    /// Calls `visit` for each live block; those that come and go meanwhile may be missed.
    ///
    /// # Errors
    /// [`LoadError::Map`] if the table cannot be read.
    pub fn for_each_live(&self, mut visit: impl FnMut(&KernelBlock)) -> Result<(), LoadError> {
        // SAFETY: the key and value types of KERNEL_LIVE.
        unsafe { self.for_each("KERNEL_LIVE", |_: &u64, block: &KernelBlock| visit(block)) }
    }

    /// Reads a hash table in batches.
    ///
    /// # Safety
    /// `K` and `V` must be the table's key and value types, plain integers.
    unsafe fn for_each<K: Copy, V: Copy>(
        &self,
        name: &'static str,
        mut visit: impl FnMut(&K, &V),
    ) -> Result<(), LoadError> {
        let map = map_fd(&self.ebpf, name)?;
        let mut cursor = BatchCursor::default();
        let mut keys = vec![MaybeUninit::<K>::uninit(); BATCH];
        let mut values = vec![MaybeUninit::<V>::uninit(); BATCH];
        loop {
            // SAFETY: as the caller promises.
            let step = unsafe { sys::lookup_batch(map, &mut cursor, &mut keys, &mut values) }
                .map_err(|source| LoadError::Map { map: name, source })?;
            for (key, value) in keys.iter().zip(&values).take(step.count) {
                // SAFETY: the kernel has written the first `count` elements.
                unsafe { visit(key.assume_init_ref(), value.assume_init_ref()) };
            }
            if step.done {
                return Ok(());
            }
        }
    }

    /// Loss counters that are not zero, summed over the CPUs.
    ///
    /// # Errors
    /// [`LoadError`] if a counter cannot be read.
    pub fn losses(&self) -> Result<BTreeMap<KernelLoss, u64>, LoadError> {
        let mut losses = BTreeMap::new();
        let counters: PerCpuArray<&MapData, u64> = self.counters("LOSSES")?;
        for loss in KernelLoss::ALL {
            let values = counters
                .get(&(loss as u32), 0)
                .map_err(|error| LoadError::refused(&error))?;
            losses.insert(loss, values.iter().sum());
        }
        let (allocs, frees) = self.passed_over()?;
        losses.insert(KernelLoss::NestedAllocs, allocs);
        losses.insert(KernelLoss::NestedFrees, frees);
        losses.retain(|_, count| *count > 0);
        Ok(losses)
    }

    fn counters<T: aya::Pod>(
        &self,
        name: &'static str,
    ) -> Result<PerCpuArray<&MapData, T>, LoadError> {
        let map = self.ebpf.map(name);
        let map = map.ok_or_else(|| LoadError::Refused(format!("the object has no map {name}")))?;
        map.try_into()
            .map_err(|error| LoadError::refused(&error as &aya::maps::MapError))
    }

    /// How often a second program has done the work of a first one that an interrupt came upon.
    ///
    /// # Errors
    /// [`LoadError`] if the counters cannot be read.
    pub fn taken_over(&self) -> Result<u64, LoadError> {
        let guards: PerCpuArray<&MapData, KernelGuard> = self.counters("GUARDS")?;
        let mut sum = 0;
        for number in NUMBERS {
            let guards = guards
                .get(&number, 0)
                .map_err(|error| LoadError::refused(&error))?;
            sum += guards.iter().map(|guard| guard.taken_over).sum::<u64>();
        }
        Ok(sum)
    }

    /// Allocations and releases that neither of two programs has seen since the trace counts.
    fn passed_over(&self) -> Result<(u64, u64), LoadError> {
        let (mut allocs, mut frees) = (0, 0);
        for (index, lost) in self.lost()?.into_iter().enumerate() {
            let before = self.lost_before.get(index).copied().unwrap_or(0);
            let lost = lost.saturating_sub(before);
            // Those that stand alone come last: an allocation and a release.
            if index < FIRST_RELEASE || index == DOUBLED.len() {
                allocs += lost;
            } else {
                frees += lost;
            }
        }
        Ok((allocs, frees))
    }

    /// What each program was passed over in, less what the second one has done in its place; then the programs that stand alone.
    fn lost(&self) -> Result<Vec<u64>, LoadError> {
        let guards: PerCpuArray<&MapData, KernelGuard> = self.counters("GUARDS")?;
        let mut all = Vec::new();
        for (index, (name, _, _)) in DOUBLED.iter().enumerate() {
            // The second one's counter is read last: it only grows.
            let missed = self.missed(name);
            let guards = guards
                .get(&NUMBERS[index], 0)
                .map_err(|error| LoadError::refused(&error))?;
            let taken_over: u64 = guards.iter().map(|guard| guard.taken_over).sum();
            all.push(missed.saturating_sub(taken_over));
        }
        all.extend(SINGLE.iter().map(|(name, _)| self.missed(name)));
        Ok(all)
    }

    /// How often the kernel has passed a program over; 0 for one that is not loaded.
    fn missed(&self, name: &str) -> u64 {
        let program = self.ebpf.program(name);
        let program = program.and_then(|program| program.fd().ok());
        program
            .and_then(|program| sys::passed_over(program.as_fd()).ok())
            .unwrap_or(0)
    }

    /// Loads the programs and places none; instructions that the verifier has walked through for each, by its name. Programs that
    /// this kernel does not allow at functions are left out.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn verify(settings: &KernelSettings) -> Result<BTreeMap<String, u32>, KernelLoadError> {
        let mut ebpf = open(settings, &kernel_offsets::layout()?)?;
        for (_, program) in ebpf.programs_mut() {
            if let Program::RawTracePoint(program) = program {
                program.load().map_err(|error| LoadError::refused(&error))?;
            }
        }
        let counts = ebpf.programs().filter_map(|(name, program)| {
            let verified = program.info().ok()?.verified_instruction_count()?;
            Some((name.to_owned(), verified))
        });
        Ok(counts.collect())
    }
}

/// Makes the tables; no program is loaded yet.
fn open(settings: &KernelSettings, layout: &Layout) -> Result<Ebpf, LoadError> {
    let config = config(settings, layout);
    EbpfLoader::new()
        .override_global("CONFIG", &config, true)
        .map_max_entries("KERNEL_LIVE", settings.max_live)
        .load(OBJECT)
        .map_err(|error| LoadError::refused(&error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_as_the_programs_keep_them() {
        for name in ["", "filp", "eightlet", "kmalloc-cg-192"] {
            assert_eq!(name_of(&name_words(name)), name);
        }
        let long = "a_name_that_is_longer_than_what_there_is_room_for";
        assert_eq!(name_of(&name_words(long)), long[..31]);
    }
}
