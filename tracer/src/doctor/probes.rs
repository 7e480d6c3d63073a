//! The table of `memlens doctor --probes`: where each probe sits, what it costs and why.

use super::layout::{Ink, hang, pad, paint, widest};
use super::{LeftOutRow, ProbeRow, ProbeTable, Speed};

/// Where the second line of a row begins: under the function's name.
const INDENT: usize = 9;

/// Renders the table of one process, grouped by file in the order of the rows.
pub fn render(table: &ProbeTable, color: bool) -> String {
    let title = format!("probes of process {} ({})", table.pid, table.comm);
    let mut out = paint(&title, Ink::Bold, color) + "\n";
    for file in files(table) {
        let rows: Vec<&ProbeRow> = table.probes.iter().filter(|row| row.file == file).collect();
        let left_out = table.left_out.iter().filter(|row| row.file == file);
        out.push_str(&format!("\n{file}\n"));
        if !rows.is_empty() {
            out.push_str(&probes(&rows, color));
        }
        for row in left_out {
            push_left_out(&mut out, row, color);
        }
    }
    out.push_str(&format!("\n{}\n", summary(table)));
    out
}

/// The files of a table, each once.
fn files(table: &ProbeTable) -> Vec<&str> {
    let probed = table.probes.iter().map(|row| row.file.as_str());
    let left_out = table.left_out.iter().map(|row| row.file.as_str());
    let mut files = Vec::new();
    for file in probed.chain(left_out) {
        if !files.contains(&file) {
            files.push(file);
        }
    }
    files
}

/// Widths of the columns function, file offset and instruction.
struct Columns([usize; 3]);

impl Columns {
    const HEADINGS: [&'static str; 3] = ["function", "file offset", "instruction"];

    fn of(cells: &[[String; 3]]) -> Self {
        let mut widths = [0; 3];
        for (column, width) in widths.iter_mut().enumerate() {
            let texts = cells.iter().map(|row| row[column].as_str());
            *width = widest(texts.chain([Self::HEADINGS[column]])) + 2;
        }
        Self(widths)
    }

    fn line(&self, cells: [&str; 3], last: &str) -> String {
        let padded: String = (0..3).map(|n| pad(cells[n], self.0[n])).collect();
        format!("{padded}{last}\n")
    }
}

fn probes(rows: &[&ProbeRow], color: bool) -> String {
    let cells: Vec<[String; 3]> = rows
        .iter()
        .map(|row| [row.symbol.clone(), place(row), row.instruction.clone()])
        .collect();
    let columns = Columns::of(&cells);
    let heading = columns.line(Columns::HEADINGS, "return seen by");
    let mut out = format!("  {}{heading}", pad("speed", INDENT - 2));
    for (row, cells) in rows.iter().zip(&cells) {
        let (speed, ink) = match row.speed {
            Speed::Fast => ("fast", Ink::Green),
            Speed::Slow => ("slow", Ink::Yellow),
        };
        let mark = paint(&pad(speed, INDENT - 2), ink, color);
        let cells = [cells[0].as_str(), cells[1].as_str(), cells[2].as_str()];
        out.push_str(&format!("  {mark}{}", columns.line(cells, &row.ending)));
        let indent = " ".repeat(INDENT);
        hang(&mut out, &indent, INDENT, &row.why);
        if !row.aliases.is_empty() {
            let names = format!("also named {}", row.aliases.join(", "));
            hang(&mut out, &indent, INDENT, &names);
        }
    }
    out
}

/// The file offset, and how far it is into the function where it is not its entry.
fn place(row: &ProbeRow) -> String {
    match row.from_entry {
        0 => format!("{:#x}", row.offset),
        bytes => format!("{:#x} (+{bytes})", row.offset),
    }
}

fn push_left_out(out: &mut String, row: &LeftOutRow, color: bool) {
    let mark = paint(&pad("none", INDENT - 2), Ink::Yellow, color);
    let text = format!("{}: {}", row.symbol, row.reason);
    hang(out, &format!("  {mark}"), INDENT, &text);
}

fn summary(table: &ProbeTable) -> String {
    let total = table.probes.len();
    let slow = |row: &&ProbeRow| row.speed == Speed::Slow;
    let slow = table.probes.iter().filter(slow).count();
    let noun = if total == 1 { "function" } else { "functions" };
    format!(
        "{total} {noun} probed: {} fast, {slow} slow; {} without a probe",
        total - slow,
        table.left_out.len()
    )
}

#[cfg(test)]
pub(super) fn made_up_table() -> ProbeTable {
    let libc = || "/usr/lib/x86_64-linux-gnu/libc.so.6".to_owned();
    ProbeTable {
        pid: 4242,
        comm: "redis-server".to_owned(),
        probes: vec![
            ProbeRow {
                file: libc(),
                symbol: "malloc".to_owned(),
                aliases: vec!["__libc_malloc".to_owned()],
                offset: 0x9f0c0,
                from_entry: 0,
                instruction: "push r12".to_owned(),
                speed: Speed::Fast,
                ending: "return probe".to_owned(),
                why: "its first instruction, which the kernel emulates".to_owned(),
            },
            ProbeRow {
                file: libc(),
                symbol: "free".to_owned(),
                aliases: Vec::new(),
                offset: 0x9f6e3,
                from_entry: 3,
                instruction: "je +0x88".to_owned(),
                speed: Speed::Fast,
                ending: "not needed".to_owned(),
                why: "the first instruction that the kernel emulates".to_owned(),
            },
            ProbeRow {
                file: "/opt/app/libheap.so".to_owned(),
                symbol: "mylib_alloc_something_long".to_owned(),
                aliases: Vec::new(),
                offset: 0x1000,
                from_entry: 0,
                instruction: "endbr64".to_owned(),
                speed: Speed::Slow,
                ending: "2 ret instructions".to_owned(),
                why:
                    "no instruction on the way that all callers take is emulated by the kernel, so \
                      the entry is single-stepped"
                        .to_owned(),
            },
        ],
        left_out: vec![LeftOutRow {
            file: libc(),
            symbol: "reallocarray".to_owned(),
            reason: "realloc does all its work".to_owned(),
        }],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_file_has_its_probes_and_what_is_left_out() {
        assert_eq!(
            render(&made_up_table(), false),
            "\
probes of process 4242 (redis-server)

/usr/lib/x86_64-linux-gnu/libc.so.6
  speed  function  file offset   instruction  return seen by
  fast   malloc    0x9f0c0       push r12     return probe
         its first instruction, which the kernel emulates
         also named __libc_malloc
  fast   free      0x9f6e3 (+3)  je +0x88     not needed
         the first instruction that the kernel emulates
  none   reallocarray: realloc does all its work

/opt/app/libheap.so
  speed  function                    file offset  instruction  return seen by
  slow   mylib_alloc_something_long  0x1000       endbr64      2 ret instructions
         no instruction on the way that all callers take is emulated by the kernel, so the entry is
         single-stepped

3 functions probed: 2 fast, 1 slow; 1 without a probe
"
        );
    }

    #[test]
    fn a_file_with_nothing_but_left_out_functions_is_shown() {
        let table = ProbeTable {
            probes: Vec::new(),
            ..made_up_table()
        };
        assert_eq!(
            render(&table, false),
            "\
probes of process 4242 (redis-server)

/usr/lib/x86_64-linux-gnu/libc.so.6
  none   reallocarray: realloc does all its work

0 functions probed: 0 fast, 0 slow; 1 without a probe
"
        );
    }
}
