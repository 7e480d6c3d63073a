//! `memlens top` with traces: figures of what is traced, stacks, the kernel's memory, and that probes go again.

use anyhow::{Result, ensure};
use memlens_tests::{Program, Screen, Victim, code, need, paths};

/// A victim that leaks 200,000 bytes a second.
fn leaking() -> Result<Victim> {
    need::root()?;
    let mut victim = Victim::start(Program::new("slow_leak").command(&["200000"])?)?;
    victim.go()?;
    Ok(victim)
}

fn start(screen: &Screen, args: &str) -> Result<()> {
    screen.enter(&format!("{} top 500ms {args}", paths::memlens()?.display()))?;
    screen.wait_for("q leave")?;
    Ok(())
}

/// The line of a process in the table.
fn row(view: &str, pid: u32) -> Option<&str> {
    let pid = pid.to_string();
    let mut lines = view.lines();
    lines.find(|line| line.trim_start_matches(['>', '*', ' ']).starts_with(&pid))
}

fn has_probes(pid: u32) -> Result<bool> {
    let changed = code::changed(pid)?;
    Ok(changed.iter().any(|byte| byte.byte == code::BREAKPOINT))
}

#[test]
fn a_leak_is_seen_from_the_table_to_its_line() -> Result<()> {
    let victim = leaking()?;
    let pid = victim.pid();
    let screen = Screen::start(130, 40)?;
    let before = screen.modes()?;
    start(&screen, &format!("-p {pid}"))?;
    let is_growing = |view: &str| {
        row(view, pid).is_some_and(|row| {
            row.contains("slow_leak") && row.contains(">=") && row.contains("MiB")
        })
    };
    let view = screen.wait_until("a row with growth", is_growing)?;
    ensure!(view.contains("tracing slow_leak"), "{view}");
    screen.press(&["Enter"])?;
    let view = screen.wait_for("leak_slowly")?;
    ensure!(
        view.contains("live in") && view.contains("ages of the blocks"),
        "{view}"
    );
    // What holds the blocks is looked for while one looks at it.
    screen.wait_until("lost blocks", |view| {
        view.contains(" lost") && view.contains("slow_leak.c")
    })?;
    screen.press(&["/"])?;
    screen.enter("fill_cache")?;
    screen.wait_until("a filter", |view| !view.contains("leak_slowly"))?;
    // Both at once would be read as one key.
    screen.press(&["Escape"])?;
    screen.wait_for("leak_slowly")?;
    screen.press(&["Tab"])?;
    screen.wait_for("ranges")?;
    screen.press(&["Tab"])?;
    screen.wait_for("held, traced for")?;
    screen.press(&["q"])?;
    let after = screen.wait_for_shell()?;
    ensure!(
        after.contains("last report") || after.contains("leak"),
        "{after}"
    );
    ensure!(screen.modes()? == before, "{before}");
    code::until_unchanged(pid)
}

#[test]
fn a_process_is_traced_while_it_is_open() -> Result<()> {
    let victim = leaking()?;
    let pid = victim.pid();
    let screen = Screen::start(100, 30)?;
    start(&screen, "")?;
    ensure!(!has_probes(pid)?, "the machine alone is looked at");
    screen.press(&["/"])?;
    screen.enter(&pid.to_string())?;
    screen.wait_until("the row", |view| row(view, pid).is_some())?;
    screen.press(&["Enter"])?;
    screen.wait_for("leak_slowly")?;
    ensure!(has_probes(pid)?, "it is not traced");
    screen.press(&["Escape"])?;
    screen.wait_for("last minutes")?;
    code::until_unchanged(pid)?;
    screen.press(&["q"])?;
    screen.wait_for_shell()?;
    Ok(())
}

#[test]
fn what_cannot_be_traced_is_told_in_the_last_line() -> Result<()> {
    need::root()?;
    let screen = Screen::start(120, 30)?;
    let program = paths::memlens()?;
    // Nobody may look, and may not trace.
    let folder = tempfile::tempdir()?;
    let copy = folder.path().join("memlens");
    std::fs::copy(&program, &copy)?;
    let open = std::process::Command::new("chmod")
        .args(["-R", "a+rx"])
        .arg(folder.path())
        .status()?;
    ensure!(open.success());
    let setpriv = need::program("setpriv")?;
    let line = format!(
        "{} --reuid 65534 --regid 65534 --clear-groups {} top 500ms",
        setpriv.display(),
        copy.display()
    );
    screen.enter(&line)?;
    screen.wait_for("q leave")?;
    screen.press(&["Enter"])?;
    let view = screen.wait_for("sudo")?;
    ensure!(view.contains("growth/min"), "{view}");
    screen.press(&["q"])?;
    screen.wait_for_shell()?;
    Ok(())
}

#[test]
fn a_command_and_its_exit_code() -> Result<()> {
    need::root()?;
    let screen = Screen::start(120, 30)?;
    start(&screen, "-- sh -c 'sleep 2; exit 7'")?;
    screen.wait_for("has ended")?;
    screen.press(&["q"])?;
    screen.wait_for_shell()?;
    screen.enter("echo code $?")?;
    screen.wait_for("code 7")?;
    Ok(())
}
