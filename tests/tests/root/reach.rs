//! What holds the blocks of a live process: nothing that is held is called lost, and all that is lost is found.

use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens::profile::{FindingKind, Measure, Registers, RootKind};
use memlens_tests::ledger::explain_with;
use memlens_tests::{Live, Memlens, Program, Report, Row, Victim};

/// Blocks must be so old to be judged, with some time to spare.
const OLD: Duration = Duration::from_millis(1_300);

fn sum(rows: &[Row<'_>], bytes: Measure, blocks: Measure) -> Live {
    let of = |measure| rows.iter().map(|row| row.amount(measure)).sum();
    Live::new(of(bytes), of(blocks))
}

fn lost(rows: &[Row<'_>]) -> Live {
    sum(rows, Measure::HeapLostBytes, Measure::HeapLostBlocks)
}

fn lost_with(rows: &[Row<'_>]) -> Live {
    sum(
        rows,
        Measure::HeapLostWithBytes,
        Measure::HeapLostWithBlocks,
    )
}

fn held(rows: &[Row<'_>]) -> Live {
    sum(rows, Measure::HeapHeldBytes, Measure::HeapHeldBlocks)
}

/// The last report of a victim that has done its work a while ago.
fn judged(victim: &mut Victim) -> Result<Report> {
    let memlens = Memlens::leaks(victim.pid(), &["--top", "0"])?;
    victim.run()?;
    std::thread::sleep(OLD);
    memlens.stop()
}

/// Each class adds up to what is live.
fn check_sums(report: &Report) -> Result<()> {
    for row in report.heap() {
        let blocks = [
            Measure::HeapLostBlocks,
            Measure::HeapLostWithBlocks,
            Measure::HeapHeldBlocks,
            Measure::HeapStackOnlyBlocks,
            Measure::HeapNotJudgedBlocks,
        ];
        let sum: u64 = blocks.into_iter().map(|measure| row.amount(measure)).sum();
        ensure!(sum == row.amount(Measure::HeapLiveBlocks), "{row:?}");
    }
    Ok(())
}

fn nothing_is_falsely_lost(kind: &str) -> Result<()> {
    let program = Program::new("movers").link("-lpthread");
    let mut victim = Victim::start(program.command(&[kind])?)?;
    let report = judged(&mut victim)?;
    check_sums(&report)?;
    let planted = report.stacks_with("lose_blocks");
    let reachability = report.sections.reachability.first().context("not judged")?;
    ensure!(reachability.quiet_passes >= 3, "{reachability:?}");
    ensure!(
        lost(&planted) == Live::new(77_700, 100),
        "{kind}: {planted:?}"
    );
    let all = report.heap();
    ensure!(
        (lost(&all), lost_with(&all)) == (Live::new(77_700, 100), Live::new(0, 0)),
        "{kind}: {reachability:?}"
    );
    ensure!(reachability.freed_after_lost == 0, "{reachability:?}");
    Ok(())
}

#[test]
fn nodes_between_lists() -> Result<()> {
    nothing_is_falsely_lost("splice")
}

#[test]
fn nodes_held_by_a_register() -> Result<()> {
    nothing_is_falsely_lost("hold")
}

#[test]
fn nodes_held_by_a_sleeping_stack() -> Result<()> {
    nothing_is_falsely_lost("sleep")
}

#[test]
fn tails_between_lists() -> Result<()> {
    nothing_is_falsely_lost("chains")
}

#[test]
fn a_table_that_is_shuffled() -> Result<()> {
    nothing_is_falsely_lost("sort")
}

#[test]
fn a_table_that_is_shuffled_by_exclusive_or() -> Result<()> {
    nothing_is_falsely_lost("xor")
}

#[test]
fn nodes_of_a_tree() -> Result<()> {
    nothing_is_falsely_lost("tree")
}

#[test]
fn objects_that_are_replaced() -> Result<()> {
    nothing_is_falsely_lost("churn")
}

#[test]
fn a_table_of_another_size() -> Result<()> {
    nothing_is_falsely_lost("rehash")
}

#[test]
fn a_vector_that_is_made_anew() -> Result<()> {
    nothing_is_falsely_lost("vector")
}

#[test]
fn each_hiding_place_is_looked_at() -> Result<()> {
    let program = Program::new("hiding_places").link("-lpthread");
    let mut victim = Victim::start(program.command(&[])?)?;
    let report = judged(&mut victim)?;
    let reachability = report.sections.reachability.first().context("not judged")?;
    ensure!(
        reachability.registers == Registers::Iterator,
        "{reachability:?}"
    );
    let only_stack = |name: &str| {
        let rows = report.stacks_with(name);
        let blocks = Measure::HeapStackOnlyBlocks;
        sum(&rows, Measure::HeapStackOnlyBytes, blocks).blocks
    };
    for (name, bytes) in [
        ("in_thread", 1004),
        ("in_specific", 1012),
        ("in_epoll", 1005),
        ("in_timer", 1009),
        ("in_mapping", 1010),
        ("in_shared", 1011),
        ("in_file", 1015),
        ("by_inside", 1019),
        ("in_global", 1021),
        ("in_tagged", 1007),
        ("at_odd", 1016),
        ("by_end", 1020),
    ] {
        let rows = report.stacks_with(name);
        ensure!(held(&rows) == Live::new(bytes, 1), "{name}: {rows:?}");
    }
    for name in ["in_register", "in_spinner"] {
        ensure!(
            only_stack(name) == 1,
            "{name}: {:?}",
            report.stacks_with(name)
        );
    }
    ensure!(
        lost(&report.heap()) == Live::new(1099, 1),
        "{:?}",
        report.heap()
    );
    let kind = |name: &str| {
        let rows = report.stacks_with(name);
        let holder = rows.first().and_then(|row| row.sample.holders.first());
        holder.map(|holder| holder.root.kind)
    };
    ensure!(kind("in_epoll") == Some(RootKind::Kernel));
    ensure!(kind("in_thread") == Some(RootKind::ThreadLocal));
    ensure!(kind("in_global") == Some(RootKind::Global));
    Ok(())
}

/// What valgrind says at the end of a program: bytes and blocks of one kind.
fn by_valgrind(output: &str, kind: &str) -> Result<Live> {
    let line = output
        .lines()
        .find(|line| line.contains(&format!("{kind}:")))
        .with_context(|| format!("no {kind} in {output}"))?;
    let (_, figures) = line.split_once(": ").context("no figures")?;
    let numbers: Vec<u64> = figures
        .split_whitespace()
        .filter_map(|word| word.replace(',', "").parse().ok())
        .collect();
    match numbers[..] {
        [bytes, blocks] => Ok(Live::new(bytes, blocks)),
        _ => anyhow::bail!("{line}"),
    }
}

/// The classes are those of valgrind; what it calls possibly lost, by pointers to the inside, is held.
#[test]
fn as_valgrind_judges_at_the_end() -> Result<()> {
    for shape in ["cases", "tree", "cycle"] {
        let program = Program::new("lost_shapes");
        let path = program.build()?;
        let valgrind = Command::new("valgrind")
            .args(["--leak-check=full", "--show-leak-kinds=all"])
            .args(["--leak-check-heuristics=none"])
            .arg(&path)
            .arg(shape)
            .env("VICTIM_FREE_RUN", "1")
            .output()
            .context("valgrind")?;
        let said = String::from_utf8_lossy(&valgrind.stderr);
        let mut victim = Victim::start(program.command(&[shape])?)?;
        let report = judged(&mut victim)?;
        let rows = report.stacks_with("node");
        let definitely = by_valgrind(&said, "definitely lost")?;
        let indirectly = by_valgrind(&said, "indirectly lost")?;
        let possibly = by_valgrind(&said, "possibly lost")?;
        let reachable = by_valgrind(&said, "still reachable")?;
        // A lost block that is pointed to from inside another lost one is lost with it here.
        let all_lost = lost(&rows).blocks + lost_with(&rows).blocks;
        let all = [definitely, indirectly, possibly, reachable];
        let total: u64 = all.iter().map(|live| live.blocks).sum();
        ensure!(
            lost(&rows) == definitely,
            "{shape}: {:?} lost, {definitely:?} by valgrind",
            lost(&rows)
        );
        ensure!(
            held(&rows).blocks + all_lost == total,
            "{shape}: {rows:?}\n{said}"
        );
        if shape != "cases" {
            ensure!(lost_with(&rows) == indirectly, "{shape}: {rows:?}\n{said}");
        }
    }
    Ok(())
}

#[test]
fn holders_have_names() -> Result<()> {
    let program = Program::new("holders").link("-lpthread");
    let mut victim = Victim::start(program.command(&[])?)?;
    let report = judged(&mut victim)?;
    let text = |function: &str| -> Result<String> {
        let rows = report.stacks_with(function);
        let row = rows.first().context("no such stack")?;
        let holder = row.sample.holders.first();
        let holder = holder.with_context(|| format!("no holder of {function}: {row:?}"))?;
        ensure!(holder.shared == holder.sampled, "{holder:?}");
        Ok(holder.text.clone())
    };
    let buffers = text("new_buffer")?;
    ensure!(
        buffers.starts_with("global sessions in holders -> ") && buffers.contains("Session"),
        "{buffers}"
    );
    let texts = text("new_text")?;
    ensure!(texts.starts_with("variable fs-"), "{texts}");
    let links = text("new_link")?;
    ensure!(
        links.starts_with("global journal in holders -> ")
            && links.contains("linked blocks of 200 B"),
        "{links}"
    );
    ensure!(
        lost(&report.heap()) == Live::new(6_400, 10),
        "{:?}",
        report.heap()
    );
    let finding = report
        .findings
        .iter()
        .find(|finding| finding.kind == FindingKind::OneTimeLoss)
        .context("no finding")?;
    ensure!(
        finding.figures.amount(Measure::HeapLostBytes) == 6_400,
        "{finding:?}"
    );
    Ok(())
}

/// Blocks that were called lost and are freed later were not lost: that is counted, and the verdict is taken back.
#[test]
fn what_is_freed_was_not_lost() -> Result<()> {
    let mut victim = Victim::start(Program::new("hidden_then_freed").command(&[])?)?;
    let mut memlens = Memlens::leaks(victim.pid(), &["1", "--reach", "every"])?;
    victim.go_to("hidden")?;
    std::thread::sleep(OLD);
    let hidden = |report: &Report| lost(&report.stacks_with("hide"));
    memlens.report_with("lost blocks", |report| {
        hidden(report) == Live::new(20_000, 50)
    })?;
    victim.run()?;
    let freed = |report: &Report| {
        let rows = report.stacks_with("hide");
        rows.iter()
            .map(|row| row.amount(Measure::HeapFreedAfterLostBlocks))
            .sum::<u64>()
    };
    let report = memlens.report_with("freed blocks", |report| freed(report) == 20)?;
    let reachability = report.sections.reachability.first().context("not judged")?;
    ensure!(reachability.freed_after_lost == 20, "{reachability:?}");
    let of_stack = |kind| report.findings.iter().any(|finding| finding.kind == kind);
    ensure!(of_stack(FindingKind::TakenBack), "{:?}", report.findings);
    ensure!(!of_stack(FindingKind::OneTimeLoss), "{:?}", report.findings);
    memlens.stop()?;
    Ok(())
}

/// A process is read while it goes on: none of its calls is interrupted.
#[test]
fn the_process_is_not_stopped() -> Result<()> {
    let program = Program::new("waits_for_events").link("-lpthread");
    let mut victim = Victim::start(program.command(&[])?)?;
    let mut memlens = Memlens::leaks(victim.pid(), &["1", "--reach", "every"])?;
    victim.go_to("lost")?;
    for _ in 0..5 {
        memlens.report(Duration::from_secs(30))?;
    }
    let report = memlens.stop()?;
    ensure!(
        lost(&report.stacks_with("lose")) == Live::new(640, 10),
        "{:?}",
        report.heap()
    );
    let done = victim.run()?;
    ensure!(done == "0", "{done} calls were interrupted");
    Ok(())
}

/// Blocks from before any trace: what is lost already, by the walker of glibc's heap.
#[test]
fn explain_finds_what_is_lost_already() -> Result<()> {
    let program = Program::new("holders").link("-lpthread");
    let mut victim = Victim::start(program.command(&[])?)?;
    victim.run()?;
    let explained = explain_with(victim.pid(), &["--reach"])?;
    let blocks = explained
        .sections
        .heap_blocks
        .as_ref()
        .context("no blocks")?;
    let amount = |measure| blocks.totals.amount(measure);
    let lost = Live::new(
        amount(Measure::HeapLostBytes),
        amount(Measure::HeapLostBlocks),
    );
    // A chunk has 8 bytes more than are asked for, rounded up to 16.
    ensure!(lost == Live::new(6_480, 10), "{:?}", blocks.lost);
    let group = blocks.lost.first().context("no group")?;
    ensure!((group.size, group.blocks) == (648, 10), "{group:?}");
    let buffers = blocks
        .held
        .iter()
        .find(|group| group.blocks >= 20_000 && group.size == 312);
    let holder = buffers.and_then(|group| group.holders.first());
    let text = &holder.context("no holder of the buffers")?.text;
    ensure!(text.starts_with("global sessions in holders"), "{text}");
    Ok(())
}

/// What cannot be judged is said, with what to do.
#[test]
fn what_is_not_judged_is_said() -> Result<()> {
    let mut victim = Victim::start(Program::new("hidden_then_freed").command(&[])?)?;
    let memlens = Memlens::leaks(victim.pid(), &["--min-size", "16"])?;
    victim.go_to("hidden")?;
    let report = memlens.stop()?;
    let reachability = report.sections.reachability.first().context("no section")?;
    ensure!(
        reachability.passes == 0 && reachability.limits[0].contains("--min-size"),
        "{reachability:?}"
    );
    ensure!(lost(&report.heap()) == Live::new(0, 0));
    let memlens = Memlens::leaks(victim.pid(), &["--reach", "off"])?;
    let report = memlens.stop()?;
    ensure!(report.sections.reachability.is_empty());
    Ok(())
}
