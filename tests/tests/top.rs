//! `memlens top` on a terminal: what it does to the terminal, without any trace.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens_tests::child::until;
use memlens_tests::{Memlens, Screen, paths};

/// The view, with two refreshes a second.
fn start(screen: &Screen, args: &str) -> Result<()> {
    screen.enter(&format!("{} top 500ms {args}", paths::memlens()?.display()))?;
    screen.wait_for("q leave")?;
    Ok(())
}

/// PID of the memlens that runs under the shell of a screen.
fn pid_of(arguments: &str) -> Result<u32> {
    let found = std::fs::read_dir("/proc")?.flatten().find_map(|entry| {
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        let is_it = line.contains("memlens top ") && line.contains(arguments);
        entry.file_name().to_str()?.parse().ok().filter(|_| is_it)
    });
    found.with_context(|| format!("no memlens top {arguments} runs"))
}

#[test]
fn a_terminal_is_needed() -> Result<()> {
    Memlens::run(["top"])?.refused_with(&["top needs a terminal"])
}

#[test]
fn the_terminal_is_left_as_it_was() -> Result<()> {
    let screen = Screen::start(100, 30)?;
    let before = screen.modes()?;
    screen.enter("echo before-the-view")?;
    start(&screen, "")?;
    let view = screen.text()?;
    ensure!(
        view.contains("processes") && view.contains("growth/min"),
        "{view}"
    );
    ensure!(!view.contains("before-the-view"), "{view}");
    screen.press(&["?"])?;
    screen.wait_for("Shift-Tab")?;
    screen.press(&["?", "s", "/"])?;
    screen.wait_for("filter:")?;
    screen.press(&["C-c", "q"])?;
    // The last report stays, and so does what stood there before, further up.
    let after = screen.wait_for_shell()?;
    ensure!(
        after.contains("rss") && after.contains("total/min"),
        "{after}"
    );
    ensure!(screen.modes()? == before, "{before}");
    Ok(())
}

#[test]
fn signals_end_it_as_keys_do() -> Result<()> {
    for signal in ["-TERM", "-INT"] {
        let screen = Screen::start(100, 30)?;
        let before = screen.modes()?;
        let mark = format!("--window 1{}m", signal.len());
        start(&screen, &mark)?;
        let pid = pid_of(&mark)?;
        let status = std::process::Command::new("kill")
            .args([signal, &pid.to_string()])
            .status()?;
        ensure!(status.success());
        let after = screen.wait_for_shell()?;
        ensure!(after.contains("total/min"), "{after}");
        ensure!(screen.modes()? == before, "{before}");
    }
    Ok(())
}

#[test]
fn a_terminal_that_is_gone_ends_it() -> Result<()> {
    let screen = Screen::start(100, 30)?;
    start(&screen, "--window 17m")?;
    pid_of("--window 17m")?;
    screen.close()?;
    until("the end of memlens", Duration::from_secs(10), || {
        Ok(pid_of("--window 17m").is_err().then_some(()))
    })
}

#[test]
fn the_shell_can_go_on_with_it() -> Result<()> {
    let screen = Screen::start(100, 30)?;
    let before = screen.modes()?;
    start(&screen, "")?;
    screen.press(&["C-z"])?;
    screen.wait_for("Stopped")?;
    ensure!(screen.modes()? == before, "{before}");
    screen.enter("fg")?;
    let view = screen.wait_for("growth/min")?;
    ensure!(!view.contains("Stopped"), "{view}");
    screen.press(&["q"])?;
    screen.wait_for_shell()?;
    ensure!(screen.modes()? == before, "{before}");
    Ok(())
}

#[test]
fn another_size_is_heeded() -> Result<()> {
    let screen = Screen::start(100, 30)?;
    start(&screen, "")?;
    screen.resize(60, 15)?;
    let view = screen.wait_until("a small view", |text| {
        text.lines().count() <= 15 && text.contains("PSI") && text.contains("q leave")
    })?;
    ensure!(
        view.lines().all(|line| line.chars().count() <= 60),
        "{view}"
    );
    screen.resize(40, 10)?;
    screen.wait_for("too small: 40x10")?;
    screen.resize(150, 40)?;
    screen.wait_for("last minutes")?;
    screen.press(&["q"])?;
    screen.wait_for_shell()?;
    Ok(())
}

#[test]
fn it_ends_after_so_many_refreshes_and_files_are_written() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let file = folder.path().join("seen.json");
    let screen = Screen::start(120, 30)?;
    start(&screen, "16 --color never")?;
    screen.press(&["e"])?;
    screen.wait_for("write what is seen to:")?;
    screen.enter(&file.display().to_string())?;
    screen.wait_for("wrote ")?;
    screen.press(&["e"])?;
    screen.enter("/no/such/folder/a.json")?;
    screen.wait_for("its folder does not exist")?;
    screen.wait_for_shell()?;
    let seen = std::fs::read(&file)?;
    let seen = memlens::profile::Profile::parse(&seen).map_err(anyhow::Error::msg)?;
    ensure!(!seen.subjects.is_empty() && seen.sections.machine.is_some());
    // The input thread has ended as well: nothing of it is left.
    until("the end of memlens", Duration::from_secs(10), || {
        Ok(pid_of("16 --color never").is_err().then_some(()))
    })
}
