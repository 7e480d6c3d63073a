//! One file's unwind table, and what is to be said about it.

use super::elf::Segment;

/// A file's table: the same for every process that maps the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// SVMA that the rows' addresses count from.
    pub base: u64,
    /// Sorted rows ([`tracer_common::unwind::row`]); the first is at address 0.
    pub rows: Vec<u64>,
    /// One bucket ([`tracer_common::unwind::bucket`]) for each 256 bytes from `base` on, with indices into `rows`.
    pub buckets: Vec<u64>,
    /// Executable segments, by SVMA.
    pub segments: Vec<Segment>,
    /// What went into it.
    pub stats: Stats,
}

impl Table {
    /// Memory that the table takes in the kernel.
    pub const fn bytes(&self) -> usize {
        (self.rows.len() + self.buckets.len()) * 8
    }
}

/// What went into a table.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stats {
    /// Frame description entries read.
    pub entries: u32,
    /// Bytes in executable segments.
    pub code_bytes: u64,
    /// Of these, bytes with a rule that can be followed.
    pub covered_bytes: u64,
    /// Of these, bytes without call frame information: alignment gaps of more than 15 bytes, code of assemblers and
    /// compilers that write none.
    pub bare_bytes: u64,
    /// Rows of call frame information that have no rule, before merging, by [`Reason`].
    pub unsupported: [u32; Reason::COUNT],
    /// The first entry that could not be read; code of lost entries has [`tracer_common::unwind::Rule::NO_TABLE`].
    pub damage: Option<Damage>,
}

impl Stats {
    /// Share of the executable bytes with a rule that can be followed, 0 to 1.
    pub fn coverage(&self) -> f64 {
        match self.code_bytes {
            0 => 0.0,
            bytes => self.covered_bytes as f64 / bytes as f64,
        }
    }

    /// Reasons that occurred, with the number of rows.
    pub fn reasons(&self) -> impl Iterator<Item = (Reason, u32)> {
        Reason::ALL
            .into_iter()
            .zip(self.unsupported)
            .filter(|(_, count)| *count != 0)
    }
}

/// Unreadable call frame information.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// Entries that could not be read, or not to their end.
    pub entries: u32,
    /// File offset of the first.
    pub offset: u64,
    /// What is wrong with it.
    pub error: String,
    /// Bytes of code where stacks are cut for it.
    pub lost_bytes: u64,
}

impl Damage {
    /// Whether a good part of the code is lost, one byte in a hundred or more: a function or two of a large library are
    /// seldom met, and where they are, the cut stacks say so.
    pub const fn is_wide(&self, code_bytes: u64) -> bool {
        self.lost_bytes.saturating_mul(100) >= code_bytes
    }
}

impl std::fmt::Display for Damage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            entries,
            offset,
            error,
            ..
        } = self;
        let noun = if *entries == 1 { "entry" } else { "entries" };
        write!(
            f,
            "{entries} bad {noun} in .eh_frame, the first at file offset {offset:#x}: {error}"
        )
    }
}

/// Why a row of call frame information has no rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reason {
    /// The frame is relative to a register other than `rsp` and `rbp`.
    Register,
    /// The frame address is an expression of an unknown shape.
    Expression,
    /// The return address is not just below the frame address.
    ReturnAddress,
    /// `rbp` is not saved in a known way.
    FramePointer,
    /// An offset is too large, negative or no multiple of 8.
    Offset,
}

impl Reason {
    /// How many there are.
    pub const COUNT: usize = 5;
    /// All, in the order of [`Stats::unsupported`].
    pub const ALL: [Self; Self::COUNT] = [
        Self::Register,
        Self::Expression,
        Self::ReturnAddress,
        Self::FramePointer,
        Self::Offset,
    ];

    /// As a clause for a report.
    pub const fn clause(self) -> &'static str {
        match self {
            Self::Register => "frame relative to another register",
            Self::Expression => "frame given by an unknown expression",
            Self::ReturnAddress => "return address elsewhere",
            Self::FramePointer => "rbp saved in an unknown way",
            Self::Offset => "offset out of range",
        }
    }
}
