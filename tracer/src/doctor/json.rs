//! The diagnosis for programs: one JSON object.

use serde::Serialize;

use crate::preflight::Finding;

use super::{AllocatorRow, Diagnosis, ProbeTable, RuntimeReport, UntraceableRow, UnwindReport};

/// Name and version of the object's form; the number grows when a field changes its meaning or goes.
const SCHEMA: &str = "memlens-doctor/1";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    able: bool,
    verdict: String,
    findings: &'a [Finding],
    allocators: &'a [AllocatorRow],
    untraceable: &'a [UntraceableRow],
    #[serde(skip_serializing_if = "Option::is_none")]
    probes: Option<&'a [ProbeTable]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    unwind: Option<&'a [UnwindReport]>,
    #[serde(skip_serializing_if = "Option::is_none")]
    runtimes: Option<&'a [RuntimeReport]>,
}

impl Diagnosis {
    /// One JSON object on one line, with a line feed.
    ///
    /// Offsets are numbers in bytes. `probes`, `unwind` and `runtimes` are absent where they were not asked for.
    ///
    /// # Errors
    /// Those of the serializer; none is known for this value.
    pub fn render_json(&self) -> serde_json::Result<String> {
        let document = Document {
            schema: SCHEMA,
            able: self.is_able(),
            verdict: self.verdict(),
            findings: &self.findings,
            allocators: &self.allocators,
            untraceable: &self.untraceable,
            probes: self.probes.as_deref(),
            unwind: self.unwind.as_deref(),
            runtimes: self.runtimes.as_deref(),
        };
        serde_json::to_string(&document).map(|line| line + "\n")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::probes::made_up_table;
    use crate::doctor::unwind::made_up_report;
    use crate::preflight::State;
    use serde_json::{Value, json};

    fn parsed(diagnosis: &Diagnosis) -> Value {
        let line = diagnosis.render_json().expect("is rendered");
        assert_eq!(line.matches('\n').count(), 1);
        serde_json::from_str(&line).expect("is JSON")
    }

    #[test]
    fn findings_keep_every_field() {
        let diagnosis = Diagnosis {
            findings: vec![Finding {
                what: "kernel",
                state: State::Missing,
                present: "5.10.0".to_owned(),
                needed: "5.17 or newer".to_owned(),
                remedy: Some("boot it".to_owned()),
            }],
            ..Diagnosis::default()
        };
        let expected = json!({
            "schema": "memlens-doctor/1",
            "able": false,
            "verdict": diagnosis.verdict(),
            "findings": [{
                "what": "kernel",
                "state": "missing",
                "present": "5.10.0",
                "needed": "5.17 or newer",
                "remedy": "boot it",
            }],
            "allocators": [],
            "untraceable": [],
        });
        assert_eq!(parsed(&diagnosis), expected);
    }

    #[test]
    fn probes_keep_every_field() {
        let diagnosis = Diagnosis {
            probes: Some(vec![made_up_table()]),
            ..Diagnosis::default()
        };
        let value = parsed(&diagnosis);
        assert_eq!(value["able"], true);
        assert_eq!(
            value["probes"][0]["probes"][1],
            json!({
                "file": "/usr/lib/x86_64-linux-gnu/libc.so.6",
                "symbol": "free",
                "aliases": [],
                "offset": 0x9f6e3,
                "from_entry": 3,
                "instruction": "je +0x88",
                "speed": "fast",
                "ending": "not needed",
                "why": "the first instruction that the kernel emulates",
            })
        );
        assert_eq!(
            value["probes"][0]["left_out"][0],
            json!({
                "file": "/usr/lib/x86_64-linux-gnu/libc.so.6",
                "symbol": "reallocarray",
                "reason": "realloc does all its work",
            })
        );
    }

    #[test]
    fn unwind_keeps_every_field() {
        let diagnosis = Diagnosis {
            unwind: Some(vec![made_up_report()]),
            ..Diagnosis::default()
        };
        let value = parsed(&diagnosis);
        assert_eq!(value.get("probes"), None);
        let report = &value["unwind"][0];
        assert_eq!(
            (&report["pid"], &report["comm"]),
            (&json!(4242), &json!("redis-server"))
        );
        assert_eq!(
            report["totals"],
            json!({
                "rows": 58_123,
                "table_bytes": 543_617,
                "code_bytes": 2_632_768,
                "covered_bytes": 2_584_096,
                "built": 3,
                "build_us": 12_000,
            })
        );
        assert_eq!(
            report["files"][1],
            json!({
                "file": "/usr/lib/x86_64-linux-gnu/libc.so.6",
                "walk": "table",
                "rows": 23_331,
                "table_bytes": 231_000,
                "code_bytes": 1_400_000,
                "covered_bytes": 1_380_000,
                "bare_bytes": 19_000,
                "unsupported": [
                    { "reason": "frame relative to another register", "rows": 3 },
                    { "reason": "return address elsewhere", "rows": 2 },
                ],
                "why": null,
            })
        );
        assert_eq!(report["files"][3]["walk"], "frame-pointers");
    }
}
