//! What a trace of the kernel's memory loses: its tables are filled by the test before it counts.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, HashMap, Map, MapData, loaded_maps};
use memlens::bpf::{CacheFilter, KernelMemory, KernelSettings};
use memlens_tests::child::until;
use memlens_tests::{Program, Victim, need};
use tracer_common::kernel_memory::{CACHES, Cache, KernelLoss, KernelState, Kind, ROWS};

/// A record as the table keeps it.
type Bytes<const LENGTH: usize> = [u8; LENGTH];
const CACHE: usize = size_of::<Cache>();
/// Files that the victim opens.
const FILES: u64 = 3_000;

/// A trace of the cache of files that does not count yet.
fn load() -> Result<KernelMemory> {
    need::root()?;
    let settings = KernelSettings {
        sample_bytes: None,
        min_size: 0,
        max_live: 100_000,
        slab: true,
        pages: false,
        percpu: false,
        cache: Some(CacheFilter::Named("filp".to_owned())),
        order: None,
        movable: false,
    };
    Ok(KernelMemory::load(&settings)?)
}

/// A table of the trace that was loaded last.
fn table(name: &str) -> Result<MapData> {
    let mut found = None;
    for map in loaded_maps() {
        let map = map?;
        if map.name_as_str() == Some(name) && found < Some(map.id()) {
            found = Some(map.id());
        }
    }
    let id = found.with_context(|| format!("no map {name} is loaded"))?;
    Ok(MapData::from_id(id)?)
}

fn victim() -> Result<Victim> {
    holder(&[])
}

fn holder(more: &[&str]) -> Result<Victim> {
    let program = Program::new("kernel_holder").flag("-pthread");
    let files = FILES.to_string();
    Victim::start(program.command(&[&["eventfd", &files], more].concat())?)
}

fn lost(trace: &KernelMemory, loss: KernelLoss) -> Result<u64> {
    Ok(trace.losses()?.get(&loss).copied().unwrap_or(0))
}

/// Waits until a counter has counted so many: what waits for all CPUs to pass (RCU) is released a little later.
fn wait_for(trace: &KernelMemory, loss: KernelLoss, least: u64) -> Result<()> {
    let what = format!("{least} counted as {}", loss.name());
    until(&what, Duration::from_secs(10), || {
        Ok((lost(trace, loss)? >= least).then_some(()))
    })
}

/// Without a row for its stack a block is counted on the row of its kind.
#[test]
fn a_full_table_of_stacks() -> Result<()> {
    let mut trace = load()?;
    let state = table("KERNEL_STATE")?;
    let mut state: Array<MapData, KernelState> = Map::Array(state).try_into()?;
    let full = KernelState {
        rows: ROWS,
        ..state.get(&0, 0)?
    };
    state.set(0, full, 0)?;
    trace.enable();
    let mut victim = victim()?;
    victim.go_to("held")?;
    wait_for(&trace, KernelLoss::StackTableFull, FILES)?;
    let caches = trace.caches()?;
    let (_, size) = caches
        .values()
        .find(|(name, _)| name == "filp")
        .context("no cache of files was seen")?;
    let totals = trace.totals(Kind::Slab as u32);
    let held = totals.alloc_bytes - totals.free_bytes;
    ensure!(
        held >= FILES * u64::from(*size),
        "{held} bytes are held without a stack, {FILES} files of {size} bytes are open"
    );
    Ok(())
}

/// Objects of a cache that the table has no place for are counted each time.
#[test]
fn a_full_table_of_caches() -> Result<()> {
    let mut trace = load()?;
    let caches = table("KERNEL_CACHES")?;
    let mut caches: HashMap<MapData, u64, Bytes<CACHE>> = Map::HashMap(caches).try_into()?;
    for address in 1..=u64::from(CACHES) {
        caches.insert(address, [0; CACHE], 0)?;
    }
    trace.enable();
    let mut victim = victim()?;
    victim.go_to("held")?;
    wait_for(&trace, KernelLoss::CachesFull, FILES)
}

/// A release that was not seen is noticed when an object is allocated at the same address. Every second file is closed,
/// so that the memory of the others keeps theirs from going elsewhere.
#[test]
fn releases_that_were_not_seen() -> Result<()> {
    let mut trace = load()?;
    trace.enable();
    let mut first = holder(&["thin out"])?;
    first.go_to("held")?;
    assert_eq!(lost(&trace, KernelLoss::MissedFrees)?, 0);
    trace.disable();
    first.go_to("thinned")?;
    // Some kernels release a file when all CPUs have passed (RCU).
    std::thread::sleep(Duration::from_secs(1));
    trace.enable();
    let mut second = victim()?;
    second.go_to("held")?;
    wait_for(&trace, KernelLoss::MissedFrees, FILES / 4)
}

/// Blocks from before the trace are unknown to it.
#[test]
fn releases_of_what_was_there_before() -> Result<()> {
    let mut victim = victim()?;
    victim.go_to("held")?;
    let mut trace = load()?;
    trace.enable();
    victim.go_to("closed")?;
    wait_for(&trace, KernelLoss::UnknownFrees, FILES)
}
