//! Building a file's table from its `.eh_frame`.

use gimli::{
    BaseAddresses, CieOrFde, CommonInformationEntry, EhFrame, FrameDescriptionEntry, LittleEndian,
    UnwindContext, UnwindSection,
};
use tracer_common::unwind::{BUCKET_BYTES, Kind, Rule, bucket, row, row_address, row_rule};

use super::elf::{self, Elf, Segment};
use super::rules::{Slice, translate};
use super::table::{Damage, Reason, Stats, Table, TableError};

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
    let elf = elf::parse(image)?;
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
    stats: Stats,
}

type Cie<'a> = CommonInformationEntry<Slice<'a>>;
type Fde<'a> = FrameDescriptionEntry<Slice<'a>>;

impl Functions {
    fn new(base: u64, span: u32) -> Self {
        Self {
            base,
            span,
            list: Vec::new(),
            rows: Vec::new(),
            stats: Stats::default(),
        }
    }

    /// Reads all entries. A bad entry is left out; if even its length is bad, nothing can be read behind it.
    fn read(&mut self, elf: &Elf<'_>) {
        let section = EhFrame::new(elf.frame.bytes, LittleEndian);
        let bases = BaseAddresses::default().set_eh_frame(elf.frame.address);
        let mut context = UnwindContext::new();
        // Entries of one object file share theirs.
        let mut last: Option<(usize, Cie<'_>)> = None;
        let mut entries = section.entries(&bases);
        let mut offset = 0;
        loop {
            let partial = match entries.next() {
                Ok(None) => return,
                Ok(Some(CieOrFde::Cie(cie))) => {
                    offset = cie.offset() + cie.entry_len();
                    continue;
                }
                Ok(Some(CieOrFde::Fde(partial))) => partial,
                Err(error) => return self.damaged(elf.frame.offset, offset, error),
            };
            let entry = partial.offset();
            offset = entry + partial.entry_len();
            let fde = partial.parse(|section, bases, at| match &last {
                Some((known, cie)) if *known == at.0 => Ok(cie.clone()),
                _ => {
                    let cie = section.cie_from_offset(bases, at)?;
                    last = Some((at.0, cie.clone()));
                    Ok(cie)
                }
            });
            let added = fde.and_then(|fde| self.add(&fde, &section, &bases, &mut context));
            if let Err(error) = added {
                self.damaged(elf.frame.offset, entry, error);
            }
        }
    }

    fn damaged(&mut self, section_offset: u64, entry: usize, error: gimli::Error) {
        let damage = self.stats.damage.get_or_insert_with(|| Damage {
            entries: 0,
            offset: section_offset.saturating_add(entry as u64),
            error: error.to_string(),
        });
        damage.entries += 1;
    }

    /// Address relative to the base, kept inside the executable range.
    fn relative(&self, address: u64) -> u32 {
        let relative = address.saturating_sub(self.base);
        relative.min(u64::from(self.span)) as u32
    }

    fn add<'a>(
        &mut self,
        fde: &Fde<'a>,
        section: &EhFrame<Slice<'a>>,
        bases: &BaseAddresses,
        context: &mut UnwindContext<usize>,
    ) -> gimli::Result<()> {
        self.stats.entries += 1;
        let (start, end) = (
            self.relative(fde.initial_address()),
            self.relative(fde.end_address()),
        );
        if start >= end {
            // A function that the linker removed.
            return Ok(());
        }
        let first_row = self.rows.len();
        if fde.is_signal_trampoline() {
            self.rows.push(row(start, Rule::SIGNAL));
            self.close(start, end, first_row);
            return Ok(());
        }
        // Code behind the last good row of a bad entry.
        let mut rest = start;
        let read = fde.rows(section, bases, context).and_then(|mut table| {
            while let Some(line) = table.next_row()? {
                let (from, to) = (
                    self.relative(line.start_address()),
                    self.relative(line.end_address()),
                );
                if from < rest || from >= to.min(end) {
                    continue;
                }
                let rule = translate(line, section).unwrap_or_else(|reason| {
                    self.stats.unsupported[reason as usize] += 1;
                    Rule::UNSUPPORTED
                });
                self.rows.push(row(from, rule));
                rest = to.min(end);
            }
            Ok(())
        });
        if read.is_err() {
            self.rows.push(row(rest, Rule::NO_TABLE));
        }
        self.close(start, end, first_row);
        read
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
            if function.end - function.start <= 2 * SIGNAL_RETURN.len() as u32 {
                let at = self.signal_returns(elf, function.start, function.end);
                let known = self.rows.get(function.first_row).copied().map(row_rule);
                found.extend(at.filter(|_| known != Some(Rule::SIGNAL)));
            }
            cursor = cursor.max(function.end);
        }
        found.extend(self.signal_returns(elf, cursor, self.span));
        for start in found {
            // The handler returns to the first byte, and return addresses are looked up one byte before.
            let (start, end) = (start.saturating_sub(1), start + SIGNAL_RETURN.len() as u32);
            let first_row = self.rows.len();
            self.rows.push(row(start, Rule::SIGNAL));
            self.close(start, end, first_row);
        }
        self.list.sort_by_key(|function| function.start);
    }

    fn signal_returns<'a>(
        &self,
        elf: &'a Elf<'_>,
        start: u32,
        end: u32,
    ) -> impl Iterator<Item = u32> + use<'a> {
        let base = self.base;
        elf.code.iter().flat_map(move |(segment, bytes)| {
            let first = (segment.address - base) as u32;
            let from = start.saturating_sub(first) as usize;
            let to = (end.saturating_sub(first) as usize).min(bytes.len());
            let code = bytes.get(from..to).unwrap_or_default();
            code.windows(SIGNAL_RETURN.len())
                .enumerate()
                .filter(|(_, window)| *window == SIGNAL_RETURN)
                .map(move |(index, _)| first + (from + index) as u32)
        })
    }

    /// All rows in order, without repetitions. Where functions overlap, the one that begins first counts.
    fn merge(&self, elf: &Elf<'_>) -> Vec<u64> {
        // In a damaged file, code without an entry may have lost it.
        let gap = match self.stats.damage {
            None => Rule::NO_FDE,
            Some(_) => Rule::NO_TABLE,
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

/// `mov $15, %rax; syscall`: the only code from which the kernel takes a signal frame (`rt_sigreturn`).
const SIGNAL_RETURN: [u8; 9] = [0x48, 0xc7, 0xc0, 15, 0, 0, 0, 0x0f, 0x05];

/// Rows that are added in order.
struct Merged(Vec<u64>);

impl Merged {
    fn push(&mut self, address: u32, rule: Rule) {
        if self
            .0
            .last()
            .is_some_and(|last| row_address(*last) == address)
        {
            self.0.pop();
        }
        if self.0.last().is_none_or(|last| row_rule(*last) != rule) {
            self.0.push(row(address, rule));
        }
    }
}

/// The buckets over `span` bytes of code.
fn buckets(rows: &[u64], span: u32) -> Vec<u64> {
    let mut next = 0;
    let mut before = |address: u32| {
        while rows
            .get(next)
            .is_some_and(|row| row_address(*row) < address)
        {
            next += 1;
        }
        next as u32
    };
    (0..span.div_ceil(BUCKET_BYTES))
        .map(|number| {
            let start = number * BUCKET_BYTES;
            let first = before(start + 1);
            bucket(first, before(start + BUCKET_BYTES))
        })
        .collect()
}

/// Counts the bytes of the segments by what is known of them.
fn measure(stats: &mut Stats, rows: &[u64], code: &[(Segment, &[u8])], base: u64) {
    let mut row = 0;
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
                Kind::Unsupported | Kind::NoTable => {}
                _ => stats.covered_bytes += length,
            }
            if next >= end {
                break;
            }
            row += 1;
        }
    }
}

const _: () = assert!(Reason::ALL.len() == Reason::COUNT);
