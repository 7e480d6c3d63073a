//! How memory goes on: forms of courses, lifetimes, turnover, the time to the limit.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens::profile::{Form, Limit, LimitOf, Measure, OldSizes, Subject};
use memlens_tests::{HeapFigures as _, Memlens, Program, Report, Row, Victim};

fn courses(kind: &str) -> Result<Victim> {
    Victim::start(Program::new("courses").link("-lm").command(&[kind])?)
}

/// Reports of a victim of this kind, so many every `interval` seconds, and the last one, at once after these.
fn reports(kind: &str, interval: &str, count: usize) -> Result<(Victim, Vec<Report>)> {
    let mut victim = courses(kind)?;
    let mut memlens = Memlens::leaks(victim.pid(), &[interval])?;
    victim.go()?;
    let mut reports = Vec::new();
    for _ in 0..count {
        reports.push(memlens.report(Duration::from_secs(60))?);
    }
    reports.push(memlens.stop()?);
    Ok((victim, reports))
}

/// The stack of a function that holds most, or has freed most.
fn stack_of<'a>(report: &'a Report, function: &str) -> Result<Row<'a>> {
    let rows = report.heap();
    let own = rows
        .into_iter()
        .filter(|row| row.names().contains(&function));
    own.max_by_key(|row| row.amount(Measure::HeapAllocBytes))
        .with_context(|| format!("no stack of {function}"))
}

fn form_of(report: &Report, function: &str) -> Result<Form> {
    let row = stack_of(report, function)?;
    Ok(row.sample.course.context("no course")?.form)
}

fn process<'a>(report: &'a Report, victim: &Victim) -> Result<&'a Subject> {
    let mut own = report
        .subjects
        .iter()
        .filter(|subject| subject.pid == Some(victim.pid()));
    own.next().context("the victim is not in the report")
}

fn form_of_process(report: &Report, victim: &Victim) -> Result<Form> {
    Ok(process(report, victim)?.course.context("no course")?.form)
}

/// What a benign victim looks like after so many seconds: not growing, neither it nor its stack.
fn levels_off(kind: &str, function: &str, seconds: &str) -> Result<()> {
    let (victim, reports) = reports(kind, seconds, 1)?;
    let forms = (
        form_of(&reports[0], function)?,
        form_of_process(&reports[0], &victim)?,
    );
    let is_level = |form: Form| matches!(form, Form::Saturating | Form::Steady);
    ensure!(is_level(forms.0) && is_level(forms.1), "{kind}: {forms:?}");
    Ok(())
}

#[test]
fn a_cache_that_has_filled_does_not_grow() -> Result<()> {
    levels_off("lru", "lru_insert", "18")
}

#[test]
fn a_pool_that_has_grown_does_not_grow() -> Result<()> {
    levels_off("pool", "pool_grow", "18")
}

#[test]
fn a_log_that_is_trimmed_does_not_grow() -> Result<()> {
    levels_off("log", "log_append", "17")
}

#[test]
fn a_load_in_waves_does_not_grow() -> Result<()> {
    levels_off("wave", "wave_open", "21")
}

/// A cache that was full before the trace: what is new takes the place of what is old, and the process does not grow.
#[test]
fn a_full_cache_is_turnover() -> Result<()> {
    for kind in ["cache", "fifo"] {
        let (victim, reports) = reports(kind, "5", 3)?;
        let agree = |report: &Report| !report.notes.iter().any(|note| note.contains("own lists"));
        ensure!(reports.iter().all(agree), "{kind}: {:?}", reports[3].notes);
        for (number, report) in reports.iter().enumerate() {
            let forms = (
                form_of(report, "cache_insert")?,
                form_of_process(report, &victim)?,
            );
            let is_right = match number {
                0 => forms.0 != Form::Growing && forms.1 != Form::Growing,
                _ => forms == (Form::Turnover, Form::Turnover),
            };
            ensure!(is_right, "{kind}, report {}: {forms:?}", number + 1);
        }
        let last = &reports[3];
        let subject = process(last, &victim)?;
        let old = subject.totals.amount(Measure::HeapOldFreeBytes);
        let live = subject.live().bytes;
        ensure!(
            live.abs_diff(old) < live / 20,
            "{kind}: {live} live, {old} of old blocks"
        );
        let net = last
            .sections
            .heap
            .as_ref()
            .context("no section")?
            .net
            .first();
        let net = net.context("no net growth")?;
        ensure!(net.old_sizes == Some(OldSizes::Headers), "{net:?}");
        for bytes in [net.in_use_before_bytes, net.in_use_bytes] {
            let bytes = bytes.context("the heap was not read")?;
            ensure!((10_000_000..14_000_000).contains(&bytes), "{bytes} in use");
        }
        ensure!(subject.limit.is_none(), "{:?}", subject.limit);
    }
    Ok(())
}

/// 12 KiB/s beside a plateau of 10 MB and 10,000 blocks a second: what certainly grows most is the leak, within 30 s.
#[test]
fn a_slow_leak_is_what_grows_most() -> Result<()> {
    let (victim, reports) = reports("leak", "25", 1)?;
    let report = &reports[0];
    let rows = report.heap();
    let growing = rows.iter().filter(|row| {
        row.sample
            .course
            .is_some_and(|course| course.form == Form::Growing)
    });
    let low = |row: &&Row| row.values().whole(Measure::HeapGrowthPerSLow).unwrap_or(0);
    let first = growing.max_by_key(low).context("no stack grows")?;
    ensure!(
        first.names().contains(&"leak_slowly"),
        "{first:?} grows, the process is {:?}",
        process(report, &victim)?.course
    );
    let slope = first
        .values()
        .whole(Measure::HeapGrowthPerS)
        .context("no slope")?;
    ensure!((11_000..14_000).contains(&slope), "{slope} bytes/s");
    ensure!(form_of(report, "cache_insert")? == Form::Turnover);
    Ok(())
}

/// Blocks that live for known times are counted by those, each of them once. Sums and ages are read one after the
/// other, so the program has stopped allocating by then.
#[test]
fn lifetimes_are_those_of_the_blocks() -> Result<()> {
    let mut victim = courses("lives")?;
    let mut memlens = Memlens::leaks(victim.pid(), &["8"])?;
    victim.go()?;
    memlens.report(Duration::from_secs(60))?;
    victim.go_to("done")?;
    let report = memlens.stop()?;
    for (function, from_ms, gone_ms) in [("live_shortly", 32, 64), ("live_longer", 1024, 2048)] {
        let row = stack_of(&report, function)?;
        let freed = &row.sample.freed;
        let counted: u64 = freed.buckets().iter().sum();
        ensure!(
            counted == row.released().blocks,
            "{counted} counted, {:?}",
            row.released()
        );
        // The kernel's ticks and the scheduler are no clockwork.
        let gone = freed.gone(0.9).context("nothing was freed")?;
        ensure!(
            gone <= Duration::from_millis(gone_ms),
            "{function}: {gone:?}, {freed:?}"
        );
        let before = freed.gone(0.1).context("nothing was freed")?;
        ensure!(
            before > Duration::from_millis(from_ms),
            "{function}: {before:?}, {freed:?}"
        );
    }
    Ok(())
}

/// A process that grows comes to the machine's or its cgroup's end at a time that is told.
#[test]
fn what_grows_comes_to_a_limit() -> Result<()> {
    let (victim, reports) = reports("pool", "5.6", 1)?;
    let report = &reports[0];
    let subject = process(report, &victim)?;
    ensure!(
        form_of_process(report, &victim)? == Form::Growing,
        "{:?}",
        subject.course
    );
    let Limit {
        of,
        left_bytes,
        reached,
        earliest,
        latest,
    } = subject.limit.context("no limit")?;
    ensure!(earliest <= reached && reached <= latest && !reached.is_zero());
    ensure!(of == LimitOf::Machine || of == LimitOf::Cgroup && left_bytes > 0);
    let slope = subject
        .totals
        .get(Measure::HeapGrowthPerS)
        .context("no slope")?
        .real();
    let seconds = left_bytes as f64 / slope;
    ensure!(
        (reached.as_secs_f64() / seconds - 1.0).abs() < 0.01,
        "{reached:?}, not {seconds} s"
    );
    Ok(())
}
