//! The kernel's arrays on the host, and a whole walk with the kernel's step.

use tracer_common::stack::{End, Memory, Registers};
use tracer_common::unwind::{
    Mapping, Position, Range, Rule, Source, Tables, bucket_rebased, find_rule, unwind,
};

use super::mappings::Code;
use super::table::Table;

/// Tables and mappings of one process, laid out as in the kernel.
#[derive(Clone, Debug, Default)]
pub struct Arrays {
    /// Sorted by address.
    pub mappings: Vec<Mapping>,
    buckets: Vec<u64>,
    rows: Vec<u64>,
}

impl Arrays {
    /// Stores a table and says where. Rows beyond 2^32 are never reached.
    pub fn store<'a>(&mut self, table: &'a Table) -> Code<'a> {
        let first_row = self.rows.len() as u32;
        let first_bucket = self.buckets.len() as u32;
        self.rows.extend(&table.rows);
        let rebased = table.buckets.iter().map(|b| bucket_rebased(*b, first_row));
        self.buckets.extend(rebased);
        Code::Table {
            segments: &table.segments,
            base: table.base,
            first_bucket,
            buckets: table.buckets.len() as u32,
        }
    }
}

impl Source for Arrays {
    fn mapping(&mut self, index: u32) -> Option<Mapping> {
        self.mappings.get(index as usize).copied()
    }
    fn bucket(&mut self, index: u32) -> Option<u64> {
        self.buckets.get(index as usize).copied()
    }
    fn row(&mut self, index: u32) -> Option<u64> {
        self.rows.get(index as usize).copied()
    }
}

impl Tables for Arrays {
    fn rule(&mut self, lookup_address: u64) -> Rule {
        let count = self.mappings.len() as u32;
        find_rule(self, Range { first: 0, count }, lookup_address)
    }
}

/// Walks a stack: the addresses of at most `depth` frames, innermost first, and why it ended.
pub fn walk(
    mut registers: Registers,
    mut position: Position,
    tables: &mut impl Tables,
    memory: &mut impl Memory,
    depth: usize,
) -> (Vec<u64>, End) {
    let mut frames = vec![registers.ip];
    loop {
        match unwind(&mut registers, &mut position, tables, memory) {
            Err(end) => return (frames, end),
            Ok(()) if frames.len() >= depth => return (frames, End::TooDeep),
            Ok(()) => frames.push(registers.ip),
        }
    }
}
