//! `memlens vm --all` and its parts: every address space of the host, known to the page, from a process's birth to its
//! end.

mod programs;

use std::process::Command;

use anyhow::{Context, Result, ensure};
use memlens::profile::{Measure, Values};
use memlens_tests::address_space::{PAGE, mapped, trace_often, trace_with_ring};
use memlens_tests::cgroup::{self, Cgroup};
use memlens_tests::child::{Owned, send_signal};
use memlens_tests::container::{Container, Image};
use memlens_tests::host::ended_name;
use memlens_tests::{Memlens, Program, Report, Victim, elf32, need};
use tracer_common::loss::Loss;

/// The cgroup that a test runs in, with all that it starts.
struct Stage(cgroup::Stage);

impl Stage {
    /// Moves the test into it. Make it first, so that it is dropped last.
    fn enter() -> Result<Self> {
        cgroup::Stage::enter().map(Self)
    }

    /// Traces all that runs and will run in it.
    fn trace(&self, more: &[&str]) -> Result<Memlens> {
        let mut words = vec!["--cgroup", self.0.path()];
        words.extend(more);
        trace_often(&words)
    }
}

/// Waits until the unwind tables of programs that have just been met are built: stacks are whole from then on.
fn let_tables_be_built(memlens: &mut Memlens) -> Result<()> {
    let mut before = None;
    loop {
        let report = memlens.fresh_report()?;
        let tables = report.sections.unwind.context("nothing of unwind tables")?;
        if before.replace(tables) == Some(tables) {
            return Ok(());
        }
    }
}

/// Pages that a function's stacks of a process have mapped.
fn check_pages(report: &Report, pid: u32, expected: &[(&str, u64)]) -> Result<()> {
    for (function, pages) in expected {
        let found = report.pages_in(pid, function);
        ensure!(
            found == *pages,
            "{function} of PID {pid}: {found} pages, not {pages}"
        );
    }
    Ok(())
}

/// Several processes, there before and during the trace, each to the page.
fn check_several(trace: impl FnOnce() -> Result<Memlens>) -> Result<(Report, Vec<Victim>)> {
    let start = |name| Victim::start(Program::new("space_exact").named(name).command(&[])?);
    let mut victims = vec![start("space-one")?, start("space-two")?];
    let idle = Victim::start(Program::new("sleepy").command(&[])?)?;
    let mut memlens = trace()?;
    let own = memlens.pid();
    victims.push(start("space-late")?);
    let_tables_be_built(&mut memlens)?;
    for victim in &mut victims {
        victim.run()?;
    }
    let pids = victims.iter().map(Victim::pid).chain([idle.pid()]);
    let maps = pids.map(|pid| Ok((pid, mapped(pid)?)));
    let maps = maps.collect::<Result<Vec<_>>>()?;
    let report = memlens.stop()?;
    ensure!(report.process(own).is_err(), "memlens is in its own report");
    for (pid, maps) in maps {
        let row = report.check_mapped(pid, maps)?;
        ensure!(row.user.as_deref() == Some("root"), "{row:?}");
        ensure!(
            row.started_in_trace == (row.command == "space-late"),
            "{row:?}"
        );
    }
    Ok((report, victims))
}

/// Among all others of the host. How whole their stacks are is a matter of what else runs there, and wants its unwind
/// tables first.
#[test]
fn every_process_of_the_host_is_followed_to_the_page() -> Result<()> {
    need::root()?;
    let (report, _victims) = check_several(|| trace_often(&["--all"]))?;
    ensure!(report.host_wide()?.scope == "the whole host");
    Ok(())
}

#[test]
fn every_process_of_a_cgroup_has_its_stacks() -> Result<()> {
    let stage = Stage::enter()?;
    let (report, victims) = check_several(|| stage.trace(&[]))?;
    report.check_complete()?;
    for victim in &victims {
        let expected = [
            ("holed", 13),
            ("overmapped", 12),
            ("reserved", 262_144),
            ("attached", 5),
            ("broken", 7),
            ("detached", 0),
        ];
        check_pages(&report, victim.pid(), &expected)?;
    }
    Ok(())
}

/// A forked child begins with its parent's ranges and their stacks; both go on by themselves. A process that runs in
/// its parent's memory maps there.
#[test]
fn a_forked_child_is_followed_to_the_page() -> Result<()> {
    let stage = Stage::enter()?;
    let mut victim = Victim::start(Program::new("space_fork").command(&[])?)?;
    let mut memlens = stage.trace(&[])?;
    let_tables_be_built(&mut memlens)?;
    let child: u32 = victim.go_to("done")?.parse()?;
    let maps = [mapped(victim.pid())?, mapped(child)?];
    let report = memlens.stop()?;
    report.check_complete()?;
    report.check_mapped(victim.pid(), maps[0])?;
    report.check_mapped(child, maps[1])?;
    check_pages(
        &report,
        victim.pid(),
        &[
            ("in_parent", 10),
            ("later", 3),
            ("guest", 5),
            ("not_forked", 2),
            ("in_child", 0),
        ],
    )?;
    check_pages(
        &report,
        child,
        &[
            ("in_parent", 6),
            ("in_child", 7),
            ("later", 0),
            ("guest", 0),
            ("not_forked", 0),
        ],
    )
}

/// The parent has ended, also before the trace's reports: the stacks that its child's ranges came by are still named.
#[test]
fn an_orphan_keeps_the_stacks_of_its_parent() -> Result<()> {
    let stage = Stage::enter()?;
    let mut victim = Victim::start(Program::new("space_fork").command(&["orphan"])?)?;
    let mut memlens = stage.trace(&[])?;
    let_tables_be_built(&mut memlens)?;
    let child: u32 = victim.go_to("done")?.parse()?;
    victim.wait()?;
    // Some reports, each of which sweeps what is over.
    for _ in 0..3 {
        memlens.fresh_report()?;
    }
    let maps = mapped(child)?;
    let report = memlens.stop()?;
    send_signal(child, libc::SIGKILL)?;
    report.check_mapped(child, maps)?;
    ensure!(
        report.process(victim.pid()).is_err(),
        "the parent has a row"
    );
    check_pages(&report, child, &[("in_parent", 6), ("in_child", 7)])
}

/// A child of `fork` that calls `exec` has a new address space, known from its first instruction.
#[test]
fn exec_begins_a_new_address_space() -> Result<()> {
    let stage = Stage::enter()?;
    let mut memlens = stage.trace(&[])?;
    let program = Program::new("space_exact").build()?;
    // With a command behind it, so that the shell itself stays.
    let script = format!("'{}'; true", program.display());
    let mut command = Command::new(need::program("sh")?);
    command.args(["-c", &script]);
    let mut victim = Victim::start(command)?;
    let_tables_be_built(&mut memlens)?;
    victim.run()?;
    let maps = mapped(victim.pid())?;
    let report = memlens.stop()?;
    report.check_complete()?;
    let row = report.check_mapped(victim.pid(), maps)?;
    ensure!(row.command == "space_exact", "{row:?}");
    check_pages(&report, victim.pid(), &[("holed", 13), ("broken", 7)])
}

/// Processes in containers have their names, and are summed by them; so is overlayfs.
#[test]
fn containers_have_their_names() -> Result<()> {
    need::root()?;
    let image = Image::new(&Program::new("space_brief").named("contained"))?;
    let containers = [Container::on(&image)?, Container::over(&image)?];
    for container in &containers {
        let (mut before, before_pid) = container.start(&[])?;
        let scope = ["--cgroup", container.cgroup().path(), "--by", "container"];
        let mut memlens = trace_often(&scope)?;
        let (mut later, later_pid) = container.start(&[])?;
        let_tables_be_built(&mut memlens)?;
        before.run()?;
        later.run()?;
        let maps = [mapped(before_pid)?, mapped(later_pid)?];
        let report = memlens.stop()?;
        for (pid, maps) in [before_pid, later_pid].into_iter().zip(maps) {
            let row = report.check_mapped(pid, maps)?;
            ensure!(row.place.label() == container.name(), "{row:?}");
            check_pages(&report, pid, &[("held_at_end", 30)])?;
        }
        let groups = &report.host_wide()?.groups;
        let group = groups.iter().find(|group| group.name == container.name());
        let group = group.context("the container has no row")?;
        let mapped = group.totals.amount(Measure::VmMappedBytes);
        ensure!(mapped >= maps[0].0 + maps[1].0, "{group:?}");
    }
    Ok(())
}

/// What is left out has no row, whether it ran before or comes later.
#[test]
fn what_is_left_out_has_no_row() -> Result<()> {
    let stage = Stage::enter()?;
    let other = Cgroup::new()?;
    let start = |name| Program::new("space_exact").named(name).command(&[]);
    let mut stays = Victim::start(start("space-in")?)?;
    let mut by_name = Victim::start(start("space-not")?)?;
    let mut elsewhere = Victim::start(other.enter(start("space-in")?)?)?;
    let memlens = stage.trace(&["--exclude", "space-not", "--exclude", other.path()])?;
    let mut later = Victim::start(start("space-not")?)?;
    for victim in [&mut stays, &mut by_name, &mut elsewhere, &mut later] {
        victim.run()?;
    }
    let maps = mapped(stays.pid())?;
    let report = memlens.stop()?;
    report.check_mapped(stays.pid(), maps)?;
    for victim in [&by_name, &elsewhere, &later] {
        let pid = victim.pid();
        ensure!(report.process(pid).is_err(), "PID {pid} has a row");
        ensure!(
            report.mapped().iter().all(|row| row.pid() != Some(pid)),
            "PID {pid} has a stack"
        );
    }
    Ok(())
}

/// A 32-bit program has other system calls: it is left alone, and named.
#[test]
fn a_32_bit_program_is_named() -> Result<()> {
    let stage = Stage::enter()?;
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("space-tiny32");
    elf32::write(&path)?;
    let start = || Owned::start(&mut Command::new(&path));
    let mut before = start()?;
    let mut memlens = stage.trace(&[])?;
    let mut during = start()?;
    memlens.fresh_report()?;
    let report = memlens.stop()?;
    for small in [&mut before, &mut during] {
        ensure!(small.ended()?.is_none(), "{} ended", small.what());
        ensure!(report.process(small.pid()).is_err(), "it has a row");
    }
    report.check_says(&["space-tiny32"])
}

/// Starts so many processes a second, each of which ends at once; the victim that starts them.
fn spawner(name: &str, count: u64, rate: u32) -> Result<Victim> {
    let child = Program::new("space_brief").named(name).build()?;
    let child = child.to_string_lossy().into_owned();
    let (count, rate) = (count.to_string(), rate.to_string());
    Victim::start(Program::new("spawner").command(&[&count, &rate, &child])?)
}

/// More than two thousand a minute: each is counted, and what it held is known, whether its maps could be read in time
/// or not.
#[test]
fn short_lived_processes_leave_what_they_held() -> Result<()> {
    let stage = Stage::enter()?;
    const COUNT: u64 = 500;
    let mut one = spawner("space-single", 1, 0)?;
    let mut many = spawner("space-brief", COUNT, 40)?;
    let memlens = stage.trace(&[])?;
    one.run()?;
    many.run()?;
    let maps = mapped(many.pid())?;
    let report = memlens.stop()?;
    let [single, brief] =
        ["space-single", "space-brief"].map(|name| ended_name(report.host_wide()?, name));
    let (single, brief) = (single?, brief?);
    ensure!(
        (single.processes, brief.processes) == (1, COUNT),
        "{single:?} {brief:?}"
    );
    // The loader and the C library map some memory of their own, always as much.
    let [mapped, called, anonymous] = [
        Measure::VmMappedBytes,
        Measure::VmCalledBytes,
        Measure::VmAnonymousBytes,
    ]
    .map(|measure| move |held: &Values| held.amount(measure));
    let each = anonymous(&single.totals);
    ensure!(
        (30 * PAGE..60 * PAGE).contains(&each),
        "one process held {each} bytes"
    );
    ensure!(
        anonymous(&brief.totals) == COUNT * each
            && called(&brief.totals) == COUNT * called(&single.totals),
        "{brief:?} is not {COUNT} times {single:?}"
    );
    ensure!(mapped(&brief.totals) >= called(&brief.totals));
    ensure!(
        report.losses.of(Loss::LifecycleFull) == 0 && report.losses.of(Loss::ProcessTableFull) == 0
    );
    report.check_mapped(many.pid(), maps).map(|_| ())
}

/// A process that lived long or held much is named by itself.
#[test]
fn one_that_held_much_is_named() -> Result<()> {
    let stage = Stage::enter()?;
    let mut victim = Victim::start(Program::new("space_much").command(&[])?)?;
    let pid = victim.pid();
    let memlens = stage.trace(&[])?;
    victim.go_to("done")?;
    victim.exit()?;
    let report = memlens.stop()?;
    let mut ended = report.host_wide()?.ended.processes.iter();
    let ended = ended.find(|ended| ended.pid == pid);
    let held = &ended.context("it is not named")?.totals;
    ensure!(
        held.amount(Measure::VmAnonymousBytes) == 5_000 * PAGE,
        "{held:?}"
    );
    ensure!(
        held.amount(Measure::VmUnreadMaps) == 0
            && held.amount(Measure::VmMappedBytes) > held.amount(Measure::VmCalledBytes),
        "{held:?}"
    );
    Ok(())
}

/// With a ring of one page most events are lost: the maps tell what is there, and the report says so.
#[test]
fn lost_events_are_repaired_from_the_maps() -> Result<()> {
    let stage = Stage::enter()?;
    let mut storm = Victim::start(Program::new("space_storm").command(&["2", "60000"])?)?;
    let mut forks = Victim::start(Program::new("space_fork").command(&[])?)?;
    let memlens = trace_with_ring(&["--cgroup", stage.0.path()], "4096")?;
    storm.go()?;
    let child: u32 = forks.go_to("done")?.parse()?;
    storm.expect("done")?;
    let pids = [storm.pid(), forks.pid(), child];
    let maps = pids.map(mapped);
    let report = memlens.stop()?;
    ensure!(
        report.losses.of(Loss::SpaceRingFull) > 0,
        "nothing was lost"
    );
    for (pid, maps) in pids.into_iter().zip(maps) {
        report.check_maps_of(pid, maps?)?;
    }
    let totals = &report.process(storm.pid())?.totals;
    ensure!(totals.amount(Measure::VmRepairedBytes) > 0, "{totals:?}");
    Ok(())
}

/// A stack that several processes have in common is one row.
#[test]
fn stacks_that_processes_share_are_one() -> Result<()> {
    let stage = Stage::enter()?;
    let start = || Victim::start(Program::new("space_exact").command(&[])?);
    let mut victims = [start()?, start()?, start()?];
    let mut memlens = stage.trace(&["--by", "stack"])?;
    let_tables_be_built(&mut memlens)?;
    for victim in &mut victims {
        victim.run()?;
    }
    let report = memlens.stop()?;
    let mut stacks = report.mapped();
    stacks.retain(|stack| stack.has("holed"));
    let [stack] = stacks[..] else {
        anyhow::bail!("not one stack: {stacks:?}");
    };
    ensure!(stack.pids().len() == 3, "{stack:?}");
    let mapped = stack.amount(Measure::VmMappedBytes);
    ensure!(mapped == 3 * 13 * PAGE, "{stack:?}");
    Ok(())
}
