//! Every way to attach gives the same figures: sessions, links to several places, perf events.

use anyhow::{Context, Result, ensure};
use memlens_tests::{HeapFigures as _, Live, Memlens, Program, Report, Victim, paths};
use tracer_common::loss::Loss;

/// What `MEMLENS_ATTACH` may be; the first is the way that this kernel is best at.
const METHODS: [&str; 3] = ["", "multi", "perf"];

/// Traces a victim from "ready" to `word`.
fn trace(
    method: &str,
    program: &Program,
    args: &[&str],
    sample: &str,
    word: &str,
) -> Result<Report> {
    let mut victim = Victim::start(program.command(args)?)?;
    let mut command = std::process::Command::new(paths::memlens()?);
    command
        .args([
            "leaks",
            "--json",
            "--top",
            "1000000",
            "--all-stacks",
            "--sample-bytes",
            sample,
        ])
        .args(["-p", &victim.pid().to_string(), "3600"])
        .env("MEMLENS_ATTACH", method);
    let mut memlens = Memlens::start_command(command)?;
    memlens.wait_until_tracing()?;
    victim.go_to(word)?;
    memlens.stop()
}

/// With a sample so dense that it holds every block, all is as exact as without one.
#[test]
fn a_full_sample_is_exact_by_each_method() -> Result<()> {
    for method in METHODS {
        for (victim, args, held) in [
            ("leak_each", "malloc", Live::new(30_000, 1)),
            ("leak_each", "calloc", Live::new(30_000, 1)),
            ("leak_each", "posix_memalign", Live::new(30_000, 1)),
            ("leak_each", "realloc", Live::new(30_000, 1)),
        ] {
            let report = trace(method, &Program::new(victim), &[args], "1", "done")?;
            let live = report.totals().live();
            ensure!(live == held, "{method:?} {victim} {args}: {live:?}");
            report
                .check_complete()
                .with_context(|| format!("{method:?} {args}"))?;
        }
    }
    Ok(())
}

/// A thin sample, in which nearly no call's return is seen, is unbiased.
#[test]
fn a_thin_sample_is_unbiased_by_each_method() -> Result<()> {
    for method in METHODS {
        let program = Program::new("fill_live");
        let report = trace(method, &program, &["100000", "1000"], "65536", "filled")?;
        let live = report.in_function("fill");
        let off = |found: u64, real: f64| (found as f64 - real).abs() / real;
        ensure!(
            off(live.bytes, 1e8) < 0.16,
            "{method:?}: {live:?} for 100000000 bytes"
        );
        ensure!(
            off(live.blocks, 1e5) < 0.16,
            "{method:?}: {live:?} for 100000 blocks"
        );
        ensure!(
            live != Live::new(100_000_000, 100_000),
            "{method:?}: nothing was sampled"
        );
        assert_eq!(report.losses.of(Loss::MissedReturns), 0, "{method:?}");
    }
    Ok(())
}
