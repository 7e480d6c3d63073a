//! The programs of `memlens kernel`: an object of its own, so that a trace of processes carries none of its tables, nor
//! this one theirs.

use std::collections::{BTreeMap, HashMap};
use std::os::fd::AsFd;
use std::sync::LazyLock;
use std::sync::atomic::{Ordering, fence};

use aya::programs::Program;
use aya::{Ebpf, EbpfLoader};
use tracer_common::kernel_memory::{
    Cache, DEPTH, FRAMES, KernelBlock, KernelGuard, KernelLoss, KernelRow, KernelState, ROWS,
    SPARE_ROWS, What,
};
use tracer_common::key::StackTotals;
use zerocopy::FromBytes;

use super::batch::HashTable;
use super::error::LoadError;
use super::kernel_offsets::{self, Layout};
use super::kernel_programs::{self, DOUBLED, FIRST_RELEASE, NUMBERS, SINGLE};
use super::kernel_settings::{KernelSettings, config, name_of};
use super::live::{LiveTable, Sizes};
use super::object::{self, map_fd, view};
use super::packed::Object;
use super::sys;
use super::view::ArrayView;

/// The BPF object, built and committed by `cargo xtask ebpf`.
static OBJECT: LazyLock<Object> = object_file!("kernel");

/// A loaded trace of the kernel's memory.
pub struct KernelMemory {
    ebpf: Ebpf,
    live: LiveTable,
    state: ArrayView<KernelState>,
    rows: ArrayView<KernelRow>,
    frames: ArrayView<u64>,
    totals: ArrayView<StackTotals>,
    /// What is not followed, in sentences.
    gaps: Vec<String>,
    /// What had been lost when the trace began to count: between the placing of a program and of the one behind it.
    lost_before: Vec<u64>,
}

impl KernelMemory {
    /// Loads the programs that the settings need and places them; nothing is counted before [`Self::enable`].
    ///
    /// # Errors
    /// [`LoadError`] where the kernel cannot be followed, or refuses.
    pub fn load(settings: &KernelSettings) -> Result<Self, LoadError> {
        let layout = kernel_offsets::layout()?;
        let mut ebpf = open(settings, &layout)?;
        let live = live_table(&ebpf, settings)?;
        let gaps = kernel_programs::place_all(&mut ebpf, settings, &layout)?;
        let loaded = Self {
            live,
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
        // Once more, with all that the programs have written before the state.
        fence(Ordering::Acquire);
        let entry = self.rows.read(row as usize)?;
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

    /// A row's totals.
    pub fn totals(&self, row: u32) -> StackTotals {
        self.totals.totals(row)
    }

    /// Names and object sizes of the caches seen so far, by their address in the kernel.
    ///
    /// # Errors
    /// [`LoadError::Map`] if the table cannot be read.
    pub fn caches(&self) -> Result<HashMap<u64, (String, u32)>, LoadError> {
        let mut caches = HashMap::new();
        self.for_each("KERNEL_CACHES", |address: &u64, cache: &Cache| {
            caches.insert(*address, (name_of(&cache.name), cache.size));
        })?;
        Ok(caches)
    }

    /// Calls `visit` for each live block; those that come and go meanwhile may be missed.
    ///
    /// # Errors
    /// [`LoadError::Map`] if the table cannot be read.
    pub fn for_each_live(&self, mut visit: impl FnMut(&KernelBlock)) -> Result<(), LoadError> {
        let all = self
            .live
            .for_each(|_, payload| visit(&KernelBlock::from_payload(payload)));
        all.map_err(|source| LoadError::Map {
            map: "KERNEL_LIVE",
            source,
        })
    }

    /// Reads a hash table from `u64`.
    fn for_each<V: FromBytes + Copy>(
        &self,
        map: &'static str,
        visit: impl FnMut(&u64, &V),
    ) -> Result<(), LoadError> {
        HashTable::new(map_fd(&self.ebpf, map)?)
            .and_then(|table| table.for_each(visit))
            .map_err(|source| LoadError::Map { map, source })
    }

    /// Loss counters that are not zero, summed over the CPUs.
    ///
    /// # Errors
    /// [`LoadError`] if a counter cannot be read.
    pub fn losses(&self) -> Result<BTreeMap<KernelLoss, u64>, LoadError> {
        let mut losses = object::losses(&self.ebpf)?;
        let (allocs, frees) = self.passed_over()?;
        losses.insert(KernelLoss::NestedAllocs, allocs);
        losses.insert(KernelLoss::NestedFrees, frees);
        losses.retain(|_, count| *count > 0);
        Ok(losses)
    }

    /// How often a second program has done the work of a first one that an interrupt came upon.
    ///
    /// # Errors
    /// [`LoadError`] if the counters cannot be read.
    pub fn taken_over(&self) -> Result<u64, LoadError> {
        NUMBERS
            .iter()
            .map(|number| self.taken_over_by(*number))
            .sum()
    }

    /// The same, of one program.
    fn taken_over_by(&self, number: u32) -> Result<u64, LoadError> {
        let guards = object::per_cpu::<KernelGuard>(&self.ebpf, "GUARDS")?.get(&number, 0)?;
        Ok(guards.iter().map(|guard| guard.taken_over).sum())
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

    /// What each program was passed over in, less what the second one has done in its place; then the programs that
    /// stand alone.
    fn lost(&self) -> Result<Vec<u64>, LoadError> {
        let mut all = Vec::new();
        for (index, (name, _, _)) in DOUBLED.iter().enumerate() {
            // The second one's counter is read last: it only grows.
            let missed = self.missed(name);
            all.push(missed.saturating_sub(self.taken_over_by(NUMBERS[index])?));
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

    /// Loads the programs and places none; instructions that the verifier has walked through for each, by its name.
    /// Programs that this kernel does not allow at functions are left out.
    ///
    /// # Errors
    /// As [`Self::load`].
    pub fn verify(settings: &KernelSettings) -> Result<BTreeMap<String, u32>, LoadError> {
        let mut ebpf = open(settings, &kernel_offsets::layout()?)?;
        for (_, program) in ebpf.programs_mut() {
            if let Program::RawTracePoint(program) = program {
                program.load()?;
            }
        }
        Ok(object::verified_instructions(&ebpf).collect())
    }
}

/// Makes the tables; no program is loaded yet.
fn open(settings: &KernelSettings, layout: &Layout) -> Result<Ebpf, LoadError> {
    Ok(EbpfLoader::new()
        .override_global("CONFIG", &config(settings, layout), true)
        .load(&OBJECT)?)
}

/// The table of live blocks, at once as large as it may become: memory that is asked for during the trace would be a
/// part of what the trace finds.
fn live_table(ebpf: &Ebpf, settings: &KernelSettings) -> Result<LiveTable, LoadError> {
    let sizes = Sizes::up_to(settings.max_live);
    let directory = view(ebpf, "KERNEL_LIVE_DIRECTORY", 1)?;
    LiveTable::new(map_fd(ebpf, "KERNEL_LIVE")?, directory, sizes, sizes.most()).map_err(|cause| {
        LoadError::Create {
            map: "KERNEL_LIVE".into(),
            cause,
        }
    })
}
