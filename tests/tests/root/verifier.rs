//! How much work the programs are for the kernel's verifier, which limits it to a million instructions.

use anyhow::{Context, Result, ensure};
use memlens_tests::{Memlens, need};
use serde_json::Value;

/// Most instructions that the verifier may walk through for one program, as docs/unwinding.md says; the bounds of each
/// are in tracer-ebpf/verified.txt.
const MOST: u32 = 7_500;

/// A small program loads in milliseconds, and on kernels whose verifier follows more branches than this one's.
#[test]
fn programs_stay_small() -> Result<()> {
    need::root()?;
    let ended = Memlens::run(["doctor", "-v", "--json"])?;
    let line = ended.output.first().context("doctor printed nothing")?;
    let diagnosis: Value = serde_json::from_str(line)?;
    let findings = diagnosis["findings"].as_array().context("no findings")?;
    let present = findings
        .iter()
        .find(|finding| finding["what"] == "BPF programs")
        .and_then(|finding| finding["present"].as_str())
        .context("doctor -v says nothing of the programs")?;
    let sizes = present
        .strip_prefix("verified instructions: ")
        .with_context(|| format!("no sizes: {present}"))?;
    let sizes: Vec<(&str, u32)> = sizes.split(", ").map(size).collect::<Result<_>>()?;
    for name in ["alloc_enter", "alloc_return", "free_enter", "process_exec"] {
        ensure!(
            sizes.iter().any(|(other, _)| *other == name),
            "no {name} in {present}"
        );
    }
    for (name, verified) in sizes {
        ensure!(
            verified <= MOST,
            "{name}: {verified} verified instructions, at most {MOST} wanted"
        );
    }
    Ok(())
}

/// A program and its size, as in "alloc_return 3,012".
fn size(text: &str) -> Result<(&str, u32)> {
    let (name, verified) = text
        .rsplit_once(' ')
        .with_context(|| format!("no number in {text:?}"))?;
    Ok((name, verified.replace(',', "").parse()?))
}
