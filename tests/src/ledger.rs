//! Runs `memlens explain` and reads what it says.

use std::ffi::OsStr;

use anyhow::{Context, Result, ensure};
use memlens::profile::FindingKind;
use serde_json::Value;

use crate::report::Report;
use crate::{Memlens, memlens::Ended};

/// Explains a process.
pub fn explain(pid: u32) -> Result<Report> {
    explain_with(pid, &[] as &[&str])
}

/// Explains a process, with more arguments.
pub fn explain_with<S: AsRef<OsStr>>(pid: u32, more: &[S]) -> Result<Report> {
    let pid = pid.to_string();
    let first = ["explain", "--json", &pid].map(OsStr::new);
    let args = first.into_iter().chain(more.iter().map(AsRef::as_ref));
    let ended = Memlens::run(args)?;
    ensure!(ended.errors.is_empty(), "{:?}", ended.errors);
    explained(&ended)
}

/// Explains a process that goes on with its work. Its memory changes between our reading and the kernel's, so of ten
/// readings one must agree.
pub fn explain_at_work(pid: u32) -> Result<Report> {
    let mut reading = 1;
    loop {
        let explained = explain(pid)?;
        match explained.check_ledger(pid) {
            Ok(()) => return Ok(explained),
            Err(error) if reading == 10 => return Err(error.context("none of ten readings agrees")),
            Err(_) => reading += 1,
        }
    }
}

/// What a run that ended well has printed, which is one line.
pub fn explained(ended: &Ended) -> Result<Report> {
    ended.succeeded()?;
    let [line] = &ended.output[..] else {
        anyhow::bail!("explain printed {} lines", ended.output.len());
    };
    Report::parse(line)
}

impl Report {
    /// What is said of one process, or what a section of this name says.
    pub fn section(&self, name: &str) -> &Value {
        &self.json["sections"][name]
    }

    /// A number of the ledger, at a place such as `/stacks/count`.
    pub fn ledger_number(&self, place: &str) -> Result<u64> {
        number(self.section("ledger"), place)
    }

    /// What the kernel counts for the process, such as `rss_bytes`.
    pub fn process_total(&self, figure: &str) -> Result<u64> {
        let totals = &self.json["subjects"][0]["totals"];
        number(totals, &format!("/process.{figure}"))
    }

    /// The sum of a field over the ledger's rows of one kind; of all rows for an empty kind.
    pub fn ledger(&self, kind: &str, field: &str) -> u64 {
        let rows = list(&self.section("ledger")["rows"]);
        let wanted = rows.filter(|row| kind.is_empty() || row["kind"] == kind);
        wanted.filter_map(|row| row[field].as_u64()).sum()
    }

    /// The sum of a field over the arenas of glibc's heap.
    pub fn arenas(&self, field: &str) -> Result<u64> {
        let arenas = self.allocator("glibc")?["heap"]["arenas"].as_array();
        let arenas = arenas.with_context(|| format!("glibc's heap was not read: {}", self.json))?;
        let values = arenas.iter().map(|arena| arena[field].as_u64());
        let values = values.collect::<Option<Vec<u64>>>();
        Ok(values
            .with_context(|| format!("an arena has no {field}"))?
            .iter()
            .sum())
    }

    /// What is said of an allocator.
    pub fn allocator(&self, name: &str) -> Result<&Value> {
        let allocators = &self.section("ledger")["allocators"];
        let found = list(allocators).find(|one| one["name"] == name);
        found.with_context(|| format!("no {name} in {allocators}"))
    }

    /// What is said of the first language runtime.
    pub fn runtime(&self) -> &Value {
        &self.section("ledger")["runtimes"][0]
    }

    /// A number of the first language runtime, such as `heap_resident_bytes`.
    pub fn runtime_number(&self, field: &str) -> Result<u64> {
        number(self.runtime(), &format!("/{field}"))
    }

    /// That some sentence about this has all these words.
    pub fn check_finding(&self, kind: FindingKind, words: &[&str]) -> Result<()> {
        let own = self.findings.iter().filter(|finding| finding.kind == kind);
        let texts: Vec<&str> = own.map(|finding| finding.text.as_str()).collect();
        let says = |text: &&str| words.iter().all(|word| text.contains(word));
        ensure!(
            texts.iter().any(says),
            "no sentence with {words:?} among {texts:?}"
        );
        Ok(())
    }

    /// That some sentence about the ledger has all these words.
    pub fn check_explains(&self, words: &[&str]) -> Result<()> {
        self.check_finding(FindingKind::Ledger, words)
    }

    /// That the ledger adds up to what the kernel says of the process, within one percent.
    pub fn check_ledger(&self, pid: u32) -> Result<()> {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = rollup.lines().find(|line| line.starts_with("Rss:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        let kernel = kib.context("smaps_rollup has no Rss")? * 1024;
        near(self.ledger("", "resident_bytes"), kernel, 0.01)
            .context("ledger against smaps_rollup")?;
        let rest = signed(self.section("ledger"), "/unaccounted_bytes")?;
        ensure!(
            rest.unsigned_abs() <= kernel / 100,
            "{rest} of {kernel} bytes are not accounted for"
        );
        Ok(())
    }
}

/// The elements of a list; none where there is no list.
pub fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

/// A number that is not negative, at a place in a section.
pub fn number(section: &Value, place: &str) -> Result<u64> {
    let value = section.pointer(place).and_then(Value::as_u64);
    value.with_context(|| format!("no number at {place} in {section}"))
}

/// A number at a place in a section.
pub fn signed(section: &Value, place: &str) -> Result<i64> {
    let value = section.pointer(place).and_then(Value::as_i64);
    value.with_context(|| format!("no number at {place} in {section}"))
}

/// That two numbers differ by no more than a part of the second.
pub fn near(one: u64, other: u64, part: f64) -> Result<()> {
    ensure!(
        one.abs_diff(other) as f64 <= other as f64 * part,
        "{one} is not within {} % of {other}",
        part * 100.0
    );
    Ok(())
}
