//! The table of `memlens doctor --unwind`: how stacks are walked through each mapped file, and why not by its table.

use std::time::Duration;

use serde::Serialize;

use super::layout::{Ink, hang, pad, paint, widest};
use crate::words::units::{bytes, count, counted, duration};

/// Where the second line of a row begins: under the number of rows.
const INDENT: usize = 8;

/// How stacks are walked through the code of one process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnwindReport {
    /// The process.
    pub pid: u32,
    /// Its name.
    pub comm: String,
    /// The sums over its files.
    pub totals: UnwindTotals,
    /// One row for each mapped file, the `[vdso]` and all anonymous code, by address.
    pub files: Vec<UnwindRow>,
}

/// The sums over the files of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct UnwindTotals {
    /// Rows of all tables.
    pub rows: u64,
    /// Bytes that the tables take in the kernel.
    pub table_bytes: u64,
    /// Bytes of executable code.
    pub code_bytes: u64,
    /// Of these, bytes with a rule that can be followed.
    pub covered_bytes: u64,
    /// Files whose tables were built for this process: files that an earlier process of the same run has mapped too
    /// are built once.
    pub built: u64,
    /// How long that took, in microseconds.
    pub build_us: u64,
}

/// Code of one file, of the `[vdso]`, or without a file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnwindRow {
    /// The file, as the process sees it, or what stands in for one.
    pub file: String,
    /// How stacks are walked through it.
    pub walk: Walk,
    /// Rows of its table.
    pub rows: u64,
    /// Bytes that its table takes in the kernel.
    pub table_bytes: u64,
    /// Bytes of executable code.
    pub code_bytes: u64,
    /// Of these, bytes with a rule that can be followed.
    pub covered_bytes: u64,
    /// Of these, bytes without call frame information: walked by frame pointers.
    pub bare_bytes: u64,
    /// Rows that say what the walk cannot follow, by reason.
    pub unsupported: Vec<UnsupportedRows>,
    /// Why the table is damaged or missing; `None` where it is whole.
    pub why: Option<String>,
}

/// How stacks are walked through a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Walk {
    /// By its table.
    Table,
    /// By its table, which has lost entries: stacks end in their code.
    Damaged,
    /// By frame pointers.
    FramePointers,
    /// Not at all: stacks end there.
    Cut,
}

/// Rows of one kind that the walk cannot follow.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct UnsupportedRows {
    /// What the rows say, as a clause.
    pub reason: String,
    /// How many they are, as the compiler wrote them.
    pub rows: u32,
}

impl UnwindReport {
    /// Sums the rows up. `built` tables took `build_time`.
    pub fn new(
        pid: u32,
        comm: String,
        files: Vec<UnwindRow>,
        built: u64,
        build_time: Duration,
    ) -> Self {
        let sum = |value: fn(&UnwindRow) -> u64| files.iter().map(value).sum();
        let totals = UnwindTotals {
            rows: sum(|row| row.rows),
            table_bytes: sum(|row| row.table_bytes),
            code_bytes: sum(|row| row.code_bytes),
            covered_bytes: sum(|row| row.covered_bytes),
            built,
            build_us: u64::try_from(build_time.as_micros()).unwrap_or(u64::MAX),
        };
        Self {
            pid,
            comm,
            totals,
            files,
        }
    }
}

impl Walk {
    /// The mark of a row.
    const fn mark(self) -> (&'static str, Ink) {
        match self {
            Self::Table => ("table", Ink::Green),
            Self::Damaged => ("part", Ink::Yellow),
            Self::FramePointers => ("fp", Ink::Yellow),
            Self::Cut => ("cut", Ink::Red),
        }
    }
}

/// Renders the table of one process.
pub fn render(report: &UnwindReport, color: bool) -> String {
    let title = format!("unwind tables of process {} ({})", report.pid, report.comm);
    let mut out = paint(&title, Ink::Bold, color) + "\n\n";
    let cells: Vec<[String; 4]> = report.files.iter().map(cells).collect();
    let widths = widths(&cells);
    let line = |cells: &[String; 4], file: &str| {
        let right = |n: usize| format!("{:>width$}", cells[n], width = widths[n]);
        let numbers: Vec<String> = (0..4).map(right).collect();
        format!("{}  {file}\n", numbers.join("  "))
    };
    out.push_str("  ");
    out.push_str(&pad("walk", INDENT - 2));
    out.push_str(&line(&HEADINGS.map(str::to_owned), "file"));
    for (row, cells) in report.files.iter().zip(&cells) {
        let (mark, ink) = row.walk.mark();
        out.push_str("  ");
        out.push_str(&paint(&pad(mark, INDENT - 2), ink, color));
        out.push_str(&line(cells, &row.file));
        for note in notes(row) {
            hang(&mut out, &" ".repeat(INDENT), INDENT, &note);
        }
    }
    out.push('\n');
    hang(&mut out, "", 0, &summary(report));
    out
}

const HEADINGS: [&str; 4] = ["rows", "KiB", "code KiB", "covered"];

fn cells(row: &UnwindRow) -> [String; 4] {
    let has_table = matches!(row.walk, Walk::Table | Walk::Damaged);
    let or_dash = |text: String| if has_table { text } else { "-".to_owned() };
    [
        or_dash(count(row.rows)),
        or_dash(kib(row.table_bytes)),
        kib(row.code_bytes),
        or_dash(percent(row.covered_bytes, row.code_bytes)),
    ]
}

fn widths(cells: &[[String; 4]]) -> [usize; 4] {
    let mut widths = [0; 4];
    for (column, width) in widths.iter_mut().enumerate() {
        let texts = cells.iter().map(|row| row[column].as_str());
        *width = widest(texts.chain([HEADINGS[column]]));
    }
    widths
}

/// KiB, rounded up, so that only nothing is 0.
fn kib(bytes: u64) -> String {
    count(bytes.div_ceil(1024))
}

/// A share in percent, rounded down, so that only everything is 100.
fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".to_owned();
    }
    let hundredths = u128::from(part) * 10_000 / u128::from(whole);
    if hundredths >= 10_000 {
        return "100%".to_owned();
    }
    format!("{}.{:02}%", hundredths / 100, hundredths % 100)
}

/// What is to be said of a row besides its numbers.
fn notes(row: &UnwindRow) -> Vec<String> {
    let mut notes: Vec<String> = row.why.iter().cloned().collect();
    if row.walk == Walk::Table && is_worth_telling(row) {
        notes.push(format!(
            "{} of code without call frame information: walked by frame pointers",
            bytes(row.bare_bytes)
        ));
    }
    let unsupported: u64 = row
        .unsupported
        .iter()
        .map(|rows| u64::from(rows.rows))
        .sum();
    if unsupported > 0 {
        let reasons: Vec<String> = row
            .unsupported
            .iter()
            .map(|rows| format!("{} {}", count(rows.rows.into()), rows.reason))
            .collect();
        notes.push(format!(
            "stacks are cut at {} that cannot be followed: {}",
            counted(unsupported, "row"),
            reasons.join(", ")
        ));
    }
    notes
}

/// Whether more code than the linker's own few stretches lacks call frame information: over a hundredth, or a page.
fn is_worth_telling(row: &UnwindRow) -> bool {
    row.bare_bytes > 4096 || row.bare_bytes > row.code_bytes / 100
}

fn summary(report: &UnwindReport) -> String {
    let totals = &report.totals;
    let walks = |walk: Walk| report.files.iter().filter(|row| row.walk == walk).count();
    let mut text = format!(
        "{} in {} of kernel memory; {} of {} of code covered; {} built in {}",
        counted(totals.rows, "row"),
        bytes(totals.table_bytes),
        percent(totals.covered_bytes, totals.code_bytes),
        bytes(totals.code_bytes),
        counted(totals.built, "table"),
        duration(Duration::from_micros(totals.build_us)),
    );
    for (walk, meaning) in [
        (Walk::Damaged, "with a damaged table"),
        (Walk::FramePointers, "walked by frame pointers"),
        (Walk::Cut, "where stacks are cut"),
    ] {
        match walks(walk) {
            0 => {}
            many => text.push_str(&format!("; {many} {meaning}")),
        }
    }
    text
}

#[cfg(test)]
pub(super) fn made_up_report() -> UnwindReport {
    let row = |file: &str, walk, why: Option<&str>| UnwindRow {
        file: file.to_owned(),
        walk,
        rows: 0,
        table_bytes: 0,
        code_bytes: 8192,
        covered_bytes: 0,
        bare_bytes: 0,
        unsupported: Vec::new(),
        why: why.map(str::to_owned),
    };
    let files = vec![
        UnwindRow {
            rows: 34_790,
            table_bytes: 312_345,
            code_bytes: 1_200_000,
            covered_bytes: 1_200_000,
            ..row("/usr/bin/redis-server", Walk::Table, None)
        },
        UnwindRow {
            rows: 23_331,
            table_bytes: 231_000,
            code_bytes: 1_400_000,
            covered_bytes: 1_380_000,
            bare_bytes: 19_000,
            unsupported: vec![
                UnsupportedRows {
                    reason: "frame relative to another register".to_owned(),
                    rows: 3,
                },
                UnsupportedRows {
                    reason: "return address elsewhere".to_owned(),
                    rows: 2,
                },
            ],
            ..row("/usr/lib/x86_64-linux-gnu/libc.so.6", Walk::Table, None)
        },
        UnwindRow {
            rows: 2,
            table_bytes: 272,
            covered_bytes: 4096,
            ..row(
                "/opt/libbad.so",
                Walk::Damaged,
                Some("2 bad entries in .eh_frame, the first at file offset 0x1234: unknown form"),
            )
        },
        row(
            "/opt/libold.so",
            Walk::FramePointers,
            Some("no .eh_frame: built without unwind tables"),
        ),
        row("/opt/gone.so", Walk::Cut, Some("is gone")),
        row(
            "anonymous code",
            Walk::FramePointers,
            Some("2 regions of a just-in-time compiler"),
        ),
    ];
    UnwindReport::new(
        4242,
        "redis-server".to_owned(),
        files,
        3,
        Duration::from_millis(12),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_its_numbers_and_reasons() {
        assert_eq!(
            render(&made_up_report(), false),
            "\
unwind tables of process 4242 (redis-server)

  walk    rows  KiB  code KiB  covered  file
  table 34,790  306     1,172     100%  /usr/bin/redis-server
  table 23,331  226     1,368   98.57%  /usr/lib/x86_64-linux-gnu/libc.so.6
        18.6 KiB of code without call frame information: walked by frame pointers
        stacks are cut at 5 rows that cannot be followed: 3 frame relative to another register, 2
        return address elsewhere
  part       2    1         8   50.00%  /opt/libbad.so
        2 bad entries in .eh_frame, the first at file offset 0x1234: unknown form
  fp         -    -         8        -  /opt/libold.so
        no .eh_frame: built without unwind tables
  cut        -    -         8        -  /opt/gone.so
        is gone
  fp         -    -         8        -  anonymous code
        2 regions of a just-in-time compiler

58,123 rows in 531 KiB of kernel memory; 98.15% of 2.51 MiB of code covered; 3 tables built in 12ms;
1 with a damaged table; 2 walked by frame pointers; 1 where stacks are cut
"
        );
    }

    #[test]
    fn a_process_without_code_has_no_share() {
        let empty = UnwindReport::new(7, "x".into(), Vec::new(), 0, Duration::ZERO);
        let text = render(&empty, false);
        assert!(
            text.ends_with(
                "0 rows in 0 B of kernel memory; - of 0 B of code covered; 0 tables built in 0ms\n"
            ),
            "{text}"
        );
    }

    #[test]
    fn only_all_is_a_hundred_percent() {
        assert_eq!(percent(9_999_999, 10_000_000), "99.99%");
        assert_eq!(percent(10, 10), "100%");
        assert_eq!(percent(u64::MAX / 2, u64::MAX), "49.99%");
    }
}
