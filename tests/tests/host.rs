//! `memlens host` against programs that grow at a known rate, on this machine as it is; root only where a test says so.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens::profile::trend::Verdict;
use memlens::profile::{FindingKind, Growth, Measure};
use memlens_tests::cgroup::LimitedMemory;
use memlens_tests::ledger::list;
use memlens_tests::{Memlens, Program, Report, Victim, need, paths};
use serde_json::Value;

const MIB: f64 = 1_048_576.0;

/// A victim that has begun to grow.
fn growing(args: &[&str]) -> Result<Victim> {
    let mut victim = Victim::start(Program::new("grow_by_clock").command(args)?)?;
    victim.go()?;
    Ok(victim)
}

/// The reports of `memlens host` with these arguments, with every process in them.
fn last_report(args: &[&str]) -> Result<Report> {
    let args = ["host", "--json", "--top", "0"].iter().chain(args);
    Memlens::run(args)?.last_report()
}

/// What is said of the machine, at a place such as `/cgroups`.
fn machine<'a>(report: &'a Report, place: &str) -> Result<&'a Value> {
    let found = report.section("machine").pointer(place);
    found.with_context(|| format!("nothing at {place} in {}", report.section("machine")))
}

/// Growth of one figure of a process.
fn growth(report: &Report, pid: u32, measure: Measure) -> Result<Growth> {
    let subject = report.process(pid)?;
    let growth = subject.growth.get(&measure).copied();
    growth.with_context(|| format!("no growth of {measure:?} in {subject:?}"))
}

/// The slope is the true one within 10 %, also where the machine is busy and samples come late.
fn is_about(growth: &Growth, per_second: f64) -> Result<()> {
    let slope = growth.per_min / 60.0;
    let near = (slope - per_second).abs() <= per_second * 0.1;
    let holds = growth.low.is_some_and(|low| low <= growth.per_min)
        && growth.high.is_some_and(|high| growth.per_min <= high);
    ensure!(
        near && holds && growth.verdict == Verdict::Growing,
        "{growth:?}, not {per_second} a second"
    );
    Ok(())
}

#[test]
fn a_leak_is_measured_named_and_hinted_at() -> Result<()> {
    let victim = growing(&["anonymous", "64", "25"])?;
    let report = last_report(&["4", "1"])?;
    for measure in [
        Measure::ProcessAnonymousBytes,
        Measure::ProcessRssBytes,
        Measure::ProcessTotalBytes,
        Measure::ProcessVirtualBytes,
    ] {
        is_about(&growth(&report, victim.pid(), measure)?, 64.0 * MIB)?;
    }
    let row = report.process(victim.pid())?;
    ensure!(
        row.command == "grow_by_clock" && row.processes == 1,
        "{row:?}"
    );
    let pss = row.totals.amount(Measure::ProcessPssBytes);
    ensure!(pss > 64 << 20, "{row:?}");
    // The kernel tells the number of descriptors at once since 6.2, and before that only when asked for each.
    let fds = row.totals.amount(Measure::ProcessFds);
    ensure!(fds >= 50, "{row:?}");
    if let Some(growth) = row.growth.get(&Measure::ProcessFds) {
        is_about(growth, 25.0)?;
    }
    let is_own = |subject: Option<u32>| {
        let subject = subject.and_then(|subject| report.subject(subject));
        subject.is_some_and(|subject| subject.pid == row.pid)
    };
    let mut hints = report.findings.iter();
    let hint = hints
        .find(|hint| hint.kind == FindingKind::Next && is_own(hint.subject))
        .context("no hint")?;
    let words = ["(grow_by_clock) grows", "all anonymous"];
    ensure!(
        words.iter().all(|word| hint.text.contains(word)),
        "{hint:?}"
    );
    let leaks = format!("memlens leaks -p {}", victim.pid());
    ensure!(hint.commands.contains(&leaks), "{hint:?}");
    Ok(())
}

#[test]
fn kinds_of_memory_are_told_apart() -> Result<()> {
    let shared = growing(&["shared", "16"])?;
    let reserved = growing(&["reserved", "64"])?;
    let step = growing(&["step", "16"])?;
    let report = last_report(&["7", "1"])?;
    let growth = |victim: &Victim, measure| growth(&report, victim.pid(), measure);
    is_about(&growth(&shared, Measure::ProcessSharedBytes)?, 16.0 * MIB)?;
    let anonymous = growth(&shared, Measure::ProcessAnonymousBytes)?;
    ensure!(anonymous.verdict != Verdict::Growing, "{anonymous:?}");
    is_about(
        &growth(&reserved, Measure::ProcessVirtualBytes)?,
        64.0 * MIB,
    )?;
    let resident = growth(&reserved, Measure::ProcessRssBytes)?;
    ensure!(resident.per_min / 60.0 < 0.1 * MIB, "{resident:?}");
    // 64 MiB came at once: a slope it has, and growth it is not.
    let change = report.process(step.pid())?.change(Measure::ProcessRssBytes);
    ensure!(change >= Some(60 << 20), "{change:?}");
    let resident = growth(&step, Measure::ProcessRssBytes)?;
    ensure!(resident.verdict == Verdict::Unclear, "{resident:?}");
    Ok(())
}

#[test]
fn processes_that_come_and_go_are_counted() -> Result<()> {
    Program::new("grow_by_clock").build()?;
    let mut memlens = Memlens::start(["host", "3", "3", "--json", "--top", "0"])?;
    let mut next = || memlens.report(Duration::from_secs(30));
    next()?;
    let victim = growing(&["anonymous", "1"])?;
    let pid = victim.pid();
    let second = next()?;
    let row = second.process(pid)?;
    ensure!(
        row.change(Measure::ProcessRssBytes).is_none(),
        "a new process has changed: {row:?}"
    );
    let appeared = machine(&second, "/appeared")?;
    ensure!(appeared["processes"].as_u64() >= Some(1), "{appeared}");
    victim.exit()?;
    let third = next()?;
    ensure!(!third.has_row(pid), "the process is gone and has a row");
    let vanished = machine(&third, "/vanished")?;
    ensure!(vanished["processes"].as_u64() >= Some(1), "{vanished}");
    ensure!(third.meta.last && !second.meta.last);
    memlens.wait()?;
    Ok(())
}

/// Parts of the machine add up to its total, in every report.
#[test]
fn the_machine_adds_up() -> Result<()> {
    let report = last_report(&["1", "1"])?;
    let figures = machine(&report, "/figures")?;
    let value = |name: &str| figures[name]["bytes"].as_u64().unwrap_or(0);
    let parts = [
        "free",
        "anonymous",
        "cache",
        "shared",
        "slab_reclaimable",
        "slab_unreclaimable",
        "page_tables",
        "kernel_stacks",
        "per_cpu",
        "vmalloc",
        "huge_pages",
        "zswap",
        "other",
    ];
    let sum: u64 = parts.iter().map(|part| value(part)).sum();
    ensure!(sum == value("total"), "{sum} of {}", value("total"));
    let of_kernel = std::fs::read_to_string("/proc/meminfo")?;
    ensure!(
        of_kernel.starts_with("MemTotal:")
            && of_kernel.contains(&format!("{} kB", value("total") / 1024))
    );
    Ok(())
}

#[test]
fn groups_are_sums_of_their_processes() -> Result<()> {
    let victims = [growing(&["anonymous", "8"])?, growing(&["anonymous", "8"])?];
    let report = last_report(&["3", "1", "--by", "name"])?;
    let mut groups = report.subjects.iter();
    let group = groups
        .find(|group| group.command == "grow_by_clock")
        .context("no group")?;
    ensure!(
        group.processes >= victims.len() as u64 && group.pid.is_none(),
        "{group:?}"
    );
    let growth = group.growth.get(&Measure::ProcessAnonymousBytes);
    ensure!(
        growth.is_some_and(|growth| growth.per_min / 60.0 > 15.0 * MIB),
        "{growth:?}"
    );
    Ok(())
}

#[test]
fn ctrl_c_gives_a_last_report_and_a_closed_pipe_ends_it() -> Result<()> {
    let mut memlens = Memlens::start(["host", "1", "--json"])?;
    let first = memlens.report(Duration::from_secs(30))?;
    ensure!(
        !first.meta.last,
        "the first report says that it is the last"
    );
    memlens.stop()?;
    let program = paths::memlens()?;
    let script = format!(
        "{} host 200ms --json | head -n 1 | wc -l",
        program.display()
    );
    let output = Command::new("timeout")
        .args(["20", "sh", "-c", &script])
        .output()?;
    ensure!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    ensure!(
        String::from_utf8_lossy(&output.stdout).trim() == "1",
        "{output:?}"
    );
    Ok(())
}

#[test]
fn figures_go_to_a_file_and_a_full_disk_is_told() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("figures.csv");
    let path = file.to_string_lossy().into_owned();
    let ended = Memlens::run(["host", "300ms", "2", "--csv", &path])?;
    ensure!(ended.status.code() == Some(0), "{:?}", ended.errors);
    let text = std::fs::read_to_string(&file)?;
    let lines: Vec<&str> = text.lines().collect();
    ensure!(
        lines[0].starts_with("time,elapsed_s,scope,id,name,figure,value,"),
        "{}",
        lines[0]
    );
    let available = lines
        .iter()
        .filter(|line| line.contains(",machine,,,available,"))
        .count();
    ensure!(
        available == 2,
        "{available} lines of available memory in two reports"
    );
    let all_alike = lines.iter().all(|line| line.split(',').count() >= 11);
    ensure!(all_alike, "a line is cut");
    let full = Memlens::run(["host", "200ms", "1", "--csv", "/dev/full"])?;
    full.failed_with(&["cannot write /dev/full", "no space left"])?;
    let nowhere = Memlens::run(["host", "--csv", "/no/such/folder/a.csv"])?;
    nowhere.refused_with(&["cannot write /no/such/folder/a.csv", "create it first"])
}

/// Without root everything is there but what belongs to others, and that is said.
#[test]
fn without_root_the_rest_is_shown() -> Result<()> {
    need::root()?;
    const NOBODY: u32 = 65_534;
    let folder = tempfile::tempdir()?;
    std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755))?;
    let program = folder.path().join("memlens");
    std::fs::copy(paths::memlens()?, &program)?;
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755))?;
    let victim = growing(&["anonymous", "32"])?;
    let mut command = Command::new(&program);
    command
        .args(["host", "3", "1", "--json", "--top", "0"])
        .current_dir("/");
    command.uid(NOBODY).gid(NOBODY);
    let ended = Memlens::start_command(command)?.wait()?;
    let report = ended.last_report()?;
    let anonymous = growth(&report, victim.pid(), Measure::ProcessAnonymousBytes)?;
    is_about(&anonymous, 32.0 * MIB)?;
    let row = report.process(victim.pid())?;
    let pss = row.totals.get(Measure::ProcessPssBytes);
    ensure!(pss.is_none(), "{row:?}");
    report.check_says(&["may not be read: run as root"])
}

#[test]
fn the_time_until_a_cgroup_is_full_is_told() -> Result<()> {
    need::root()?;
    let cgroup = LimitedMemory::new()?;
    cgroup.limit_to(512 << 20)?;
    let command = Program::new("grow_by_clock").command(&["anonymous", "16"])?;
    let mut victim = Victim::start(cgroup.enter(command)?)?;
    victim.go()?;
    let report = last_report(&["4", "1"])?;
    let mut groups = list(machine(&report, "/cgroups")?);
    let row = groups
        .find(|row| row["path"] == *cgroup.path())
        .context("the cgroup is missing")?;
    ensure!(row["max_bytes"] == 512_u64 << 20, "{row}");
    is_about(&serde_json::from_value(row["growth"].clone())?, 16.0 * MIB)?;
    let kept = row["kept_bytes"].as_f64().context("no figure")?;
    let expected = (512.0 * MIB - kept) / (16.0 * MIB);
    let told = row["full_in_ms"].as_f64().context("no time")? / 1_000.0;
    ensure!(
        (told - expected).abs() <= expected * 0.1 + 1.0,
        "{told} s, not {expected}"
    );
    let words = format!(
        "cgroup {} reaches its limit of 512 MiB in",
        &cgroup.path()[1..]
    );
    report.check_finding(FindingKind::Next, &[&words])?;
    Ok(())
}
