//! Stacks through HotSpot: compiled code is walked and named, inlined and interpreted methods too.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use memlens::profile::{CutReason, Frame, FrameKind, Measure};
use memlens_tests::address_space::rested;
use memlens_tests::{Memlens, Report, Row, foreign, need};

/// Frames of a stack as Java tells them: method, file, line.
type Frames = Vec<(String, String, i64)>;

/// The Java machines of this machine: those that its distribution keeps.
fn machines() -> Result<Vec<PathBuf>> {
    let mut all = vec![std::fs::canonicalize(need::program("java")?)?];
    for folder in std::fs::read_dir("/usr/lib/jvm").into_iter().flatten() {
        let java = folder?.path().join("bin/java");
        if java.is_file() {
            all.push(std::fs::canonicalize(java)?);
        }
    }
    all.extend(std::env::var_os("MEMLENS_TEST_JAVA").map(PathBuf::from));
    all.sort();
    all.dedup();
    Ok(all)
}

/// The frames of Java on a stack, from the method on that allocates.
fn java_frames(row: &Row<'_>) -> Frames {
    let frames = row.frames().filter(|frame| frame.kind == FrameKind::Java);
    let own = |frame: &Frame| {
        let name = frame.symbol.as_deref().unwrap_or("?").to_owned();
        let file = frame.file.as_deref().unwrap_or("null").to_owned();
        (name, file, frame.line.map_or(-1, i64::from))
    };
    frames
        .map(own)
        .skip_while(|(name, ..)| name != "Mixed.alloc")
        .collect()
}

/// The stacks by the sizes of their blocks.
fn by_size(report: &Report) -> BTreeMap<u64, Row<'_>> {
    let rows = report.heap().into_iter();
    rows.map(|row| {
        let blocks = row.amount(Measure::HeapLiveBlocks).max(1);
        (row.amount(Measure::HeapLiveBytes) / blocks, row)
    })
    .collect()
}

/// Runs the victim in a machine. Each whole stack must be as Java tells it, and so many of a hundred must be whole: code
/// that was compiled within the last tenth of a second is not known, and cuts them.
fn check(java: &Path, often: u32, options: &[&str], least: usize) -> Result<()> {
    let mut java = foreign::mixed(java, often, options)?;
    rested(java.pid())?;
    let memlens = Memlens::leaks(java.pid(), &["--top", "0"])?;
    std::thread::sleep(Duration::from_millis(500));
    let truths: BTreeMap<u64, Frames> = serde_json::from_str(&java.told()?)?;
    let report = memlens.stop()?;
    ensure!(truths.len() == 100, "{truths:?}");
    let rows = by_size(&report);
    let mut whole = 0;
    for (size, truth) in truths {
        // The cut ones of several sizes may have become one.
        let Some(row) = rows.get(&size).filter(|row| row.cut().is_none()) else {
            continue;
        };
        whole += 1;
        let (found, truth) = (comparable(java_frames(row)), comparable(truth));
        ensure!(found == truth, "{size}: {found:?}\n not {truth:?}");
    }
    let cuts: Vec<_> = report.heap().iter().filter_map(|row| row.cut()).collect();
    eprintln!("{whole} of 100 are whole; {cuts:?}");
    ensure!(whole >= least, "{whole} of 100 are whole: {cuts:?}");
    let is_new = |cut: &CutReason| *cut == CutReason::UnknownCode;
    ensure!(cuts.iter().all(is_new), "{cuts:?}");
    java.end(Duration::from_secs(20))?;
    Ok(())
}

/// Methods that the machine itself has made have no file, and no line that means anything; Java writes the address of
/// the class into its name.
fn comparable(mut frames: Frames) -> Frames {
    for (name, ..) in &mut frames {
        if let Some((class, (_, method))) = name
            .split_once("/0x")
            .and_then(|(class, rest)| Some((class, rest.split_once('.')?)))
        {
            *name = format!("{class}.{method}");
        }
    }
    let own = |frame: &&mut (String, String, i64)| frame.1 == "null";
    frames.iter_mut().filter(own).for_each(|frame| frame.2 = -1);
    frames
}

/// Compiled by both compilers, inlined, on stacks with interpreted methods, in each version of the machine.
#[test]
fn compiled_stacks_are_those_that_java_tells() -> Result<()> {
    need::root()?;
    for java in machines()? {
        check(&java, 3000, &[], 50).with_context(|| java.display().to_string())?;
        let simple = ["-XX:TieredStopAtLevel=1"];
        check(&java, 3000, &simple, 95).with_context(|| java.display().to_string())?;
    }
    Ok(())
}

/// Nothing is compiled.
#[test]
fn interpreted_stacks_are_those_that_java_tells() -> Result<()> {
    need::root()?;
    for java in machines()? {
        check(&java, 2, &["-Xint"], 100).with_context(|| java.display().to_string())?;
    }
    Ok(())
}
