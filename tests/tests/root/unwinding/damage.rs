//! Files whose unwind tables are damaged: what is said of them, and what of their stacks is left.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens_tests::child::Owned;
use memlens_tests::{Live, Memlens, Program, Victim, need, trace};
use serde_json::Value;

use super::cases::{check_whole, check_whole_or_marked, library, only, text};

/// Overwrites bytes of a section.
type Damage = fn(&mut [u8]);

/// A library whose unwind tables are damaged: a note names it, its stacks are whole or marked, and every byte is
/// counted.
#[test]
fn damaged_tables() -> Result<()> {
    let whole = library("leak_plugin", 50).build()?;
    let folder = tempfile::tempdir()?;
    let damages: [(&str, Damage); 3] = [
        ("all", |bytes| bytes.fill(0xff)),
        ("second_half", |bytes| {
            let half = bytes.len() / 2;
            bytes[half..].fill(0xa5);
        }),
        ("lengths", |bytes| {
            bytes[..4].copy_from_slice(&0xffff_fff0_u32.to_le_bytes());
        }),
    ];
    for (what, damage) in damages {
        let path = damaged(&whole, folder.path(), what, damage)?;
        let command = Program::new("plugin").command(&["early", text(&path)?, "leak_plugin"])?;
        let traced = trace(command, &[])?;
        traced
            .report
            .check_exact(traced.pid, Live::new(1_000, 20))?;
        traced
            .report
            .check_function("leak_plugin", Live::new(1_000, 20))?;
        let stack = only(&traced.report)?;
        check_whole_or_marked(stack, &["leak_plugin", "call_plugin", "main"]).context(what)?;
        let name = format!("damaged_{what}");
        traced.report.check_says(&[&name]).context(what)?;
        ensure!(traced.status.success(), "the program was hurt");
    }
    Ok(())
}

/// A copy of a library with other bytes in its `.eh_frame`.
fn damaged(library: &Path, folder: &Path, what: &str, damage: Damage) -> Result<PathBuf> {
    let section = folder.join("eh_frame");
    let copy = folder.join(format!("damaged_{what}.so"));
    objcopy(&[
        "-O",
        "binary",
        "-j",
        ".eh_frame",
        text(library)?,
        text(&section)?,
    ])?;
    let mut bytes = std::fs::read(&section)?;
    ensure!(bytes.len() > 64, "{} has no .eh_frame", library.display());
    damage(&mut bytes);
    std::fs::write(&section, bytes)?;
    let update = format!(".eh_frame={}", section.display());
    objcopy(&["--update-section", &update, text(library)?, text(&copy)?])?;
    Ok(copy)
}

fn objcopy(arguments: &[&str]) -> Result<()> {
    let mut command = Command::new(need::program("objcopy")?);
    command.args(arguments).stdin(Stdio::null());
    let status = Owned::start(&mut command)?.wait(Duration::from_secs(30))?;
    ensure!(status.success(), "{command:?}: {status}");
    Ok(())
}

/// One bad entry among 4,096 costs its own function alone, and no note.
#[test]
fn one_bad_entry_among_many() -> Result<()> {
    let whole = wide_library()?;
    let folder = tempfile::tempdir()?;
    let path = damaged(&whole, folder.path(), "one", bad_instruction)?;
    let command = Program::new("plugin").command(&["early", text(&path)?, "leak_plugin"])?;
    let traced = trace(command, &[])?;
    traced
        .report
        .check_function("leak_plugin", Live::new(1_000, 20))?;
    for stack in traced.report.heap() {
        check_whole(stack, &["leak_plugin", "call_plugin", "main"])?;
    }
    let notes = &traced.report.notes;
    ensure!(
        !notes.iter().any(|note| note.contains("damaged_one")),
        "{notes:?}"
    );
    Ok(())
}

fn wide_library() -> Result<PathBuf> {
    let library = Program::library("wide_library").flag("-DNAME=leak_plugin");
    library.flag("-DSIZE=50").build()
}

/// Puts an unknown instruction at the end of an entry in the middle of the section.
fn bad_instruction(bytes: &mut [u8]) {
    let length = |at: usize, bytes: &[u8]| {
        let word = bytes.get(at..at + 4).and_then(|word| word.try_into().ok());
        word.map_or(0, u32::from_le_bytes) as usize
    };
    let (middle, mut at) = (bytes.len() / 2, 0);
    while at < middle {
        at += 4 + length(at, bytes);
    }
    let end = at + 4 + length(at, bytes);
    bytes[end - 1] = 0x3f;
}

/// `doctor --unwind` of a process that has mapped this library: what it printed, and the library's row as JSON.
fn examine(library: &Path) -> Result<(String, Value)> {
    let command = Program::new("plugin").command(&["early", text(library)?, "leak_plugin"])?;
    let victim = Victim::start(command)?;
    let pid = victim.pid().to_string();
    let printed = Memlens::run(["doctor", "--unwind", "-p", &pid])?;
    ensure!(printed.status.code() == Some(0), "{}", printed.status);
    let json = Memlens::run(["doctor", "--unwind", "--json", "-p", &pid])?;
    ensure!(json.status.code() == Some(0), "{}", json.status);
    let line = json.output.first().context("doctor printed nothing")?;
    let told: Value = serde_json::from_str(line)?;
    let files = told["unwind"][0]["files"].as_array();
    let name = text(library)?;
    let row = files
        .into_iter()
        .flatten()
        .find(|row| row["file"] == name)
        .with_context(|| format!("no row of {name}"))?;
    Ok((printed.output.join("\n"), row.clone()))
}

/// The doctor names the file, how stacks go through it, and where what is wrong with it; the process can be traced, so
/// the exit code is 0.
#[test]
fn the_doctor_tells_what_is_damaged() -> Result<()> {
    need::root()?;
    let small = library("leak_plugin", 50).build()?;
    let wide = wide_library()?;
    let folder = tempfile::tempdir()?;
    let bad = |library: &Path, what, damage| damaged(library, folder.path(), what, damage);

    let (printed, row) = examine(&small)?;
    ensure!(row["walk"] == "table" && row["why"].is_null(), "{row}");
    ensure!(!printed.contains("damaged"), "{printed}");

    let (printed, row) = examine(&bad(&small, "all", |bytes| bytes.fill(0xff))?)?;
    ensure!(row["walk"] == "cut" && row["rows"] == 0, "{row}");
    let why = row["why"].as_str().context("why")?;
    ensure!(
        why.starts_with(".eh_frame at file offset 0x") && why.contains("cannot be read"),
        "{why}"
    );
    ensure!(printed.contains("1 where stacks are cut"), "{printed}");

    let (printed, row) = examine(&bad(&wide, "one", bad_instruction)?)?;
    ensure!(row["walk"] == "damaged", "{row}");
    ensure!(row["rows"].as_u64() > Some(4_096), "{row}");
    let why = row["why"].as_str().context("why")?;
    ensure!(
        why.starts_with("1 bad entry in .eh_frame, the first at file offset 0x"),
        "{why}"
    );
    ensure!(printed.contains("1 with a damaged table"), "{printed}");
    let line = printed.lines().find(|line| line.contains("damaged_one.so"));
    ensure!(
        line.is_some_and(|line| line.trim_start().starts_with("part ")),
        "{printed}"
    );
    Ok(())
}
