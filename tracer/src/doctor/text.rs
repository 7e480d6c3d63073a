//! The diagnosis for a person: findings, allocators, probe sites, verdict.

use crate::preflight::{Finding, State};

use super::layout::{Ink, WIDTH, hang, pad, paint, widest, wrap};
use super::{AllocatorRow, Diagnosis, UntraceableRow, probes, runtimes, unwind};

/// Width of the column of marks: that of the longest, "MISSING", and two spaces.
const MARK: usize = 9;

impl Diagnosis {
    /// The whole diagnosis as text, with ANSI colors if `color`.
    pub fn render_text(&self, color: bool) -> String {
        let mut out = findings(&self.findings, color);
        if !self.allocators.is_empty() {
            out.push_str(&allocators(&self.allocators, color));
        }
        if !self.untraceable.is_empty() {
            out.push_str(&untraceable(&self.untraceable, color));
        }
        for table in self.probes.iter().flatten() {
            out.push('\n');
            out.push_str(&probes::render(table, color));
        }
        for report in self.unwind.iter().flatten() {
            out.push('\n');
            out.push_str(&unwind::render(report, color));
        }
        for report in self.runtimes.iter().flatten() {
            out.push('\n');
            out.push_str(&runtimes::render(report, color));
        }
        out.push('\n');
        for line in wrap(&self.verdict(), 0) {
            let ink = if self.is_able() { Ink::Green } else { Ink::Red };
            out.push_str(&paint(&line, ink, color));
            out.push('\n');
        }
        out
    }
}

fn findings(findings: &[Finding], color: bool) -> String {
    let what_width = widest(findings.iter().map(|finding| finding.what)) + 2;
    let indent = MARK + what_width;
    let mut out = String::new();
    for finding in findings {
        let (mark, ink) = match finding.state {
            State::Ok => ("ok", Ink::Green),
            State::Warn => ("warn", Ink::Yellow),
            State::Missing => ("MISSING", Ink::Red),
        };
        let first = paint(&pad(mark, MARK), ink, color) + &pad(finding.what, what_width);
        hang(&mut out, &first, indent, &finding.present);
        if finding.state == State::Missing {
            let first = format!("{}needed: ", " ".repeat(indent));
            hang(&mut out, &first, indent + 8, &finding.needed);
        }
        if let Some(remedy) = &finding.remedy {
            let first = format!("{}-> ", " ".repeat(indent));
            hang(&mut out, &first, indent + 3, remedy);
        }
    }
    out
}

fn allocators(rows: &[AllocatorRow], color: bool) -> String {
    let process = |row: &AllocatorRow| format!("{} ({})", row.pid, row.comm);
    let functions = |row: &AllocatorRow| row.functions.len().to_string();
    let processes: Vec<String> = rows.iter().map(process).collect();
    let process_width = widest(processes.iter().map(String::as_str).chain(["process"])) + 2;
    let kind_width = widest(
        rows.iter()
            .map(|row| row.kind.as_str())
            .chain(["allocator"]),
    ) + 2;
    let line = |process: &str, kind: &str, functions: &str, file: &str| {
        let process = pad(process, process_width);
        format!("{process}{}{functions:>9}  {file}", pad(kind, kind_width))
    };
    let heading = line("process", "allocator", "functions", "file");
    let mut out = format!("\n{}\n", paint(&heading, Ink::Bold, color));
    for (row, process) in rows.iter().zip(&processes) {
        out.push_str(&line(process, &row.kind, &functions(row), &row.file));
        out.push('\n');
    }
    out
}

fn untraceable(rows: &[UntraceableRow], color: bool) -> String {
    let heading = "cannot be traced";
    let mut out = format!("\n{}\n", paint(heading, Ink::Bold, color));
    for row in rows {
        let first = format!("{} ({}): ", row.pid, row.comm);
        let indent = first.chars().count().min(WIDTH / 2);
        hang(&mut out, &first, indent, &row.why);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::{Facts, Kernel, check};

    fn finding(what: &'static str, state: State, present: &str, remedy: Option<&str>) -> Finding {
        Finding {
            what,
            state,
            present: present.to_owned(),
            needed: "5.17 or newer".to_owned(),
            remedy: remedy.map(str::to_owned),
        }
    }

    fn redis() -> AllocatorRow {
        AllocatorRow {
            pid: 4242,
            comm: "redis-server".to_owned(),
            file: "/usr/lib/x86_64-linux-gnu/libjemalloc.so.2".to_owned(),
            kind: "jemalloc".to_owned(),
            functions: vec!["malloc".to_owned(), "free".to_owned()],
        }
    }

    #[test]
    fn trouble_shows_its_remedy_and_ends_with_what_to_do() {
        let diagnosis = Diagnosis {
            findings: vec![
                finding(
                    "kernel",
                    State::Missing,
                    "5.10.0",
                    Some("boot a newer kernel"),
                ),
                finding("uprobes", State::Ok, "event source 9", None),
                finding("tracefs", State::Warn, "not mounted", Some("mount it")),
            ],
            ..Diagnosis::default()
        };
        assert_eq!(
            diagnosis.render_text(false),
            "\
MISSING  kernel   5.10.0
                  needed: 5.17 or newer
                  -> boot a newer kernel
ok       uprobes  event source 9
warn     tracefs  not mounted
                  -> mount it

memlens leaks cannot work here yet: mend what is marked MISSING (kernel), then run memlens doctor
again
"
        );
        assert!(!diagnosis.is_able());
    }

    #[test]
    fn allocators_stand_in_a_table() {
        let diagnosis = Diagnosis {
            findings: vec![finding("kernel", State::Ok, "6.12.0", None)],
            allocators: vec![
                redis(),
                AllocatorRow {
                    pid: 7,
                    comm: "a".to_owned(),
                    file: "/lib/libc.so.6".to_owned(),
                    kind: "glibc".to_owned(),
                    functions: Vec::new(),
                },
            ],
            untraceable: vec![UntraceableRow {
                pid: 2,
                comm: "kthreadd".to_owned(),
                why: "it is a kernel thread".to_owned(),
            }],
            probes: None,
            unwind: None,
            runtimes: None,
        };
        assert_eq!(
            diagnosis.render_text(false),
            "\
ok       kernel  6.12.0

process              allocator  functions  file
4242 (redis-server)  jemalloc           2  /usr/lib/x86_64-linux-gnu/libjemalloc.so.2
7 (a)                glibc              0  /lib/libc.so.6

cannot be traced
2 (kthreadd): it is a kernel thread

everything that memlens leaks needs is here
"
        );
        assert!(diagnosis.is_able());
    }

    #[test]
    fn a_target_without_an_allocator_fails() {
        let diagnosis = Diagnosis {
            untraceable: vec![UntraceableRow {
                pid: 2,
                comm: "kthreadd".to_owned(),
                why: "it is a kernel thread".to_owned(),
            }],
            ..Diagnosis::default()
        };
        assert!(!diagnosis.is_able());
        assert_eq!(
            diagnosis.verdict(),
            "this machine is ready, but no allocator was found in the target: name it with --object \
             or --symbols-prefix"
        );
    }

    #[test]
    fn warnings_do_not_fail() {
        let warning = || finding("tracefs", State::Warn, "not mounted", Some("mount it"));
        let mut diagnosis = Diagnosis {
            findings: vec![warning()],
            ..Diagnosis::default()
        };
        assert_eq!(
            diagnosis.verdict(),
            "everything that memlens leaks needs is here; one warning above says what could be better"
        );
        diagnosis.findings.push(warning());
        assert!(diagnosis.verdict().contains("2 warnings above say"));
        assert!(diagnosis.is_able());
    }

    #[test]
    fn marks_are_colored_on_request_only() {
        let diagnosis = Diagnosis {
            findings: vec![finding("kernel", State::Ok, "6.12.0", None)],
            ..Diagnosis::default()
        };
        let text = diagnosis.render_text(true);
        assert!(
            text.starts_with("\x1b[32mok       \x1b[0mkernel  6.12.0\n"),
            "{text:?}"
        );
        assert!(!diagnosis.render_text(false).contains('\x1b'));
    }

    /// Real findings of a bare machine, where nearly all is missing, stay within 100 columns.
    #[test]
    fn no_line_is_too_wide() {
        let bare = Facts {
            kernel: Kernel::from_release("4.19.0-27-cloud-amd64"),
            ..Facts::default()
        };
        let diagnosis = Diagnosis {
            findings: check(&bare),
            allocators: vec![redis()],
            ..Diagnosis::default()
        };
        for line in diagnosis.render_text(false).lines() {
            assert!(line.chars().count() <= WIDTH, "{line}");
        }
    }
}
