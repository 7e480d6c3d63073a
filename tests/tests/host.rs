//! `memlens host` against programs that grow at a known rate, on this machine as it is; root only where a test says so.

use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens_tests::{Memlens, Program, Victim, need, paths};
use serde_json::Value;

const MIB: f64 = 1_048_576.0;

/// A victim that has begun to grow.
fn growing(args: &[&str]) -> Result<Victim> {
    let mut victim = Victim::start(Program::new("grow_by_clock").command(args)?)?;
    victim.go()?;
    Ok(victim)
}

/// The reports of `memlens host` with these arguments, with every process in them.
fn reports(args: &[&str]) -> Result<Vec<Value>> {
    let args = ["host", "--json", "--top", "0"].iter().chain(args);
    let ended = Memlens::run(args)?;
    ensure!(
        ended.status.code() == Some(0),
        "{}: {:?}",
        ended.status,
        ended.errors
    );
    let parse = |line: &String| serde_json::from_str(line).context("no JSON");
    ended.output.iter().map(parse).collect()
}

fn last_report(args: &[&str]) -> Result<Value> {
    reports(args)?.pop().context("no report came")
}

fn row(report: &Value, pid: u32) -> Option<&Value> {
    report["rows"]
        .as_array()?
        .iter()
        .find(|row| row["pid"] == pid)
}

/// Growth of one figure of a process, in units a second.
#[derive(Debug)]
struct Growth {
    slope: f64,
    low: f64,
    high: f64,
    verdict: String,
}

fn growth(report: &Value, pid: u32, figure: &str) -> Result<Growth> {
    let row = row(report, pid).context("the victim has no row")?;
    growth_of(&row["figures"][figure]["growth"])
}

fn growth_of(wire: &Value) -> Result<Growth> {
    let number = |key: &str| {
        let number = wire[key].as_f64();
        number
            .map(|per_minute| per_minute / 60.0)
            .with_context(|| format!("no {key} in {wire}"))
    };
    Ok(Growth {
        slope: number("per_minute")?,
        low: number("low")?,
        high: number("high")?,
        verdict: wire["verdict"].as_str().context("no verdict")?.to_owned(),
    })
}

/// The slope is the true one within 10 %, also where the machine is busy and samples come late.
fn is_about(growth: &Growth, rate: f64) -> Result<()> {
    let near = (growth.slope - rate).abs() <= rate * 0.1;
    let holds = growth.low <= growth.slope && growth.slope <= growth.high;
    ensure!(
        near && holds && growth.verdict == "growing",
        "{growth:?}, not {rate} a second"
    );
    Ok(())
}

#[test]
fn a_leak_is_measured_named_and_hinted_at() -> Result<()> {
    let victim = growing(&["anonymous", "64", "25"])?;
    let report = last_report(&["4", "1"])?;
    for figure in ["anonymous", "rss", "total", "virtual"] {
        is_about(&growth(&report, victim.pid(), figure)?, 64.0 * MIB)?;
    }
    let row = row(&report, victim.pid()).context("no row")?;
    ensure!(
        row["name"] == "grow_by_clock" && row["processes"] == 1,
        "{row}"
    );
    ensure!(
        row["figures"]["pss"]["value"].as_u64() > Some(64 << 20),
        "{row}"
    );
    // The kernel tells the number of descriptors at once since 6.2, and before that only when asked for each.
    ensure!(row["figures"]["fds"]["value"].as_u64() >= Some(50), "{row}");
    if row["figures"]["fds"]["growth"].is_object() {
        is_about(&growth(&report, victim.pid(), "fds")?, 25.0)?;
    }
    let hints = report["next"].as_array().context("no hints")?;
    let hint = hints
        .iter()
        .find(|hint| hint["pid"] == victim.pid())
        .context("no hint")?;
    let text = hint["text"].as_str().unwrap_or_default();
    ensure!(
        text.contains("(grow_by_clock) grows") && text.contains("all anonymous"),
        "{text}"
    );
    let leaks = format!("memlens leaks -p {}", victim.pid());
    ensure!(
        hint["commands"]
            .as_array()
            .is_some_and(|all| all.iter().any(|one| *one == *leaks)),
        "{hint}"
    );
    Ok(())
}

#[test]
fn kinds_of_memory_are_told_apart() -> Result<()> {
    let shared = growing(&["shared", "16"])?;
    let reserved = growing(&["reserved", "64"])?;
    let step = growing(&["step", "16"])?;
    let report = last_report(&["7", "1"])?;
    is_about(&growth(&report, shared.pid(), "shared")?, 16.0 * MIB)?;
    ensure!(growth(&report, shared.pid(), "anonymous")?.verdict != "growing");
    is_about(&growth(&report, reserved.pid(), "virtual")?, 64.0 * MIB)?;
    ensure!(growth(&report, reserved.pid(), "rss")?.slope < 0.1 * MIB);
    // 64 MiB came at once: a slope it has, and growth it is not.
    let row = row(&report, step.pid()).context("no row")?;
    ensure!(
        row["figures"]["rss"]["change"].as_i64() >= Some(60 << 20),
        "{row}"
    );
    let wire = &row["figures"]["rss"]["growth"];
    ensure!(wire["verdict"] == "unclear", "{wire}");
    Ok(())
}

#[test]
fn processes_that_come_and_go_are_counted() -> Result<()> {
    Program::new("grow_by_clock").build()?;
    let mut memlens = Memlens::start(["host", "3", "3", "--json", "--top", "0"])?;
    let mut next = || -> Result<Value> {
        let line = memlens
            .line(Duration::from_secs(30))
            .map_err(|why| anyhow::anyhow!("no report: {why:?}"))?;
        Ok(serde_json::from_str(&line)?)
    };
    next()?;
    let victim = growing(&["anonymous", "1"])?;
    let pid = victim.pid();
    let second = next()?;
    let row = row(&second, pid).context("the new process has no row")?;
    ensure!(
        row["figures"]["rss"]["change"].is_null(),
        "a new process has changed: {row}"
    );
    ensure!(
        second["appeared"]["processes"].as_u64() >= Some(1),
        "{}",
        second["appeared"]
    );
    victim.exit()?;
    let third = next()?;
    ensure!(
        self::row(&third, pid).is_none(),
        "the process is gone and has a row"
    );
    ensure!(
        third["vanished"]["processes"].as_u64() >= Some(1),
        "{}",
        third["vanished"]
    );
    ensure!(third["last"] == true && second["last"] == false);
    memlens.wait()?;
    Ok(())
}

/// Parts of the machine add up to its total, in every report.
#[test]
fn the_machine_adds_up() -> Result<()> {
    let report = last_report(&["1", "1"])?;
    let figures = &report["machine"]["figures"];
    let value = |name: &str| figures[name]["value"].as_u64().unwrap_or(0);
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
    let rows = report["rows"].as_array().context("no rows")?;
    let group = rows
        .iter()
        .find(|row| row["name"] == "grow_by_clock")
        .context("no group")?;
    ensure!(
        group["processes"].as_u64() >= Some(victims.len() as u64),
        "{group}"
    );
    ensure!(group["pid"].is_null());
    let slope = growth_of(&group["figures"]["anonymous"]["growth"])?.slope;
    ensure!(slope > 15.0 * MIB, "{slope}");
    Ok(())
}

#[test]
fn ctrl_c_gives_a_last_report_and_a_closed_pipe_ends_it() -> Result<()> {
    let mut memlens = Memlens::start(["host", "1", "--json"])?;
    let first = memlens.line(Duration::from_secs(30));
    ensure!(first.is_ok_and(|line| line.contains("\"last\":false")));
    let ended = memlens.interrupt()?;
    ensure!(ended.status.code() == Some(0), "{}", ended.status);
    let last = ended.output.last().context("no report")?;
    ensure!(last.contains("\"last\":true"), "{last}");
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

#[test]
fn watching_needs_a_terminal_and_leaves_it_as_it_was() -> Result<()> {
    Memlens::run(["host", "--watch"])?.refused_with(&["--watch needs a terminal"])?;
    let command = format!("{} host --watch 400ms 3", paths::memlens()?.display());
    // script gives its command a terminal of its own.
    let script = need::program("script")?;
    let output = Command::new("timeout")
        .arg("30")
        .arg(script)
        .args(["-qec", &command, "/dev/null"])
        .stdin(Stdio::null())
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}: {text}", output.status);
    let (enter, leave) = ("\x1b[?1049h", "\x1b[?1049l");
    let (picture, after) = text
        .split_once(leave)
        .context("the other screen was not left")?;
    ensure!(
        picture.contains(enter) && picture.contains("q leave"),
        "{picture:?}"
    );
    ensure!(
        picture.matches("\x1b[?2026h").count() >= 3,
        "it was not refreshed: {picture:?}"
    );
    ensure!(text.contains("\x1b[?25h"), "the cursor was not shown again");
    ensure!(
        after.contains("last report"),
        "the last report does not stay: {after:?}"
    );
    Ok(())
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
    ensure!(
        ended.status.code() == Some(0),
        "{}: {:?}",
        ended.status,
        ended.errors
    );
    let report: Value = serde_json::from_str(&ended.output[0])?;
    is_about(&growth(&report, victim.pid(), "anonymous")?, 32.0 * MIB)?;
    let row = row(&report, victim.pid()).context("no row")?;
    ensure!(row["figures"]["pss"]["value"].is_null(), "{row}");
    let notes = report["notes"].to_string();
    ensure!(notes.contains("may not be read: run as root"), "{notes}");
    Ok(())
}

/// A memory cgroup with a limit, made for the test and removed after it.
struct Cgroup {
    folder: PathBuf,
    path: String,
}

impl Cgroup {
    fn make(limit: u64) -> Result<Self> {
        let path = format!("/memlens-test-{}", std::process::id());
        let (root, file) = match Path::new("/sys/fs/cgroup/memory/memory.limit_in_bytes").exists() {
            true => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            false => ("/sys/fs/cgroup", "memory.max"),
        };
        let folder = Path::new(root).join(&path[1..]);
        std::fs::create_dir(&folder)
            .with_context(|| format!("cannot make {}", folder.display()))?;
        let cgroup = Self { folder, path };
        std::fs::write(cgroup.folder.join(file), limit.to_string())
            .context("cannot set a limit")?;
        Ok(cgroup)
    }

    fn add(&self, pid: u32) -> Result<()> {
        std::fs::write(self.folder.join("cgroup.procs"), pid.to_string())
            .context("cannot move the victim")
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The kernel takes a moment to see that the last process is gone.
        for _ in 0..100 {
            if std::fs::remove_dir(&self.folder).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

#[test]
fn the_time_until_a_cgroup_is_full_is_told() -> Result<()> {
    need::root()?;
    let cgroup = Cgroup::make(512 << 20)?;
    let mut victim = Victim::start(Program::new("grow_by_clock").command(&["anonymous", "16"])?)?;
    cgroup.add(victim.pid())?;
    victim.go()?;
    let report = last_report(&["4", "1"])?;
    let groups = report["cgroups"].as_array().context("no cgroups")?;
    let row = groups
        .iter()
        .find(|row| row["path"] == *cgroup.path)
        .context("the cgroup is missing")?;
    ensure!(row["max"] == 512_u64 << 20, "{row}");
    is_about(&growth_of(&row["growth"])?, 16.0 * MIB)?;
    let kept = row["kept"].as_f64().context("no figure")?;
    let expected = (512.0 * MIB - kept) / (16.0 * MIB);
    let told = row["full_in_s"].as_f64().context("no time")?;
    ensure!(
        (told - expected).abs() <= expected * 0.1 + 1.0,
        "{told} s, not {expected}"
    );
    let hints = report["next"].to_string();
    ensure!(
        hints.contains(&format!(
            "cgroup {} reaches its limit of 512 MiB in",
            &cgroup.path[1..]
        )),
        "{hints}"
    );
    drop(victim);
    drop(cgroup);
    Ok(())
}
