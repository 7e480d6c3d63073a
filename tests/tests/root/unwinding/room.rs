//! Unwind tables that do not all find room: who leaves, and what is said of it.

use anyhow::{Context, Result, ensure};
use memlens::profile::TableUse;
use memlens_tests::{HeapFigures as _, Live, Memlens, Program, Report, Row, Victim};

use super::cases::{check_whole, check_whole_or_marked, text};

/// Waits for a report that says so of the tables.
fn wait_for(memlens: &mut Memlens, what: impl Fn(&TableUse) -> bool) -> Result<()> {
    let is_it = |report: &Report| report.sections.unwind.as_ref().is_some_and(&what);
    memlens.report_with("unwind tables", is_it).map(drop)
}

/// Libraries with large tables and different leaks: `leak_plugin` of 50, 51, ... bytes.
fn wide_libraries(count: u32) -> Result<Vec<String>> {
    (50..50 + count)
        .map(|size| {
            let library = Program::library("wide_library")
                .flag("-DNAME=leak_plugin")
                .flag(format!("-DSIZE={size}"));
            Ok(text(&library.build()?)?.to_owned())
        })
        .collect()
}

/// Room for the C library and one of the others: each one that is opened takes the place of the one that was closed,
/// the first comes back, and all stacks but the first ones are whole.
#[test]
fn tables_of_closed_libraries_leave() -> Result<()> {
    let paths = wide_libraries(3)?;
    let [one, two, three] = [0, 1, 2].map(|at| paths[at].as_str());
    let order = ["leak_plugin", one, two, three, one, two];
    let mut victim = Victim::start(Program::new("swap_plugins").command(&order)?)?;
    let mut memlens = Memlens::leaks(victim.pid(), &["1", "--unwind-memory", "512KiB"])?;
    for (opened, _) in (1..).zip(&order[1..]) {
        victim.go_to("opened")?;
        // The program, its libraries and the vdso are there from the start.
        wait_for(&mut memlens, |tables| {
            tables.files + tables.evicted >= 4 + opened
        })?;
        victim.go_to("closed")?;
    }
    victim.go_to("done")?;
    let report = memlens.stop()?;
    report.check_complete()?;
    report.check_balance()?;
    let bytes = 2 * (50 + 51) + 52;
    report.check_function("leak_plugin", Live::new(20 * bytes, 100))?;
    let mut whole = 0;
    for stack in report.stacks_with("leak_plugin") {
        let names = ["leak_plugin", "call_plugin", "main"];
        check_whole_or_marked(stack, &names)?;
        if stack.cut().is_none() {
            whole += stack.live().blocks;
        }
    }
    ensure!(whole >= 50, "only {whole} blocks of 100 have whole stacks");
    let tables = report.sections.unwind.context("no unwind tables")?;
    ensure!(
        tables.evicted >= 2 && tables.left_out == 0 && tables.capacity_bytes <= 512 << 10,
        "{tables:?}"
    );
    ensure!(
        tables.files >= 4 && tables.bytes <= tables.capacity_bytes,
        "{tables:?}"
    );
    report.check_says(&["unwind tables", "no process had mapped any more"])
}

/// Room for next to nothing: the blocks are counted all the same, each stack is marked, and a note says what to do.
#[test]
fn what_has_no_room_is_marked() -> Result<()> {
    let mut victim = Victim::start(Program::new("leak_each").command(&["malloc"])?)?;
    let memlens = Memlens::leaks(victim.pid(), &["--unwind-memory", "4KiB"])?;
    victim.go_to("done")?;
    let report = memlens.stop()?;
    report.check_exact(victim.pid(), Live::new(30_000, 1))?;
    for stack in report.heap() {
        ensure!(stack.cut().is_some(), "whole without tables: {stack:?}");
    }
    report.check_says(&["--unwind-memory", "are cut"])
}

/// A file that two processes have mapped takes the room of one that a single process has: no two take turns.
#[test]
fn the_most_used_table_stays() -> Result<()> {
    let paths = wide_libraries(2)?;
    let open = |path: &str| -> Result<Victim> {
        let program = Program::new("plugin");
        Victim::start(program.command(&["late", path, "leak_plugin"])?)
    };
    let mut victims = [open(&paths[0])?, open(&paths[1])?, open(&paths[1])?];
    let pids = victims.each_ref().map(|victim| victim.pid().to_string());
    let arguments = ["1", "--unwind-memory", "512KiB"];
    let mut memlens = Memlens::leaks_of(&["-p", &pids.join(",")], &arguments)?;
    let [first, second, third] = &mut victims;
    first.go_to("step")?;
    // The program, its libraries and the vdso are there from the start.
    wait_for(&mut memlens, |tables| tables.files == 5)?;
    second.go_to("step")?;
    wait_for(&mut memlens, |tables| tables.left_out == 1)?;
    third.go_to("step")?;
    wait_for(&mut memlens, |tables| tables.evicted == 1)?;
    for victim in &mut victims {
        victim.go_to("done")?;
    }
    let report = memlens.stop()?;
    let names = ["leak_plugin", "call_plugin", "main"];
    for victim in &victims[1..] {
        let stacks = report.stacks_with("leak_plugin");
        let own = |stack: &&Row<'_>| stack.pid() == Some(victim.pid());
        let mut whole = stacks
            .iter()
            .filter(own)
            .filter(|stack| stack.cut().is_none());
        let stack = whole.next();
        let stack = stack.with_context(|| format!("no whole stack of {}", victim.pid()))?;
        check_whole(*stack, &names)?;
    }
    for stack in report.stacks_with("leak_plugin") {
        check_whole_or_marked(stack, &names)?;
    }
    report.check_says(&["through 1 file"])
}
