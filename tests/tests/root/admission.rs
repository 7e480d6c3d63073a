//! Processes of a scope: the kernel side admits those that have probes at their first call, and their rows are used
//! again.

use std::collections::HashSet;
use std::ops::Range;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens::attach::symbols::ObjectSymbols;
use memlens::bpf::{Events, Method, Probe, Settings, Tracer};
use memlens::engine::attach::{Allocator, Prober, probes};
use memlens_tests::{Live, Program, Victim, code, need};
use tracer_common::config::Admission;
use tracer_common::event::{LifecycleEvent, LifecycleKind};
use tracer_common::key::Owner;
use tracer_common::limits::MAX_PROCESSES;
use tracer_common::loss::Loss;
use tracer_common::sampling::COUNT_ONE;

/// A trace of victims that are static, so that each has its allocator in its own file.
struct Trace {
    tracer: Tracer,
    events: Events<LifecycleEvent>,
    leak_one: Range<u64>,
    program: PathBuf,
    probes: Vec<Probe>,
}

fn victim(how: &str) -> Result<Victim> {
    Victim::start(Program::new("admitted").statically().command(&[how])?)
}

impl Trace {
    fn start() -> Result<Self> {
        Self::start_by(Method::UprobeMulti)
    }

    fn start_by(method: Method) -> Result<Self> {
        need::root()?;
        let settings = Settings {
            sample_bytes: None,
            min_size: 0,
            max_size: u64::MAX,
            stack_depth: 8,
            max_live: 100_000,
            trace_calls: false,
            space_ring: 0,
            faults: None,
            unwind: None,
            method,
            admit: Admission::Calls,
            adaptive: true,
            may_sample: true,
            diagnostics: 0,
        };
        let mut tracer = Tracer::load(&settings)?;
        let program = Program::new("admitted").statically().build()?;
        let image = std::fs::read(&program)?;
        let symbols = ObjectSymbols::parse(&image)?;
        let leak_one = symbols
            .functions
            .iter()
            .find(|function| function.name == "leak_one")
            .context("no leak_one in the victim")?;
        let leak_one = leak_one.vaddr..leak_one.vaddr + leak_one.size;
        let allocator = Allocator {
            prefix: None,
            object: None,
        };
        let first = victim("leak")?;
        let files = Prober::new(&allocator, false).survey(first.pid())?;
        let [file] = files.as_slice() else {
            anyhow::bail!("{} files with an allocator", files.len());
        };
        let probes = probes(file);
        let events = tracer.take_lifecycle()?;
        tracer.enable();
        Ok(Self {
            tracer,
            events,
            leak_one,
            program,
            probes,
        })
    }

    /// A victim with probes.
    fn victim(&mut self, how: &str) -> Result<Victim> {
        let victim = victim(how)?;
        let (links, ebpf) = self.tracer.links();
        links.attach(ebpf, victim.pid(), &self.program, &self.probes)?;
        Ok(victim)
    }

    /// The events of one kind, as owner and row.
    fn events(&mut self, kind: LifecycleKind) -> Vec<(Owner, u32)> {
        std::iter::from_fn(|| self.events.take_next())
            .filter(|event| event.kind == kind as u32)
            .map(|event| (event.owner, event.slot))
            .collect()
    }

    /// What a process holds from leak_one.
    fn held(&mut self, tgid: u32) -> Live {
        self.tracer.new_stacks();
        let mut live = Live::default();
        for row in self.tracer.stack_rows() {
            let Some(meta) = self
                .tracer
                .stack_meta(row)
                .filter(|meta| meta.owner.tgid == tgid)
            else {
                continue;
            };
            let frames = self.tracer.stack_frames(&meta);
            if frames
                .first()
                .is_some_and(|caller| self.leak_one.contains(caller))
            {
                let totals = self.tracer.totals(row);
                live.bytes += totals.alloc_bytes - totals.free_bytes;
                live.blocks += (totals.alloc_count - totals.free_count) / COUNT_ONE;
            }
        }
        live
    }

    fn rows(&self) -> Vec<u32> {
        self.tracer.process_rows().map(|(row, _)| row).collect()
    }

    fn lost(&self, loss: Loss) -> Result<u64> {
        Ok(self.tracer.losses()?.get(&loss).copied().unwrap_or(0))
    }

    /// Forgets a process that has ended, with all that it left.
    fn release(&mut self, owner: Owner, row: u32) -> Result<()> {
        self.tracer.new_stacks();
        self.tracer
            .live()
            .remove_images(&HashSet::from([owner.image]))?;
        let stacks = self.tracer.stack_rows_of(|other| other == owner);
        self.tracer.release_stack_rows(&stacks)?;
        Ok(self.tracer.release_process(row)?)
    }
}

/// A process begins to be traced by itself, and its row and stacks are free again when it has ended.
#[test]
fn a_process_comes_and_goes() -> Result<()> {
    let mut trace = Trace::start()?;
    for round in 0..3 {
        ensure!(trace.rows().is_empty(), "rows in use: {:?}", trace.rows());
        let mut victim = trace.victim("leak")?;
        victim.go_to("done")?;
        let admitted = trace.events(LifecycleKind::Admitted);
        let [(owner, row)] = admitted[..] else {
            anyhow::bail!("admitted: {admitted:?}");
        };
        assert_eq!((owner.tgid, row), (victim.pid(), 0), "round {round}");
        assert_eq!(trace.tracer.row_of(victim.pid()), Some(row));
        assert_eq!(trace.held(victim.pid()), Live::new(3000, 3));
        let pid = victim.pid();
        victim.exit()?;
        assert_eq!(trace.events(LifecycleKind::Exit), [(owner, row)]);
        let (_, process) = trace.tracer.process_rows().next().context("no row")?;
        assert_eq!((process.active, process.owner), (0, owner));
        assert_eq!(trace.tracer.row_of(pid), None);
        trace.release(owner, row)?;
        assert_eq!(trace.tracer.stack_rows().count(), 0);
        let mut left = 0;
        trace.tracer.live().for_each(|_, _, _| left += 1)?;
        assert_eq!(left, 0);
    }
    Ok(())
}

/// A child of fork has its parent's breakpoints, but no probes: its calls are not counted, user space is told of it,
/// and the kernel clears its memory when it is asked to.
#[test]
fn a_forked_child_has_no_probes() -> Result<()> {
    let mut trace = Trace::start()?;
    let mut victim = trace.victim("fork")?;
    let parent = victim.pid();
    victim.go_to("done")?;
    assert_eq!(trace.held(parent), Live::new(1000, 1));
    let forked = trace.events(LifecycleKind::Forked);
    let [(owner, child)] = forked[..] else {
        anyhow::bail!("forked: {forked:?}");
    };
    assert_eq!(owner.tgid, parent);
    assert_eq!(trace.rows().len(), 1);
    assert_eq!(trace.lost(Loss::UntracedChildren)?, 0);
    ensure!(
        !code::changed(child)?.is_empty(),
        "there is nothing to clear"
    );
    let (links, ebpf) = trace.tracer.links();
    links.clear_copies(ebpf, parent, &trace.program, &trace.probes)?;
    code::until_unchanged(child)?;
    ensure!(
        !code::changed(parent)?.is_empty(),
        "the parent has lost its probes"
    );
    Ok(())
}

/// A child of vfork runs in its parent's memory until it calls exec: it has no row of its own, and its calls are not
/// seen. Here it releases one block of 700 bytes, and its parent the other.
#[test]
fn a_vforked_child_is_a_guest() -> Result<()> {
    let mut trace = Trace::start()?;
    let mut victim = trace.victim("vfork")?;
    victim.go_to("done")?;
    assert_eq!(trace.held(victim.pid()), Live::new(700, 1));
    assert_eq!(trace.events(LifecycleKind::Forked), []);
    for (_, process) in trace.tracer.process_rows() {
        assert_eq!((process.owner.tgid, process.guests), (victim.pid(), 0));
    }
    Ok(())
}

/// Threads that make their first calls together are one process.
#[test]
fn threads_race_for_one_row() -> Result<()> {
    let mut trace = Trace::start()?;
    for _ in 0..10 {
        let mut victim = trace.victim("race")?;
        victim.go_to("done")?;
        assert_eq!(trace.held(victim.pid()), Live::new(4000, 4));
        let admitted = trace.events(LifecycleKind::Admitted);
        let [(owner, row)] = admitted[..] else {
            anyhow::bail!("admitted: {admitted:?}");
        };
        assert_eq!(trace.rows(), [row]);
        victim.exit()?;
        trace.release(owner, row)?;
    }
    Ok(())
}

/// A process that is kept out is not counted, but its hits are.
#[test]
fn an_excluded_process() -> Result<()> {
    let mut trace = Trace::start()?;
    let mut victim = trace.victim("many")?;
    let row = trace.tracer.exclude_process(victim.pid())?;
    victim.go_to("done")?;
    assert_eq!(trace.held(victim.pid()), Live::default());
    let hits = |trace: &Trace| {
        let rows: Vec<_> = trace.tracer.process_rows().collect();
        rows.iter()
            .find(|(found, _)| *found == row)
            .map(|(_, process)| process.hits)
    };
    let seen = hits(&trace).context("no row")?;
    // Each pair is three hits at most: the kernel may leave out the return where the entry did nothing.
    ensure!(
        (199_000..=301_000).contains(&seen),
        "{seen} hits of 100,000 pairs"
    );
    victim.exit()?;
    let seen = hits(&trace).context("no row")?;
    ensure!(seen >= 200_000, "{seen} hits at the end");
    Ok(())
}

/// With no row left calls are counted as missed; a row that becomes free is taken.
#[test]
fn a_full_table() -> Result<()> {
    let mut trace = Trace::start()?;
    // No process has an ID like that (PID_MAX_LIMIT).
    const NOBODY: u32 = 5_000_000;
    for number in 0..MAX_PROCESSES {
        trace.tracer.exclude_process(NOBODY + number)?;
    }
    ensure!(
        trace.tracer.add_process(NOBODY - 1).is_err(),
        "room for one more"
    );
    let mut late = trace.victim("leak")?;
    late.go_to("done")?;
    assert_eq!(trace.held(late.pid()), Live::default());
    ensure!(trace.lost(Loss::ProcessTableFull)? >= 3);
    let row = trace.tracer.row_of(NOBODY + 7).context("no row")?;
    trace.tracer.release_process(row)?;
    let mut second = trace.victim("leak")?;
    second.go_to("done")?;
    assert_eq!(trace.held(second.pid()), Live::new(3000, 3));
    assert_eq!(trace.tracer.row_of(second.pid()), Some(row));
    Ok(())
}

/// While the sampling interval changes under a running process, what a release takes off is what its allocation added:
/// at the end the totals are those of the blocks that are left.
#[test]
fn steps_change_while_blocks_come_and_go() -> Result<()> {
    let mut trace = Trace::start()?;
    let mut victim = trace.victim("many")?;
    trace.tracer.add_process(victim.pid())?;
    let row = trace.tracer.row_of(victim.pid()).context("no row")?;
    victim.go()?;
    for step in (0..200).map(|turn| [0, 3, 1, 2][turn % 4]) {
        trace.tracer.set_step(row, step);
        std::thread::sleep(Duration::from_millis(1));
    }
    victim.expect("done")?;
    trace.tracer.new_stacks();
    let mut by_row = std::collections::BTreeMap::<u32, (u64, u64)>::new();
    let mut sampled = 0;
    trace.tracer.live().for_each(|_, _, block| {
        let (bytes, count) = block.weight(0);
        let sums = by_row.entry(block.stack).or_default();
        *sums = (sums.0 + bytes, sums.1 + count);
        sampled += u64::from(block.step() > 0);
    })?;
    let mut allocated = 0;
    for row in trace.tracer.stack_rows() {
        let totals = trace.tracer.totals(row);
        let (bytes, count) = by_row.remove(&row).unwrap_or_default();
        assert_eq!(totals.alloc_bytes - totals.free_bytes, bytes, "row {row}");
        assert_eq!(totals.alloc_count - totals.free_count, count, "row {row}");
        allocated += totals.alloc_bytes;
    }
    ensure!(
        by_row.is_empty(),
        "blocks on rows that are not known: {by_row:?}"
    );
    // 6.4 MB in blocks of 64 bytes; were all sampled at the coarsest interval, 64 KiB, the standard error would be 0.65
    // MB.
    ensure!(
        (3_000_000..12_000_000).contains(&allocated),
        "{allocated} bytes allocated"
    );
    Ok(())
}

/// Where the kernel has sessions, a call that is not sampled is one hit and its release another; else its return is a
/// third.
#[test]
fn a_session_spares_the_returns() -> Result<()> {
    let hits_by = |method: Method| -> Result<u64> {
        let mut trace = Trace::start_by(method)?;
        let mut victim = trace.victim("many")?;
        trace.tracer.add_process(victim.pid())?;
        let row = trace.tracer.row_of(victim.pid()).context("no row")?;
        trace.tracer.set_step(row, 6);
        victim.go_to("done")?;
        let mut rows = trace.tracer.process_rows();
        let (_, process) = rows.find(|(found, _)| *found == row).context("no row")?;
        Ok(process.hits)
    };
    let by_session = hits_by(Method::UprobeSession)?;
    let by_multi = hits_by(Method::UprobeMulti)?;
    ensure!(
        (199_000..=205_000).contains(&by_session),
        "{by_session} hits"
    );
    ensure!((299_000..=301_000).contains(&by_multi), "{by_multi} hits");
    Ok(())
}
