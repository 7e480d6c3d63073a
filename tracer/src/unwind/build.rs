//! Building a file's table from its `.eh_frame`.

use std::fmt::Display;
use std::ops::Range;

use tracer_common::unwind::{Kind, Rule, row, row_address, row_rule};

use super::elf::{self, Elf, Segment};
use super::entries::{Fde, Offsets, Reader, search_table};
use super::error::TableError;
use super::merged::{Merged, buckets};
use super::table::{Damage, Reason, Stats, Table};
use crate::arch::{Arch, InstructionSet};

/// Gaps between entries up to this length are padding, and take the rule of the code before them.
const PADDING: u32 = 15;

/// Most bytes from the first to the last executable byte; the largest library seen has 130 MiB.
const MAX_SPAN: u64 = 1 << 30;

/// Builds the table of an ELF image, the whole file or a `[vdso]` read from memory.
///
/// # Errors
///
/// [`TableError`] if there is nothing to build from. Damage to single entries is told in [`Stats::damage`].
pub fn build(image: &[u8]) -> Result<Table, TableError> {
    build_for(Arch::HOST, image)
}

/// As [`build`], of an image for an architecture, which need not be this machine's.
///
/// # Errors
///
/// As for [`build`].
pub fn build_for(arch: Arch, image: &[u8]) -> Result<Table, TableError> {
    let elf = elf::parse(arch, image)?;
    let (base, span) = span(&elf)?;
    let mut functions = Functions::new(base, span);
    functions.read(&elf);
    if functions.stats.entries == 0 {
        return Err(match functions.stats.damage {
            None => TableError::NoFrameInformation,
            Some(damage) => TableError::Malformed {
                what: ".eh_frame",
                offset: damage.offset,
                error: damage.error,
            },
        });
    }
    functions.find_signal_returns(&elf);
    functions.find_outermost(&elf);
    let rows = functions.merge(&elf);
    let mut stats = functions.stats;
    measure(&mut stats, &rows, &elf.code, base);
    Ok(Table {
        base,
        buckets: buckets(&rows, span),
        rows,
        segments: elf.code.iter().map(|(segment, _)| *segment).collect(),
        stats,
    })
}

/// The table of code that no file describes: each of these rules holds from its address on, in their order.
pub fn table_of(code: Range<u64>, rules: &[(u64, Rule)]) -> Table {
    let span = (code.end - code.start).min(MAX_SPAN) as u32;
    let mut rows = Merged(Vec::with_capacity(rules.len()));
    let mut last = 0;
    for (address, rule) in rules {
        let relative = address.saturating_sub(code.start).min(span.into()) as u32;
        // Pieces may overlap only where the description is damaged.
        last = relative.max(last);
        rows.push(last, *rule);
    }
    if rows.0.is_empty() {
        rows.push(0, Rule::NO_TABLE);
    }
    Table {
        base: code.start,
        buckets: buckets(&rows.0, span),
        rows: rows.0,
        segments: Vec::new(),
        stats: Stats::default(),
    }
}

/// SVMA of the first executable byte, and how many bytes on the last one ends.
pub(super) fn span(elf: &Elf<'_>) -> Result<(u64, u32), TableError> {
    let base = elf.code.first().map_or(0, |(segment, _)| segment.address);
    let end = elf.code.iter().map(|(segment, _)| segment.end()).max();
    let span = end.unwrap_or(base).saturating_sub(base);
    if span > MAX_SPAN {
        return Err(TableError::TooLarge { span });
    }
    Ok((base, span as u32))
}

/// One function's rows: from `start` to `end` (relative to the base), `rows` of the list.
#[derive(Clone, Copy)]
struct Function {
    start: u32,
    end: u32,
    first_row: usize,
    end_row: usize,
}

/// All functions with call frame information, in the order of their entries.
struct Functions {
    base: u64,
    span: u32,
    list: Vec<Function>,
    rows: Vec<u64>,
    /// Any code without an entry may have lost it.
    lost_everywhere: bool,
    stats: Stats,
}

impl Functions {
    fn new(base: u64, span: u32) -> Self {
        Self {
            base,
            span,
            list: Vec::new(),
            rows: Vec::new(),
            lost_everywhere: false,
            stats: Stats::default(),
        }
    }

    /// Reads all entries; bad ones are left out.
    fn read(&mut self, elf: &Elf<'_>) {
        let mut reader = Reader::new(elf);
        // Entries of which not even the range is known.
        let mut lost = Vec::new();
        let mut lost_from = usize::MAX;
        for offset in Offsets::new(elf.frame.bytes) {
            match offset {
                Err(offset) => {
                    lost_from = offset;
                    self.damaged(elf, offset, &"its length reaches beyond the end");
                }
                Ok(offset) => match reader.entry(offset) {
                    Ok(entry) => self.add(elf, &entry, &mut reader),
                    Err(error) => {
                        lost.push(offset);
                        self.damaged(elf, offset, &error);
                    }
                },
            }
        }
        if !lost.is_empty() || lost_from < usize::MAX {
            let is_found = self.find_lost(elf, &mut reader, &lost, lost_from);
            self.lost_everywhere = !is_found;
        }
    }

    /// Looks up in the search table where the code of lost entries is: those in `lost`, and all from `lost_from` on.
    /// False if it does not tell.
    fn find_lost(
        &mut self,
        elf: &Elf<'_>,
        reader: &mut Reader<'_>,
        lost: &[usize],
        lost_from: usize,
    ) -> bool {
        let Some(table) = search_table(elf) else {
            return false;
        };
        let is_lost = |offset: usize| offset >= lost_from || lost.binary_search(&offset).is_ok();
        // Where it is wrong about what is known, it may be about the rest.
        let mut is_right = |(start, offset): &(u64, usize)| {
            let entry = reader.entry(*offset);
            is_lost(*offset) || entry.is_ok_and(|entry| entry.initial_address() == *start)
        };
        if !table.iter().all(&mut is_right) {
            return false;
        }
        let mut found = 0;
        for (index, (start, offset)) in table.iter().enumerate() {
            if !is_lost(*offset) {
                continue;
            }
            found += usize::from(*offset < lost_from);
            match reader.entry(*offset) {
                Ok(entry) if entry.initial_address() == *start => self.add(elf, &entry, reader),
                result => {
                    if let (true, Err(error)) = (*offset > lost_from, result) {
                        self.damaged(elf, *offset, &error);
                    }
                    let next = table.get(index + 1).map_or(u64::MAX, |(start, _)| *start);
                    self.lose(self.relative(*start), self.relative(next));
                }
            }
        }
        found == lost.len()
    }

    /// Code whose entry is lost: stacks end there.
    fn lose(&mut self, start: u32, end: u32) {
        if start < end {
            self.add_whole(start, end, Rule::NO_TABLE);
        }
    }

    fn damaged(&mut self, elf: &Elf<'_>, entry: usize, error: &dyn Display) {
        let damage = self.stats.damage.get_or_insert_with(|| Damage {
            entries: 0,
            offset: elf.frame.offset.saturating_add(entry as u64),
            error: error.to_string(),
            lost_bytes: 0,
        });
        damage.entries += 1;
    }

    /// Address relative to the base, kept inside the executable range.
    fn relative(&self, address: u64) -> u32 {
        let relative = address.saturating_sub(self.base);
        relative.min(u64::from(self.span)) as u32
    }

    /// Adds one entry's rows; if it is bad, those before the fault.
    fn add<'a>(&mut self, elf: &Elf<'_>, fde: &Fde<'a>, reader: &mut Reader<'a>) {
        self.stats.entries += 1;
        let (start, end) = (
            self.relative(fde.initial_address()),
            self.relative(fde.end_address()),
        );
        if start >= end {
            // A function that the linker removed.
            return;
        }
        if fde.is_signal_trampoline() {
            return self.add_whole(start, end, Rule::SIGNAL);
        }
        let first_row = self.rows.len();
        // Code behind the last good row of a bad entry.
        let mut rest = start;
        let Reader {
            section,
            bases,
            context,
            ..
        } = reader;
        let read = fde.rows(section, bases, context).and_then(|mut table| {
            while let Some(line) = table.next_row()? {
                let (from, to) = (
                    self.relative(line.start_address()),
                    self.relative(line.end_address()),
                );
                if from < rest || from >= to.min(end) {
                    continue;
                }
                let rule = elf.arch.rule(line, section).unwrap_or_else(|reason| {
                    self.stats.unsupported[reason as usize] += 1;
                    Rule::UNSUPPORTED
                });
                self.rows.push(row(from, rule));
                rest = to.min(end);
            }
            Ok(())
        });
        if let Err(error) = read {
            self.rows.push(row(rest, Rule::NO_TABLE));
            self.damaged(elf, fde.offset(), &error);
        }
        self.close(start, end, first_row);
    }

    /// Ends a function whose rows have been added, with a row at its very start.
    fn close(&mut self, start: u32, end: u32, first_row: usize) {
        match self.rows.get(first_row) {
            Some(first) if row_address(*first) == start => {}
            _ => self.rows.insert(first_row, row(start, Rule::NO_TABLE)),
        }
        let end_row = self.rows.len();
        self.list.push(Function {
            start,
            end,
            first_row,
            end_row,
        });
    }

    /// Functions that return from signal handlers and are not marked as such: musl's has an entry like any
    /// other function, or none.
    fn find_signal_returns(&mut self, elf: &Elf<'_>) {
        self.list.sort_by_key(|function| function.start);
        let mut found = Vec::new();
        let mut cursor = 0;
        for function in &self.list {
            if function.start > cursor {
                found.extend(self.signal_returns(elf, cursor, function.start));
            }
            if function.end - function.start <= 2 * instructions(elf).signal_return().len() as u32 {
                let at = self.signal_returns(elf, function.start, function.end);
                let known = self.rows.get(function.first_row).copied().map(row_rule);
                found.extend(at.filter(|_| known != Some(Rule::SIGNAL)));
            }
            cursor = cursor.max(function.end);
        }
        found.extend(self.signal_returns(elf, cursor, self.span));
        for start in found {
            // The handler returns to the first byte, and return addresses are looked up one byte before.
            let end = start + instructions(elf).signal_return().len() as u32;
            self.add_whole(start.saturating_sub(1), end, Rule::SIGNAL);
        }
        self.list.sort_by_key(|function| function.start);
    }

    /// Functions that nothing has called and whose entries do not say so: a stack ends there, and is whole.
    fn find_outermost(&mut self, elf: &Elf<'_>) {
        for index in 0..self.list.len() {
            let Function { start, end, .. } = self.list[index];
            let code = self.code(elf, start, end);
            if self.is_plain(elf.arch, &self.list[index])
                && instructions(elf).discards_its_stack(code)
            {
                // Its first byte stands where a return address would (`makecontext` puts it there), and return
                // addresses are looked up one byte before. That may be the end of the function before, but a
                // return address only if that ends with a call.
                let before = self.code(elf, start.saturating_sub(8), start);
                let is_call = instructions(elf).ends_with_call(before);
                if let Some(before) = index.checked_sub(1).filter(|_| !is_call) {
                    let before = &mut self.list[before];
                    before.end = before.end.min(start.saturating_sub(1));
                }
                self.add_whole(start.saturating_sub(1), end, Rule::STOP);
            }
        }
        self.list.sort_by_key(|function| function.start);
        self.find_start(elf);
    }

    /// The first code of a process, where nothing describes it, as in the dynamic loader.
    fn find_start(&mut self, elf: &Elf<'_>) {
        let start = self.relative(elf.entry);
        let next = self
            .list
            .partition_point(|function| function.start <= start);
        let is_described = self.list[..next]
            .iter()
            .any(|function| start < function.end);
        if is_described || elf.entry < self.base {
            return;
        }
        let end = self
            .list
            .get(next)
            .map_or(self.span, |function| function.start);
        if let Some(length) = instructions(elf).never_returns(self.code(elf, start, end)) {
            self.add_whole(start, start + length as u32, Rule::STOP);
            self.list.sort_by_key(|function| function.start);
        }
    }

    /// Whether the entry claims that nothing is ever pushed.
    fn is_plain(&self, arch: Arch, function: &Function) -> bool {
        let rows = &self.rows[function.first_row..function.end_row];
        matches!(rows, [only] if row_rule(*only) == arch.entry_rule())
    }

    /// The code between two addresses relative to the base.
    fn code<'a>(&self, elf: &Elf<'a>, start: u32, end: u32) -> &'a [u8] {
        elf.code_between(self.base + u64::from(start), self.base + u64::from(end))
    }

    /// Adds code that one rule holds for.
    fn add_whole(&mut self, start: u32, end: u32, rule: Rule) {
        let first_row = self.rows.len();
        self.rows.push(row(start, rule));
        self.close(start, end, first_row);
    }

    fn signal_returns<'a>(
        &self,
        elf: &'a Elf<'_>,
        start: u32,
        end: u32,
    ) -> impl Iterator<Item = u32> + use<'a> {
        let base = self.base;
        let signal_return = instructions(elf).signal_return();
        elf.code.iter().flat_map(move |(segment, bytes)| {
            let first = (segment.address - base) as u32;
            let from = start.saturating_sub(first) as usize;
            let to = (end.saturating_sub(first) as usize).min(bytes.len());
            let code = bytes.get(from..to).unwrap_or_default();
            code.windows(signal_return.len())
                .enumerate()
                .filter(move |(_, window)| *window == signal_return)
                .map(move |(index, _)| first + (from + index) as u32)
        })
    }

    /// All rows in order, without repetitions. Where functions overlap, the one that begins first counts.
    fn merge(&self, elf: &Elf<'_>) -> Vec<u64> {
        // Where it is not known whose entries are lost, any code without one may have lost it.
        let gap = match self.lost_everywhere {
            false => Rule::NO_FDE,
            true => Rule::NO_TABLE,
        };
        let holes = elf.code.windows(2).map(|pair| {
            let end = |(segment, _): &(Segment, _)| self.relative(segment.end());
            end(&pair[0])
        });
        let mut holes: Vec<u32> = holes.collect();
        holes.reverse();
        let mut merged = Merged(Vec::with_capacity(self.rows.len() + self.list.len() / 8));
        let mut cursor = 0;
        for function in &self.list {
            let start = function.start.max(cursor);
            if start >= function.end {
                continue;
            }
            while holes.last().is_some_and(|hole| *hole < cursor) {
                holes.pop();
            }
            let crosses = holes.last().is_some_and(|hole| *hole < start);
            if start - cursor > PADDING || crosses || (cursor == 0 && start > 0) {
                merged.push(cursor, gap);
            }
            for line in &self.rows[function.first_row..function.end_row] {
                merged.push(row_address(*line).max(start), row_rule(*line));
            }
            cursor = function.end;
        }
        if cursor < self.span || merged.0.is_empty() {
            merged.push(cursor, gap);
        }
        merged.0
    }
}

/// What instructions of the file's processor mean.
fn instructions(elf: &Elf<'_>) -> &'static dyn InstructionSet {
    elf.arch.instructions()
}

/// Counts the bytes of the segments by what is known of them.
fn measure(stats: &mut Stats, rows: &[u64], code: &[(Segment, &[u8])], base: u64) {
    let (mut row, mut lost_bytes) = (0, 0);
    for (segment, bytes) in code {
        let first = segment.address - base;
        let end = first + bytes.len() as u64;
        stats.code_bytes += bytes.len() as u64;
        row = rows[row..].partition_point(|line| u64::from(row_address(*line)) <= first) + row;
        row = row.saturating_sub(1);
        while let Some(line) = rows.get(row) {
            let next = rows
                .get(row + 1)
                .map_or(end, |next| row_address(*next).into());
            let from = u64::from(row_address(*line)).max(first);
            let length = next.min(end).saturating_sub(from);
            match row_rule(*line).kind() {
                Kind::NoFde => stats.bare_bytes += length,
                Kind::NoTable => lost_bytes += length,
                Kind::Unsupported => {}
                _ => stats.covered_bytes += length,
            }
            if next >= end {
                break;
            }
            row += 1;
        }
    }
    if let Some(damage) = &mut stats.damage {
        damage.lost_bytes = lost_bytes;
    }
}

const _: () = assert!(Reason::ALL.len() == Reason::COUNT);
