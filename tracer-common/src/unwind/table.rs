//! Unwind tables as the kernel keeps them, and the search in them.
//!
//! Three flat arrays hold the tables of all files and processes: mappings (sorted by address in each
//! process's range), buckets (one for each 256 bytes of a file's code) and rows (sorted by address in
//! each file). An address leads to its mapping, by division to a bucket, and by a short search in the
//! bucket to its row. Flat arrays, because their lookup is inlined by the kernel's compiler.

use zerocopy::{FromBytes, IntoBytes};

use super::rule::Rule;

/// An executable mapping of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Mapping {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Address in the process minus address in the table's rows.
    pub bias: u64,
    /// First bucket of the file; without buckets, the [`Rule`] that holds in all of the mapping.
    pub first_bucket: u32,
    /// Number of buckets; 0 for code without a table, such as that of a just-in-time compiler.
    pub buckets: u32,
}

const _: () = assert!(size_of::<Mapping>() == 32);

impl Mapping {
    /// A mapping in which one rule holds everywhere.
    pub const fn uniform(start: u64, end: u64, rule: Rule) -> Self {
        Self {
            start,
            end,
            bias: 0,
            first_bucket: rule.0,
            buckets: 0,
        }
    }
}

/// A file, as the kernel knows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct FileKey {
    /// Inode number.
    pub inode: u64,
    /// The kernel's own device number: the minor in the low 20 bits, the major above (include/linux/kdev_t.h).
    pub device: u32,
    /// Keeps the record free of implicit padding.
    pub reserved: u32,
}

impl FileKey {
    /// The key of a file on the device `major:minor`.
    pub const fn new(major: u32, minor: u32, inode: u64) -> Self {
        Self {
            inode,
            device: major << 20 | minor,
            reserved: 0,
        }
    }
}

/// Where a file's table is, for mappings that user space does not know of yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct FileTable {
    /// Add it to a mapping's start minus its offset in the file, and it is the mapping's bias. Of the file's only
    /// executable segment.
    pub delta: u64,
    /// First bucket of the file.
    pub first_bucket: u32,
    /// Number of buckets.
    pub buckets: u32,
}

const _: () = assert!(size_of::<FileKey>() == 16);
const _: () = assert!(size_of::<FileTable>() == 16);

impl FileTable {
    /// The mapping of this file from `start` to `end`, which shows it from `offset` on.
    #[inline(always)]
    pub const fn mapping(&self, start: u64, end: u64, offset: u64) -> Mapping {
        Mapping {
            start,
            end,
            bias: start.wrapping_sub(offset).wrapping_add(self.delta),
            first_bucket: self.first_bucket,
            buckets: self.buckets,
        }
    }
}

/// Code bytes to a bucket, as a shift: at most 103 rows fall into 256 bytes in 2,134 files, 255 can.
pub const BUCKET_SHIFT: u32 = 8;
/// Code bytes to a bucket.
pub const BUCKET_BYTES: u32 = 1 << BUCKET_SHIFT;
/// Steps of the search in a bucket. It holds at most 255 rows besides the one in force at its start,
/// and 8 halvings decide between 256 places.
pub const ROW_STEPS: u32 = BUCKET_SHIFT;
/// Steps of the search over a process's mappings: 11 halvings decide between 2,048 places.
pub const MAPPING_STEPS: u32 = 11;
/// Most executable mappings of a process that are searched; node has some hundred, most programs 10 to 50.
pub const MAX_MAPPINGS: u32 = (1 << MAPPING_STEPS) - 1;
/// A row index that no table has.
pub const NO_ROW: u32 = u32::MAX;

/// A row: `rule` holds from `address` (relative to the table's base) to the next row's.
#[inline(always)]
pub const fn row(address: u32, rule: Rule) -> u64 {
    address as u64 | (rule.0 as u64) << 32
}

/// Address of a row, relative to the table's base.
#[inline(always)]
pub const fn row_address(row: u64) -> u32 {
    row as u32
}

/// Rule of a row.
#[inline(always)]
pub const fn row_rule(row: u64) -> Rule {
    Rule((row >> 32) as u32)
}

/// A bucket: `first` is the first row that begins behind the bucket's start, `end` the first that
/// begins at or behind its end. The row before `first` is the one in force at the bucket's start.
#[inline(always)]
pub const fn bucket(first: u32, end: u32) -> u64 {
    first as u64 | (end as u64) << 32
}

/// First row that begins inside a bucket.
#[inline(always)]
pub const fn bucket_first(bucket: u64) -> u32 {
    bucket as u32
}

/// One past the last row that begins inside a bucket.
#[inline(always)]
pub const fn bucket_row_end(bucket: u64) -> u32 {
    (bucket >> 32) as u32
}

/// The bucket of a file whose rows were stored from `first_row` on.
pub const fn bucket_rebased(packed: u64, first_row: u32) -> u64 {
    bucket(
        bucket_first(packed).wrapping_add(first_row),
        bucket_row_end(packed).wrapping_add(first_row),
    )
}

/// The three arrays.
pub trait Source {
    /// Mapping at an index.
    fn mapping(&mut self, index: u32) -> Option<Mapping>;
    /// Bucket at an index.
    fn bucket(&mut self, index: u32) -> Option<u64>;
    /// Row at an index.
    fn row(&mut self, index: u32) -> Option<u64>;

    /// Runs a search among the mappings by their first addresses.
    #[inline(always)]
    fn bisect_mappings(&mut self, search: &mut Bisection) {
        for _ in 0..MAPPING_STEPS {
            if !search.step(|index| Some(self.mapping(index)?.start)) {
                return;
            }
        }
    }

    /// Runs a search among rows by their addresses.
    #[inline(always)]
    fn bisect_rows(&mut self, search: &mut Bisection) {
        for _ in 0..ROW_STEPS {
            if !search.step(|index| Some(row_address(self.row(index)?) as u64)) {
                return;
            }
        }
    }
}

/// A process's part of the mappings.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Range {
    /// Index of the first.
    pub first: u32,
    /// How many.
    pub count: u32,
}

/// Finds the rule for an address: its mapping, then its row. Indices that lead outside the arrays give
/// [`Rule::NO_MAPPING`] (mappings) or [`Rule::NO_TABLE`] (buckets and rows).
#[inline(always)]
pub fn find_rule(source: &mut impl Source, mappings: Range, address: u64) -> Rule {
    match find_mapping(source, mappings, address) {
        Some(mapping) => rule_in(source, &mapping, address),
        None => Rule::NO_MAPPING,
    }
}

/// Finds the rule for an address in a mapping that holds it.
#[inline(always)]
pub fn rule_in(source: &mut impl Source, mapping: &Mapping, address: u64) -> Rule {
    if mapping.buckets == 0 {
        return Rule(mapping.first_bucket);
    }
    let relative = address.wrapping_sub(mapping.bias);
    let number = relative >> BUCKET_SHIFT;
    if number >= mapping.buckets as u64 {
        return Rule::NO_FDE;
    }
    find_row(
        source,
        mapping.first_bucket.wrapping_add(number as u32),
        relative as u32,
    )
}

/// A search by halving in a sorted part of an array, one element a step: for the first element behind a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(C)]
pub struct Bisection {
    /// What is sought, as the elements' keys.
    pub key: u64,
    /// First element that may be the one.
    pub low: u32,
    /// How many may be.
    pub count: u32,
}

impl Bisection {
    /// Halves what is left; `false` if there was nothing. `key_of` tells an element's key; where there is none the
    /// search ends at index 0, before which there is nothing.
    #[inline(always)]
    pub fn step(&mut self, key_of: impl FnOnce(u32) -> Option<u64>) -> bool {
        if self.count == 0 {
            return false;
        }
        let half = self.count >> 1;
        let middle = self.low.wrapping_add(half);
        let Some(key) = key_of(middle) else {
            (self.low, self.count) = (0, 0);
            return false;
        };
        if key <= self.key {
            self.low = middle.wrapping_add(1);
            self.count = self.count.wrapping_sub(half).wrapping_sub(1);
        } else {
            self.count = half;
        }
        true
    }
}

/// The mapping that holds an address.
#[inline(always)]
pub fn find_mapping(source: &mut impl Source, mappings: Range, address: u64) -> Option<Mapping> {
    // First mapping that begins behind the address; the one before it may hold the address.
    let mut search = Bisection {
        key: address,
        low: mappings.first,
        count: mappings.count,
    };
    source.bisect_mappings(&mut search);
    let low = search.low;
    if low == mappings.first {
        return None;
    }
    let mapping = source.mapping(low.wrapping_sub(1))?;
    if mapping.start <= address && address < mapping.end {
        Some(mapping)
    } else {
        None
    }
}

#[inline(always)]
fn find_row(source: &mut impl Source, bucket: u32, relative: u32) -> Rule {
    let Some(bucket) = source.bucket(bucket) else {
        return Rule::NO_TABLE;
    };
    let first = bucket_first(bucket);
    let mut search = Bisection {
        key: relative as u64,
        low: first,
        count: bucket_row_end(bucket).saturating_sub(first),
    };
    source.bisect_rows(&mut search);
    match source.row(search.low.wrapping_sub(1)) {
        Some(row) if row_address(row) <= relative => row_rule(row),
        _ => Rule::NO_TABLE,
    }
}
