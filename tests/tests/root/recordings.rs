//! Recordings of real traces: what they have, what a kill or a full disk leaves of them, and what is made of them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use memlens::profile::{Measure, Profile, Source};
use memlens::recording::Recording;
use memlens_tests::cgroup::Cgroup;
use memlens_tests::child::Owned;
use memlens_tests::memlens::Ended;
use memlens_tests::{HeapFigures, Live, Memlens, Program, Report, Victim, code, need, paths};

/// Kills while something is recorded.
const KILLS: u32 = 30;

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// Records a victim that works once it is traced; further arguments come last.
fn recorded(mut victim: Victim, file: &Path, more: &[&str]) -> Result<Ended> {
    need::root()?;
    let pid = victim.pid().to_string();
    let mut args = vec!["record", "200ms", "-p", &pid, "-o", text(file)?];
    args.extend(more);
    let mut memlens = Memlens::start(args)?;
    memlens.wait_until_tracing()?;
    victim.go_to("done")?;
    std::thread::sleep(Duration::from_millis(700));
    let ended = memlens.interrupt()?;
    ended.succeeded()?;
    Ok(ended)
}

/// What `memlens report --json` says of a file, one report for each part.
fn reports(file: &Path, more: &[&str]) -> Result<Vec<Report>> {
    let mut args = vec!["report", text(file)?, "--json", "--top", "0"];
    args.extend(more);
    let ended = Memlens::run(args)?;
    ended.succeeded()?;
    ended.reports()
}

fn leak_each() -> Result<Victim> {
    Victim::start(Program::new("leak_each").command(&["malloc"])?)
}

#[test]
fn heap_address_space_and_machine_are_recorded_together() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("a.memlens");
    let ended = recorded(leak_each()?, &file, &[])?;
    let said = ended.errors.join("\n");
    ensure!(
        said.contains("recorded ") && said.contains("a.memlens"),
        "{said}"
    );
    let reports = reports(&file, &[])?;
    let sources: Vec<Source> = reports.iter().map(|report| report.main_source()).collect();
    ensure!(
        sources == [Source::Heap, Source::AddressSpace, Source::Process],
        "{sources:?}"
    );
    ensure!(
        reports[0].totals().live() == Live::new(30_000, 1),
        "{:?}",
        reports[0].totals()
    );
    ensure!(reports[0].complete && reports[0].meta.last);
    ensure!(reports[1].totals().amount(Measure::VmMappedBytes) > 0);
    let machine = reports[2].sections.machine.as_ref().context("no machine")?;
    ensure!(machine.processes_total > 1 && !reports[2].subjects.is_empty());
    Ok(())
}

/// Heap and address space of a part of the host in one trace: each is as exact as alone, for processes that were there
/// before, and for those that came.
#[test]
fn heap_and_address_space_of_a_scope_are_exact_together() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("a.memlens");
    let cgroup = Cgroup::new()?;
    let start = |blocks: &str| -> Result<Victim> {
        let victim = cgroup.enter(Program::new("leak_each").command(&["malloc", blocks])?)?;
        Victim::start(victim)
    };
    let mut before = start("1")?;
    let scope = ["--cgroup", cgroup.path(), "--young", "--cpu-budget", "off"];
    let mut args = vec![
        "record",
        "500ms",
        "-o",
        text(&file)?,
        "--sources",
        "heap,vm",
    ];
    args.extend(scope);
    let mut memlens = Memlens::start(args)?;
    memlens.wait_until_tracing()?;
    let mut later = start("2")?;
    for victim in [&before, &later] {
        code::until_probed(victim.pid(), "libc.so")?;
    }
    before.run()?;
    later.run()?;
    memlens.interrupt()?.succeeded()?;
    let reports = reports(&file, &[])?;
    let expected = [
        (before.pid(), Live::new(30_000, 1)),
        (later.pid(), Live::new(60_000, 2)),
    ];
    for (pid, live) in expected {
        reports[0].check_process(pid, live)?;
        let mapped = reports[1]
            .process(pid)
            .context("no row of its address space")?;
        let mapped = mapped.totals.amount(Measure::VmMappedBytes);
        let maps = memlens::process::maps::read(pid)?;
        // [vsyscall] is in no address space.
        let own = maps.iter().filter(|mapping| mapping.end < 1 << 47);
        let known: u64 = own.map(|mapping| mapping.end - mapping.start).sum();
        ensure!(
            mapped == known,
            "{mapped} bytes mapped, and the maps of {pid} have {known}: {:?}",
            reports[1].subjects
        );
    }
    ensure!(reports[0].complete && reports[1].complete);
    Ok(())
}

/// Each session is one of its own; moments are found by the time of their traces.
#[test]
fn a_recording_goes_on_and_any_moment_is_shown() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("a.memlens");
    recorded(leak_each()?, &file, &["--sources", "heap"])?;
    recorded(leak_each()?, &file, &["--sources", "heap"])?;
    let listed = Memlens::run(["report", text(&file)?, "--list"])?
        .output
        .join("\n");
    ensure!(
        listed.starts_with("heap: ") && listed.ends_with("in 2 sessions"),
        "{listed}"
    );
    let recording = Recording::open(&file)?;
    let last = recording.moments().last().context("no moment")?;
    let of_session = recording
        .moments()
        .iter()
        .filter(|moment| moment.session == 1);
    let first = of_session
        .min_by_key(|moment| moment.elapsed)
        .context("no moment")?;
    ensure!(first.elapsed < last.elapsed);
    let at = format!("{}ms", first.elapsed.as_millis());
    let then = reports(&file, &["--at", &at])?;
    ensure!(then[0].meta.elapsed == first.elapsed, "{:?}", then[0].meta);
    let until = format!("{}ms", last.elapsed.as_millis());
    let between = reports(&file, &["--between", &at, &until])?;
    let difference = between[0]
        .sections
        .difference
        .as_ref()
        .context("no difference")?;
    ensure!(difference.same_run && difference.before.elapsed == first.elapsed);
    let refused = Memlens::run(["report", text(&file)?, "--at", "2001-01-01 00:00"])?;
    refused.refused_with(&["has nothing from before that moment: it begins at"])
}

/// What was planted comes first, although everything else has moved and some of it has changed too.
#[test]
fn of_two_builds_the_regression_comes_first() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let (before, after) = (
        folder.path().join("a.memlens"),
        folder.path().join("b.memlens"),
    );
    let build = |flags: &[&str]| -> Result<Victim> {
        let program = flags
            .iter()
            .fold(Program::new("two_builds"), |program, flag| {
                program.flag(*flag)
            });
        Victim::start(program.command(&[])?)
    };
    recorded(build(&[])?, &before, &["--sources", "heap"])?;
    recorded(build(&["-DREGRESSION"])?, &after, &["--sources", "heap"])?;
    let files = [text(&before)?, text(&after)?];
    let ended = Memlens::run(["diff", files[0], files[1], "--json", "--top", "0"])?;
    ended.succeeded()?;
    let difference = ended.final_report()?;
    ensure!(
        !difference
            .sections
            .difference
            .as_ref()
            .context("no difference")?
            .same_run
    );
    let grown: Vec<(String, i64)> = difference
        .stack_samples(Source::Heap)
        .map(|sample| {
            let mut names = difference
                .frames(sample)
                .filter_map(|frame| frame.symbol.as_deref());
            let name = names.find(|name| name.starts_with("fill_")).unwrap_or("?");
            let bytes = difference
                .whole(sample, Measure::HeapLiveBytes)
                .unwrap_or(0);
            (name.to_owned(), bytes)
        })
        .filter(|(_, bytes)| *bytes != 0)
        .collect();
    let expected = [
        ("fill_session", 36_000),
        ("fill_a", 1_000),
        ("fill_c", -1_000),
    ];
    ensure!(
        grown == expected.map(|(name, bytes)| (name.to_owned(), bytes)),
        "{grown:?}"
    );
    let text = Memlens::run(["diff", files[0], files[1]])?.output;
    let first = text
        .iter()
        .find(|line| line.starts_with("#1 "))
        .context("no stack")?;
    ensure!(
        first.starts_with("#1 grown: +35.2 KiB, 3.91 KiB before and 39.1 KiB now, +36 blocks"),
        "{first}"
    );
    Ok(())
}

/// Whenever memlens is killed, the file has every snapshot but perhaps the last.
#[test]
fn a_kill_costs_the_last_snapshot_at_most() -> Result<()> {
    let folder = tempfile::tempdir()?;
    for kill in 0..KILLS {
        let file = folder.path().join(format!("{kill}.memlens"));
        let mut command = Command::new(paths::memlens()?);
        command.args(["record", "50ms", "-o", text(&file)?]);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let mut memlens = Owned::start(&mut command)?;
        let begun = Instant::now();
        while snapshots(&file) == 0 {
            ensure!(
                begun.elapsed() < Duration::from_secs(60),
                "nothing is recorded"
            );
            std::thread::sleep(Duration::from_millis(5));
        }
        // Anywhere in the time of several snapshots.
        let wait = u64::from(kill) * 7_919 % 200_000;
        std::thread::sleep(Duration::from_micros(wait));
        let before = snapshots(&file);
        memlens.signal(libc::SIGKILL)?;
        memlens.wait(Duration::from_secs(10))?;
        let after = snapshots(&file);
        ensure!(
            after >= before && before > 0,
            "{before} before the kill, {after} after it"
        );
        let ended = Memlens::run(["report", text(&file)?, "--json"])?;
        ended.succeeded()?;
    }
    Ok(())
}

/// Snapshots that can be read.
fn snapshots(file: &Path) -> usize {
    Recording::open(file).map_or(0, |recording| recording.moments().len())
}

/// A full disk is said once, and leaves a recording of what had room.
#[test]
fn a_full_disk_leaves_what_had_room() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let script = r#"mount -t tmpfs -o size=32k none "$1" && "$2" record 50ms 60 -o "$1/a.memlens"; code=$?
        cp "$1/a.memlens" "$1.memlens" && exit $code"#;
    let mut command = Command::new("unshare");
    command.args(["-m", "sh", "-c", script, "sh", text(folder.path())?]);
    command.arg(paths::memlens()?);
    let output = command.output()?;
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.code() == Some(2),
        "{}: {errors}",
        output.status
    );
    let said = errors.matches("no space left on device; free some space, or name a file elsewhere");
    ensure!(
        said.count() == 2,
        "once as it happens, once at the end: {errors}"
    );
    let copy = PathBuf::from(format!("{}.memlens", text(folder.path())?));
    let recording = Recording::open(&copy)?;
    let (moments, damage) = (
        recording.moments().len(),
        recording.damage().map(str::to_owned),
    );
    fs::remove_file(&copy)?;
    ensure!(
        (2..60).contains(&moments) && damage.is_none(),
        "{moments} {damage:?}"
    );
    Ok(())
}

/// Names of a stripped program come from its debug file: in a folder, or from a server.
#[test]
fn names_come_from_elsewhere() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = Program::new("leak_each").build()?;
    let (stripped, debug) = (folder.path().join("leak_each"), folder.path().join("debug"));
    fs::create_dir(&debug)?;
    let symbols = debug.join("leak_each.debug");
    let run = |program: &str, args: &[&str]| -> Result<()> {
        let status = Command::new(need::program(program)?).args(args).status()?;
        ensure!(status.success(), "{program} {args:?}: {status}");
        Ok(())
    };
    run(
        "objcopy",
        &["--only-keep-debug", text(&program)?, text(&symbols)?],
    )?;
    run("strip", &["-o", text(&stripped)?, text(&program)?])?;
    let mut command = Command::new(&stripped);
    command.arg("malloc");
    let file = folder.path().join("a.memlens");
    recorded(Victim::start(command)?, &file, &["--sources", "heap"])?;
    let names = |report: &Profile| -> Vec<(String, u32)> {
        let sample = report.stack_samples(Source::Heap).next();
        let frames = sample.into_iter().flat_map(|sample| report.frames(sample));
        let named =
            frames.filter_map(|frame| Some((frame.symbol.as_deref()?.to_owned(), frame.line?)));
        named
            .filter(|(name, _)| name.starts_with("leak_") || name == "main")
            .collect()
    };
    let found = |report: &Profile| {
        names(report)
            .into_iter()
            .map(|(name, _)| name)
            .collect::<Vec<_>>()
    };
    let without = &reports(&file, &[])?[0];
    ensure!(names(without).is_empty(), "{:?}", names(without));
    let expected = ["leak_malloc", "leak_inner", "leak_outer", "main"];
    let by_folder = reports(&file, &["--debug-dir", text(&debug)?])?;
    ensure!(
        found(&by_folder[0]) == expected,
        "{:?}",
        names(&by_folder[0])
    );
    by_server(&debug, folder.path(), &file, |report| {
        ensure!(found(report) == expected, "{:?}", names(report));
        Ok(())
    })
}

/// Reads a recording with the help of Debian's server of debug files, on loopback.
fn by_server(
    debug: &Path,
    folder: &Path,
    file: &Path,
    check: impl Fn(&Profile) -> Result<()>,
) -> Result<()> {
    let port = std::net::TcpListener::bind("127.0.0.1:0")?
        .local_addr()?
        .port();
    let mut server = Command::new(need::program("debuginfod")?);
    server
        .args([
            "-F",
            "-p",
            &port.to_string(),
            "-d",
            text(&folder.join("debuginfod.sqlite"))?,
        ])
        .arg(debug)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    let _server = Owned::start_server(&mut server)?;
    let begun = Instant::now();
    loop {
        let mut command = Command::new(paths::memlens()?);
        command
            .args([
                "report",
                text(file)?,
                "--json",
                "--top",
                "0",
                "--debuginfod",
            ])
            .env("DEBUGINFOD_URLS", format!("http://127.0.0.1:{port}"))
            .env(
                "DEBUGINFOD_CACHE_PATH",
                folder.join(format!("cache-{}", begun.elapsed().as_millis())),
            );
        let output = command.output()?;
        let report = Profile::parse(output.stdout.trim_ascii()).map_err(anyhow::Error::msg)?;
        match check(&report) {
            Ok(()) => return Ok(()),
            Err(error) if begun.elapsed() > Duration::from_secs(60) => return Err(error),
            Err(_) => std::thread::sleep(Duration::from_millis(300)),
        }
    }
}
