//! Real programs under load: every stack balances, nothing is lost, and the program does its work.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens_tests::child::{Owned, until};
use memlens_tests::report::Report;
use memlens_tests::{HeapFigures as _, Memlens, load, need};
use tracer_common::loss::Loss;

/// How long a program may work.
const LIMIT: Duration = Duration::from_secs(120);

/// Nothing was lost, every stack balances, and there was something to see.
fn check(report: &Report, at_least: u64) -> Result<()> {
    report.check_complete()?;
    report.check_balance()?;
    ensure!(
        report.totals().allocated().blocks >= at_least,
        "only {} allocations",
        report.totals().allocated().blocks
    );
    ensure!(report.totals().released().blocks > 0, "nothing was freed");
    Ok(())
}

#[test]
fn redis_server() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let port = load::free_port()?;
    let mut server = load::redis(folder.path(), port)?;
    load::redis_load(port, 2_000)?;
    let memlens = Memlens::leaks(server.pid(), &[])?;
    load::redis_load(port, 10_000)?;
    let report = memlens.stop()?;
    check(&report, 20_000)?;
    ensure!(
        report.losses.of(Loss::UnknownFrees) > 0,
        "keys from before the trace were replaced, yet no free was unknown"
    );
    ensure!(server.ended()?.is_none(), "redis-server ended");
    load::redis_load(port, 1_000)
}

#[test]
fn nginx() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let port = load::free_port()?;
    let mut master = load::nginx(folder.path(), port)?;
    let worker = until("nginx has a worker", Duration::from_secs(10), || {
        Ok(load::children(master.pid())?.first().copied())
    })?;
    load::http_load(port, 50)?;
    let list = format!("{},{worker}", master.pid());
    let memlens = Memlens::leaks_of(&["-p", &list], &[])?;
    load::http_load(port, 2_000)?;
    let report = memlens.stop()?;
    check(&report, 4_000)?;
    ensure!(
        report.process(worker)?.allocated().blocks > 4_000,
        "the worker's row is empty"
    );
    ensure!(master.ended()?.is_none(), "nginx ended");
    load::http_load(port, 20)
}

#[test]
fn sqlite3() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("test.db");
    let mut command = Command::new(need::program("sqlite3")?);
    command.arg("-batch").arg(&database);
    let mut shell = Shell::start(command)?;
    let marker = |name: &str| folder.path().join(name);
    shell.say("CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, value BLOB);")?;
    shell.mark(&marker("ready"))?;
    let memlens = Memlens::leaks(shell.child.pid(), &[])?;
    shell.say("BEGIN;")?;
    for row in 0..5_000 {
        shell.say(&format!(
            "INSERT INTO t(name, value) VALUES('row {row}', randomblob({}));",
            row % 900
        ))?;
    }
    shell.say("COMMIT; CREATE INDEX i ON t(name); DELETE FROM t WHERE id % 3 = 0; VACUUM;")?;
    shell.mark(&marker("worked"))?;
    let report = memlens.stop()?;
    check(&report, 20_000)?;
    shell.say(".exit")?;
    let status = shell.child.wait(LIMIT)?;
    ensure!(status.success(), "sqlite3: {status}");
    Ok(())
}

/// Objects made by the C allocator; half of them stay.
#[test]
fn python3() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let python = Path::new("/usr/bin/python3");
    ensure!(python.exists(), "/usr/bin/python3 is not installed");
    let script = "import json, sys\n\
        sys.stdin.readline()\n\
        kept = []\n\
        for i in range(20000):\n\
        \x20   text = json.dumps({'n': i, 'list': list(range(i % 20))})\n\
        \x20   if i % 2: kept.append(json.loads(text))\n\
        open(sys.argv[1], 'w').close()\n\
        sys.stdin.readline()\n";
    let marker = folder.path().join("worked");
    let mut command = Command::new(python);
    command
        .env("PYTHONMALLOC", "malloc")
        .args(["-c", script])
        .arg(&marker);
    let mut shell = Shell::start(command)?;
    let pid = shell.child.pid();
    // It waits for its first line once it sleeps in read.
    until("python waits for input", LIMIT, || {
        let call = std::fs::read_to_string(format!("/proc/{pid}/syscall"))?;
        Ok(call.starts_with("0 0x0 ").then_some(()))
    })?;
    let memlens = Memlens::leaks(pid, &[])?;
    shell.say("go")?;
    wait_for(&marker)?;
    let report = memlens.stop()?;
    check(&report, 100_000)?;
    ensure!(
        report.totals().live().bytes > 1_000_000,
        "10000 kept objects hold {:?}",
        report.totals()
    );
    shell.say("exit")?;
    let status = shell.child.wait(LIMIT)?;
    ensure!(status.success(), "python3: {status}");
    Ok(())
}

/// A program that reads lines.
struct Shell {
    child: Owned,
}

impl Shell {
    fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::null());
        Ok(Self {
            child: Owned::start(&mut command)?,
        })
    }

    fn say(&mut self, line: &str) -> Result<()> {
        let input = self.child.handle().stdin.as_mut().context("no input")?;
        writeln!(input, "{line}").context("the program has gone")
    }

    /// Waits until all that was said so far is done: sqlite3 then writes a file.
    fn mark(&mut self, path: &Path) -> Result<()> {
        self.say(&format!(".once {}", path.display()))?;
        self.say("SELECT 'here';")?;
        wait_for(path)
    }
}

/// Waits for a file.
fn wait_for(path: &Path) -> Result<()> {
    let what = format!("{} is written", path.display());
    until(&what, LIMIT, || Ok(path.exists().then_some(())))
}
