//! How much work each program is for the kernel's verifier, against the bounds that are committed.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path};

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use crate::run;

/// The bounds, as seen from the checkout.
const BOUNDS: &str = "tracer-ebpf/verified.txt";

/// Instructions by program.
type Counts = BTreeMap<String, u64>;

/// Loads the programs into the kernel and returns a table of their verified instructions beside their bounds; fails
/// where a program exceeds its bound or has none. Needs root.
pub fn compare(root: &Path) -> Result<String> {
    let text =
        fs::read_to_string(root.join(BOUNDS)).with_context(|| format!("cannot read {BOUNDS}"))?;
    let bounds = parse_bounds(&text)?;
    let mut doctor = run::cargo();
    doctor
        .args(["run", "--quiet", "--package", "memlens", "--"])
        .args(["doctor", "-v", "--json"])
        .current_dir(root);
    let counts = parse_counts(&run::output(&mut doctor)?)?;
    let table = table(&counts, &bounds);
    let beyond = beyond(&counts, &bounds);
    if !beyond.is_empty() {
        bail!(
            "more verified instructions than {BOUNDS} allows: {}; make the program smaller, or raise the bound and say why\n{table}",
            beyond.join(", ")
        );
    }
    Ok(table)
}

/// Lines of a name and a number; `#` begins a comment.
fn parse_bounds(text: &str) -> Result<Counts> {
    text.lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'))
        .map(|line| {
            let (name, bound) = line
                .split_once(' ')
                .with_context(|| format!("{BOUNDS}: no number in {line:?}"))?;
            let bound = bound
                .parse()
                .with_context(|| format!("{BOUNDS}: {bound:?} is no number"))?;
            Ok((name.to_owned(), bound))
        })
        .collect()
}

/// The counts in what `memlens doctor -v --json` prints.
fn parse_counts(json: &str) -> Result<Counts> {
    let diagnosis: Value = serde_json::from_str(json).context("doctor printed no JSON")?;
    let findings = diagnosis["findings"].as_array().map(Vec::as_slice);
    let programs = findings
        .unwrap_or_default()
        .iter()
        .find(|finding| finding["what"] == "BPF programs")
        .and_then(|finding| finding["present"].as_str())
        .context("doctor says nothing of the BPF programs")?;
    let counts = programs
        .strip_prefix("verified instructions: ")
        .with_context(|| {
            format!("no verified instructions: {programs} (they need root and Linux 5.16)")
        })?;
    counts
        .split(", ")
        .map(|program| {
            let (name, count) = program
                .split_once(' ')
                .with_context(|| format!("no number in {program:?}"))?;
            let count = count
                .replace(',', "")
                .parse()
                .with_context(|| format!("{count:?} is no number"))?;
            Ok((name.to_owned(), count))
        })
        .collect()
}

/// The programs that take more than they may, in words.
fn beyond(counts: &Counts, bounds: &Counts) -> Vec<String> {
    counts
        .iter()
        .filter_map(|(name, count)| match bounds.get(name) {
            Some(bound) if count <= bound => None,
            Some(bound) => Some(format!("{name} {count} of {bound}")),
            None => Some(format!("{name} {count} without a bound")),
        })
        .collect()
}

fn table(counts: &Counts, bounds: &Counts) -> String {
    let mut text = format!("{:>8} {:>8}  program\n", "verified", "bound");
    for (name, count) in counts {
        let bound = bounds.get(name).map_or("-".to_owned(), u64::to_string);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{count:>8} {bound:>8}  {name}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const DOCTOR: &str = r#"{"findings": [{"what": "kernel", "present": "6.18"},
        {"what": "BPF programs", "present": "verified instructions: a 1,200, b 7"}]}"#;

    #[test]
    fn counts_are_read_from_the_doctors_report() {
        let counts = parse_counts(DOCTOR).expect("counts");
        assert_eq!(counts, Counts::from([("a".into(), 1200), ("b".into(), 7)]));
        assert!(
            parse_counts(&DOCTOR.replace("verified instructions: a 1,200, b 7", "loaded")).is_err()
        );
        assert!(parse_counts("{}").is_err());
    }

    #[test]
    fn a_program_beyond_its_bound_or_without_one_is_told() {
        let counts = parse_counts(DOCTOR).expect("counts");
        let bounds = |text| parse_bounds(text).expect("bounds");
        assert!(beyond(&counts, &bounds("# comment\na 1200\nb 8\nc 1")).is_empty());
        assert_eq!(beyond(&counts, &bounds("a 1199\nb 7")), ["a 1200 of 1199"]);
        assert_eq!(beyond(&counts, &bounds("a 1200")), ["b 7 without a bound"]);
        assert!(parse_bounds("a").is_err() && parse_bounds("a b").is_err());
    }

    /// Those that are above the aim: with the walk through a process's stack, or the most ways into the live table.
    const LARGE: [&str; 5] = [
        "alloc_ret",
        "alloc_return",
        "page_fault",
        "realloc_enter",
        "space_leave",
    ];

    #[test]
    fn the_committed_bounds_are_within_the_aim() {
        let root = run::workspace_root().expect("the checkout");
        let text = fs::read_to_string(root.join(BOUNDS)).expect("the bounds");
        for (name, bound) in parse_bounds(&text).expect("bounds") {
            let large = LARGE.contains(&name.as_str());
            assert_eq!(bound > 4000, large, "{name} {bound}");
        }
    }
}
