//! Runs `memlens explain` and reads what it says.

use std::ffi::OsStr;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::Memlens;

/// An explanation, as JSON.
#[derive(Debug)]
pub struct Explained(pub Value);

/// Explains a process.
pub fn explain(pid: u32) -> Result<Explained> {
    explain_with(pid, &[] as &[&str])
}

/// Explains a process, with more arguments.
pub fn explain_with<S: AsRef<OsStr>>(pid: u32, more: &[S]) -> Result<Explained> {
    let pid = pid.to_string();
    let first = ["explain", "--json", &pid].map(OsStr::new);
    let args = first.into_iter().chain(more.iter().map(AsRef::as_ref));
    let ended = Memlens::run(args)?;
    ensure!(
        ended.status.code() == Some(0) && ended.errors.is_empty() && ended.output.len() == 1,
        "explain: {}, {:?}",
        ended.status,
        ended.errors
    );
    let value: Value = serde_json::from_str(&ended.output[0]).context("explain printed no JSON")?;
    ensure!(
        value["schema"] == "memlens.explain/1",
        "schema {}",
        value["schema"]
    );
    Ok(Explained(value))
}

impl Explained {
    /// A number at a place such as `/totals/resident`.
    pub fn number(&self, place: &str) -> Result<u64> {
        let value = self.0.pointer(place).and_then(Value::as_u64);
        value.with_context(|| format!("no number at {place} in {}", self.0))
    }

    fn list(&self, place: &str) -> Vec<&Value> {
        let list = self.0.pointer(place).and_then(Value::as_array);
        list.map(|list| list.iter().collect()).unwrap_or_default()
    }

    /// The sum of a field over the ledger's rows of one kind; of all rows for an empty kind.
    pub fn ledger(&self, kind: &str, field: &str) -> u64 {
        self.list("/ledger")
            .into_iter()
            .filter(|row| kind.is_empty() || row["kind"] == kind)
            .filter_map(|row| row[field].as_u64())
            .sum()
    }

    /// The sum of a field over the arenas of glibc's heap.
    pub fn arenas(&self, field: &str) -> Result<u64> {
        let arenas = self.glibc()?["heap"]["arenas"].as_array();
        let arenas = arenas.with_context(|| format!("glibc's heap was not read: {}", self.0))?;
        Ok(arenas
            .iter()
            .filter_map(|arena| arena[field].as_u64())
            .sum())
    }

    /// What is said of glibc.
    pub fn glibc(&self) -> Result<&Value> {
        self.allocator("glibc")
    }

    /// What is said of an allocator.
    pub fn allocator(&self, name: &str) -> Result<&Value> {
        let found = self
            .list("/allocators")
            .into_iter()
            .find(|one| one["name"] == name);
        found.with_context(|| format!("no {name} in {}", self.0["allocators"]))
    }

    /// That some sentence has all these words.
    pub fn says(&self, words: &[&str]) -> Result<()> {
        self.says_at("/findings", words)
    }

    /// That some sentence of a list has all these words.
    pub fn says_at(&self, place: &str, words: &[&str]) -> Result<()> {
        let sentences = self.list(place);
        let says = |sentence: &&Value| {
            let text = sentence.as_str().unwrap_or_default();
            words.iter().all(|word| text.contains(word))
        };
        ensure!(
            sentences.iter().any(says),
            "no sentence with {words:?} among {sentences:?}"
        );
        Ok(())
    }

    /// That the ledger adds up to what the kernel says of the process, within one percent.
    pub fn check_ledger(&self, pid: u32) -> Result<()> {
        let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
        let line = rollup.lines().find(|line| line.starts_with("Rss:"));
        let kib = line.and_then(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok());
        let kernel = kib.context("smaps_rollup has no Rss")? * 1024;
        near(self.ledger("", "resident"), kernel, 0.01).context("ledger against smaps_rollup")?;
        let rest = self.0["unaccounted"].as_i64().context("no unaccounted")?;
        ensure!(
            rest.unsigned_abs() <= kernel / 100,
            "{rest} of {kernel} bytes are not accounted for"
        );
        Ok(())
    }
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
