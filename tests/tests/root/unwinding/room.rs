//! Unwind tables that do not all find room: who leaves, and what is said of it.

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memlens_tests::report::Tables;
use memlens_tests::{Live, Memlens, Program, Victim};

use super::cases::{check_whole, check_whole_or_marked, text};

/// How long a table may take on a machine that is busy with other things.
const LIMIT: Duration = Duration::from_secs(30);

/// Waits for a report that says so of the tables.
fn wait_for(memlens: &mut Memlens, what: impl Fn(&Tables) -> bool) -> Result<()> {
    let start = Instant::now();
    while start.elapsed() < LIMIT {
        let report = memlens.report(LIMIT)?;
        if report.unwind.as_ref().is_some_and(&what) {
            return Ok(());
        }
    }
    anyhow::bail!("the tables were not built within {LIMIT:?}")
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

/// Room for the C library and one of the others: each one that is opened takes the place of the one that was closed, the
/// first comes back, and all stacks but the first ones are whole.
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
            tables.files + tables.departed >= 4 + opened
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
        if !stack.is_truncated() {
            whole += stack.totals.live_count;
        }
    }
    ensure!(whole >= 50, "only {whole} blocks of 100 have whole stacks");
    let tables = report.unwind.as_ref().context("no unwind tables")?;
    ensure!(
        tables.departed >= 2 && tables.left_out == 0 && tables.room_bytes <= 512 << 10,
        "{tables:?}"
    );
    ensure!(
        tables.files >= 4 && tables.bytes <= tables.room_bytes,
        "{tables:?}"
    );
    let note = report
        .notes
        .iter()
        .find(|note| note.contains("unwind tables"));
    ensure!(
        note.is_some_and(|note| note.contains("no process had mapped any more")),
        "{:?}",
        report.notes
    );
    Ok(())
}

/// Room for next to nothing: the blocks are counted all the same, each stack is marked, and a note says what to do.
#[test]
fn what_has_no_room_is_marked() -> Result<()> {
    let mut victim = Victim::start(Program::new("leak_each").command(&["malloc"])?)?;
    let memlens = Memlens::leaks(victim.pid(), &["--unwind-memory", "4KiB"])?;
    victim.go_to("done")?;
    let report = memlens.stop()?;
    report.check_exact(victim.pid(), Live::new(30_000, 1))?;
    for stack in &report.stacks {
        ensure!(stack.is_truncated(), "whole without tables: {stack:?}");
    }
    ensure!(
        report
            .notes
            .iter()
            .any(|note| note.contains("--unwind-memory") && note.contains("are cut")),
        "{:?}",
        report.notes
    );
    Ok(())
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
    wait_for(&mut memlens, |tables| tables.departed == 1)?;
    for victim in &mut victims {
        victim.go_to("done")?;
    }
    let report = memlens.stop()?;
    let names = ["leak_plugin", "call_plugin", "main"];
    for victim in &victims[1..] {
        let stacks = report.stacks_with("leak_plugin");
        let own = stacks.iter().filter(|stack| stack.pid == victim.pid());
        let mut own = own.filter(|stack| !stack.is_truncated());
        let stack = own.next();
        ensure!(stack.is_some(), "no whole stack of {}", victim.pid());
        check_whole(stack.expect("just checked"), &names)?;
    }
    for stack in report.stacks_with("leak_plugin") {
        check_whole_or_marked(stack, &names)?;
    }
    ensure!(
        report
            .notes
            .iter()
            .any(|note| note.contains("through 1 file")),
        "{:?}",
        report.notes
    );
    Ok(())
}
