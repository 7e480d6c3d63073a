//! `memlens doctor --runtimes`: which language runtimes a process has, and what stacks will show of them.

use serde::Serialize;

use super::layout::{Ink, hang, paint};
use crate::words::units::{self, counted};

/// Runtimes of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RuntimeReport {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// What was found, in the order of the files' addresses.
    pub runtimes: Vec<RuntimeRow>,
}

/// A runtime in a process.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct RuntimeRow {
    /// Its name, with the version as far as it is known.
    pub name: String,
    /// The file that it is in.
    pub file: String,
    /// Whether its frames are read.
    pub is_followed: bool,
    /// What it was found by.
    pub found_by: String,
    /// Where the offsets in its structures are from; null where they are not known.
    pub offsets_from: Option<String>,
    /// Members whose offsets were compared with what the file says of itself.
    pub compared: Vec<String>,
    /// Bytes of the interpreter's loop, of which the frames are replaced; 0 if it was not found. Null for runtimes whose
    /// interpreter has no loop.
    pub loop_bytes: Option<u64>,
    /// Methods that are compiled, and the bytes of the memory that they lie in; null for runtimes that compile none.
    pub compiled: Option<(u64, u64)>,
    /// Interpreters and threads with a state that were found in the running process; null if they were not looked for.
    pub found: Option<(u64, u64)>,
    /// What stacks will show.
    pub seen: String,
}

/// The report as text.
pub fn render(report: &RuntimeReport, color: bool) -> String {
    let heading = format!("runtimes of {} ({})", report.pid, report.comm);
    let mut out = format!("{}\n", paint(&heading, Ink::Bold, color));
    if report.runtimes.is_empty() {
        out.push_str("no language runtime that memlens knows: stacks are native\n");
    }
    for row in &report.runtimes {
        hang(&mut out, "", 0, &format!("{} in {}", row.name, row.file));
        for (name, text) in parts(row) {
            hang(&mut out, &format!("  {name:<10}"), 12, &text);
        }
    }
    out
}

fn parts(row: &RuntimeRow) -> Vec<(&'static str, String)> {
    let mut parts = vec![("found by", row.found_by.clone())];
    if let Some(from) = &row.offsets_from {
        let text = match row.compared.is_empty() {
            true => from.clone(),
            false => format!("{from}; as the file says: {}", row.compared.join(", ")),
        };
        parts.push(("offsets", text));
    }
    if let Some(bytes) = row.loop_bytes {
        parts.push((
            "loop",
            match bytes {
                0 => "not found: its frames are not replaced, and the others are shown last"
                    .to_owned(),
                bytes => format!("{bytes} bytes of code"),
            },
        ));
    }
    if let Some((methods, bytes)) = row.compiled {
        let text = format!("{} in {}", counted(methods, "method"), units::bytes(bytes));
        parts.push(("compiled", text));
    }
    if let Some((interpreters, threads)) = row.found {
        let plural = |count: u64, one: &str| match count {
            1 => format!("1 {one}"),
            many => format!("{many} {one}s"),
        };
        parts.push((
            "running",
            format!(
                "{}, {} with a state",
                plural(interpreters, "interpreter"),
                plural(threads, "thread")
            ),
        ));
    }
    parts.push(("seen", row.seen.clone()));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_told() {
        let report = RuntimeReport {
            pid: 7,
            comm: "app".to_owned(),
            runtimes: vec![RuntimeRow {
                name: "CPython 3.11.2".to_owned(),
                file: "/usr/bin/python3.11".to_owned(),
                is_followed: true,
                found_by: "exported symbol _PyRuntime".to_owned(),
                offsets_from: Some("table of versions".to_owned()),
                compared: vec!["co_filename".to_owned(), "co_qualname".to_owned()],
                loop_bytes: Some(55_644),
                compiled: None,
                found: Some((1, 3)),
                seen: "functions".to_owned(),
            }],
        };
        assert_eq!(
            render(&report, false),
            "\
runtimes of 7 (app)
CPython 3.11.2 in /usr/bin/python3.11
  found by  exported symbol _PyRuntime
  offsets   table of versions; as the file says: co_filename, co_qualname
  loop      55644 bytes of code
  running   1 interpreter, 3 threads with a state
  seen      functions
"
        );
        let none = RuntimeReport {
            runtimes: Vec::new(),
            ..report
        };
        assert!(render(&none, false).contains("stacks are native"));
    }
}
