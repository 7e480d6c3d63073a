//! Stacks of code without frame pointers: equal to gdb's, or marked; never wrong.

pub mod busy;
mod cases;
mod damage;
mod room;

use std::collections::HashSet;
use std::time::Duration;

use anyhow::{Result, ensure};
use memlens::profile::CutReason;
use memlens_tests::child::until_worked;
use memlens_tests::gdb::{self, Sample};
use memlens_tests::row::is_of;
use memlens_tests::{HeapFigures as _, Memlens, Program, Report, Row, Victim, need};

use busy::Busy;

/// Frames that memlens keeps.
const DEPTH: usize = 127;
/// How much of a program's work memlens looks at, in CPU time: it is repeated again and again.
const WINDOW: Duration = Duration::from_secs(2);
/// How often it looks again for stacks of gdb that it has not met: what a timer does happens seldom.
const WINDOWS: u32 = 4;
/// Functions that a thread's stack begins with.
const OUTERMOST: [&str; 6] = [
    "_start",
    "clone3",
    "__clone3",
    "clone",
    "__clone",
    "__GI___clone",
];

/// How gdb's stacks are found again.
#[derive(Debug, Default)]
struct Tally {
    equal: usize,
    marked: usize,
    /// memlens met no call from there at all.
    unseen: usize,
    wrong: Vec<String>,
}

impl Tally {
    fn check(&self, program: &str) -> Result<()> {
        let all = self.equal + self.marked + self.wrong.len();
        println!(
            "{program}: {all} stacks of gdb, {} equal, {} cut and marked, {} wrong ({} did not come again)",
            self.equal,
            self.marked,
            self.wrong.len(),
            self.unseen
        );
        ensure!(all >= 100, "{program}: only {all} stacks");
        ensure!(
            self.wrong.is_empty(),
            "{program}: {} of {all} stacks are wrong:\n{}",
            self.wrong.len(),
            self.wrong.join("\n")
        );
        ensure!(
            self.unseen * 100 <= all,
            "{program}: {} of gdb's stacks did not come again",
            self.unseen
        );
        ensure!(
            self.equal * 1000 >= all * 995,
            "{program}: only {} of {all} are whole",
            self.equal
        );
        Ok(())
    }
}

/// A process that works all the time, first under gdb, then under memlens: everything that gdb saw must be there.
/// The native frames: gdb knows no others.
fn compare(program: &str, pid: u32, sample: Sample) -> Result<()> {
    need::root()?;
    let truth = gdb::malloc_stacks(pid, sample)?;
    let distinct: HashSet<_> = truth.iter().collect();
    let depths = truth.iter().map(Vec::len);
    println!(
        "{program}: {} distinct stacks of gdb, {} to {} frames",
        distinct.len(),
        depths.clone().min().unwrap_or(0),
        depths.max().unwrap_or(0)
    );
    ensure!(distinct.len() >= 10, "{program}: all stacks are alike");
    let mut reports = vec![observe(pid, &["--no-interpreters"])?];
    let mut tally = count(&truth, &rows(&reports));
    for _ in 1..WINDOWS {
        if tally.equal == truth.len() {
            break;
        }
        reports.push(observe(pid, &["--no-interpreters"])?);
        tally = count(&truth, &rows(&reports));
    }
    tally.check(program)?;
    check_ends(program, &reports)
}

/// All stacks of a while.
fn observe(pid: u32, more: &[&str]) -> Result<Report> {
    let memlens = Memlens::leaks(pid, &[&["--all-stacks"], more].concat())?;
    until_worked(pid, WINDOW)?;
    memlens.stop()
}

fn rows(reports: &[Report]) -> Vec<Row<'_>> {
    reports.iter().flat_map(Report::heap).collect()
}

fn count(truth: &[Vec<u64>], stacks: &[Row<'_>]) -> Tally {
    let (mut whole, mut cut, mut calls) = (HashSet::new(), HashSet::new(), HashSet::new());
    for stack in stacks {
        let addresses = stack.addresses();
        // The direct caller and its own: a stack cut behind the first leaves the second open.
        calls.insert(addresses.iter().take(2).copied().collect::<Vec<_>>());
        match stack.cut().is_some() {
            true => cut.insert(addresses),
            false => whole.insert(addresses),
        };
    }
    let mut tally = Tally::default();
    for stack in truth {
        if whole.contains(stack) || (stack.len() > DEPTH && cut.contains(&stack[..DEPTH])) {
            tally.equal += 1;
        } else if (1..=stack.len()).any(|frames| cut.contains(&stack[..frames])) {
            tally.marked += 1;
        } else if !calls.contains(&stack[..stack.len().min(2)]) {
            tally.unseen += 1;
            println!("not seen again: {}", difference(stack, stacks));
        } else {
            tally.wrong.push(difference(stack, stacks));
        }
    }
    tally
}

/// Where the likest of memlens' stacks leaves gdb's.
fn difference(stack: &[u64], all: &[Row<'_>]) -> String {
    let mut best = (0, "none begins like it".to_string());
    for candidate in all {
        let addresses = candidate.addresses();
        let common = addresses
            .iter()
            .zip(stack)
            .take_while(|(one, other)| one == other)
            .count();
        if common > best.0 {
            let names = candidate.names().join(" < ");
            let text = format!("{common} frames like it: {addresses:x?} {names}");
            best = (common, text);
        }
    }
    format!("{stack:x?}\n    {}", best.1)
}

/// Whether the outermost frame is that of a thread's first function. Programs without symbols do not name theirs: there
/// it is the caller of the C library's.
fn reaches_the_start(stack: Row<'_>) -> bool {
    match stack.frames().collect::<Vec<_>>()[..] {
        [.., before, last] => {
            OUTERMOST.iter().any(|name| is_of(last, name))
                || (last.symbol.is_none() && is_of(before, "__libc_start_main_impl"))
        }
        _ => false,
    }
}

/// Every stack that is not marked reaches the frame that a thread's stack begins with.
fn check_ends(program: &str, reports: &[Report]) -> Result<()> {
    let mut whole = 0;
    let rows = rows(reports);
    for stack in rows.iter().filter(|stack| stack.cut().is_none()) {
        ensure!(
            reaches_the_start(*stack),
            "{program}: a stack ends without a mark: {:?}",
            stack.names()
        );
        whole += 1;
    }
    let calls: u64 = reports
        .iter()
        .map(|report| report.totals().allocated().blocks)
        .sum();
    let reasons: HashSet<CutReason> = rows.iter().filter_map(Row::cut).collect();
    println!(
        "{program}: {calls} calls; {whole} of {} stacks are whole, the others are marked {reasons:?}",
        rows.len()
    );
    Ok(())
}

const EVERY_FEW: Sample = Sample {
    stacks: 150,
    spread: 60,
};

#[test]
fn cpp_equals_gdb() -> Result<()> {
    let mut victim = Victim::start(Program::new("mix_cpp").flag("-O2").command(&[])?)?;
    victim.go()?;
    compare("C++ -O2", victim.pid(), EVERY_FEW)?;
    victim.go_to("done")?;
    ensure!(victim.exit()?.success(), "the program was hurt");
    Ok(())
}

#[test]
fn rust_equals_gdb() -> Result<()> {
    let mut victim = Victim::start(Program::new("mix_rust").command(&[])?)?;
    victim.go()?;
    compare("Rust -O", victim.pid(), EVERY_FEW)?;
    victim.go_to("done")?;
    ensure!(victim.exit()?.success(), "the program was hurt");
    Ok(())
}

#[test]
fn python_equals_gdb() -> Result<()> {
    let mut python = Busy::python()?;
    compare("python3", python.pid(), EVERY_FEW)?;
    python.check()
}

#[test]
fn sqlite_equals_gdb() -> Result<()> {
    let mut sqlite = Busy::sqlite()?;
    compare("sqlite3", sqlite.pid(), EVERY_FEW)?;
    sqlite.check()
}

#[test]
fn redis_equals_gdb() -> Result<()> {
    let mut redis = Busy::redis()?;
    compare("redis-server", redis.pid(), EVERY_FEW)?;
    redis.check()
}

#[test]
fn postgres_equals_gdb() -> Result<()> {
    let mut postgres = Busy::postgres()?;
    let sample = Sample {
        stacks: 150,
        spread: 5,
    };
    compare("postgres", postgres.pid(), sample)?;
    postgres.check()
}

/// Compiled JavaScript and V8's builtins have no unwind tables; gdb itself fails there.
#[test]
fn node_reaches_the_start_or_says_so() -> Result<()> {
    let mut node = Busy::node()?;
    let report = observe(node.pid(), &[])?;
    ensure!(
        report.heap().len() >= 100,
        "only {} stacks",
        report.heap().len()
    );
    let rows = report.heap();
    let whole = rows.iter().filter(|stack| stack.cut().is_none()).count();
    ensure!(
        whole * 100 >= rows.len() * 95,
        "only {whole} of {} are whole",
        rows.len()
    );
    check_ends("node", std::slice::from_ref(&report))?;
    node.check()
}
