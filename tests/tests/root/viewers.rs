//! Each form that a report can have, opened by the program that people open it with.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens::recording::Recording;
use memlens_tests::{Memlens, Program, Victim, need, paths};
use tempfile::TempDir;

/// A trace of 30000 leaked bytes, in these forms.
fn written(names: &[&str]) -> Result<(TempDir, Vec<PathBuf>)> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let files: Vec<PathBuf> = names.iter().map(|name| folder.path().join(name)).collect();
    let mut victim = Victim::start(Program::new("leak_each").command(&["malloc"])?)?;
    let pid = victim.pid().to_string();
    let mut args = vec!["leaks", "-p", &pid, "200ms"];
    for file in &files {
        args.extend(["-o", file.to_str().context("a path in UTF-8")?]);
    }
    let mut memlens = Memlens::start(args)?;
    memlens.wait_until_tracing()?;
    // A report without the leak comes first.
    std::thread::sleep(Duration::from_millis(500));
    victim.go_to("done")?;
    std::thread::sleep(Duration::from_secs(1));
    memlens.interrupt()?.succeeded()?;
    Ok((folder, files))
}

/// What a viewer prints.
fn shown(program: &str, args: &[&str], file: &Path) -> Result<String> {
    let output = Command::new(need::program(program)?)
        .args(args)
        .arg(file)
        .output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let errors = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} {args:?}: {}: {errors}",
        output.status
    );
    Ok(text)
}

fn has(text: &str, parts: &[&str]) -> Result<()> {
    for part in parts {
        ensure!(text.contains(part), "no {part:?} in:\n{text}");
    }
    Ok(())
}

#[test]
fn pprof_reads_a_heap() -> Result<()> {
    let (folder, files) = written(&["a.pb.gz", "a.memlens"])?;
    let heap = &files[0];
    let top = shown("go", &["tool", "pprof", "-top", "-unit=b"], heap)?;
    has(
        &top,
        &[
            "File: leak_each",
            "Type: inuse_space",
            "30000B",
            "leak_malloc",
            "leak_outer",
        ],
    )?;
    let raw = shown("go", &["tool", "pprof", "-raw"], heap)?;
    has(
        &raw,
        &[
            "alloc_objects/count alloc_space/bytes inuse_objects/count inuse_space/bytes[dflt]",
            "leak_each.c:",
            "comm:[leak_each]",
            "1      30000          1      30000",
        ],
    )?;
    let tags = shown("go", &["tool", "pprof", "-tags"], heap)?;
    has(&tags, &["comm: Total", "leak_each", "pid: Total"])?;
    let comments = shown("go", &["tool", "pprof", "-comments"], heap)?;
    has(&comments, &["complete: nothing was lost"])?;
    // The difference of a profile and itself is nothing.
    let base = format!("-diff_base={}", heap.display());
    let none = shown("go", &["tool", "pprof", "-top", &base], heap)?;
    has(&none, &["Showing nodes accounting for 0"])?;
    // A difference from the time before the leak has all of it.
    let moments = Recording::open(&files[1])?;
    let first = moments.moments().first().context("no moment")?.elapsed;
    let (first, last) = (format!("{}ms", first.as_millis()), "1h");
    let recording = files[1].display().to_string();
    let difference = folder.path().join("d.pb.gz");
    let out = difference.display().to_string();
    Memlens::run(["report", &recording, "--between", &first, last, "-o", &out])?.succeeded()?;
    let grown = shown("go", &["tool", "pprof", "-top", "-unit=b"], &difference)?;
    has(&grown, &["30000B", "leak_malloc"])
}

#[test]
fn heaptrack_reads_what_is_left() -> Result<()> {
    let (_folder, files) = written(&["a.heaptrack"])?;
    let shown = shown("heaptrack_print", &["-l1", "-f"], &files[0])?;
    has(
        &shown,
        &[
            "Debuggee command was: memlens: leak_each",
            "30.00K leaked over 1 calls from",
            "leak_malloc",
            "leak_outer",
            "total memory leaked: 30.00K",
        ],
    )
}

#[test]
fn speedscope_opens_both_forms_that_it_reads() -> Result<()> {
    let (_folder, files) = written(&["a.speedscope.json", "a.pb.gz"])?;
    let script = paths::browser_tests()?.join("speedscope.mjs");
    for file in &files {
        let script = script.to_str().context("a path in UTF-8")?;
        let opened = shown("node", &[script], file)?;
        has(&opened, &["leak_malloc", "leak_outer", "main"])?;
    }
    Ok(())
}

/// The page, in a browser: no request, no message, and all that its own tests ask of it.
#[test]
fn the_page_passes_its_tests_in_a_browser() -> Result<()> {
    let (_folder, files) = written(&["a.html"])?;
    let tests = paths::browser_tests()?;
    let mut command = Command::new(need::program("node")?);
    command
        .args(["--test", "--test-concurrency=1"])
        .current_dir(&tests)
        .env("MEMLENS_REPORT", &files[0]);
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "{}:\n{text}", output.status);
    has(&text, &["# fail 0", "# skipped 0"])
}
