//! The growth for programs: `growth` in the object of `memlens explain --trace --json`, as `docs/explain.md` promises it.

use serde::Serialize;

use super::{BlockStack, Blocks, Growth, Mapped, MappedStack};
use crate::report::json::WireFrame;

/// The growth as it is written.
#[derive(Serialize)]
pub struct WireGrowth<'a> {
    seconds: f64,
    resident: i64,
    heap: i64,
    mapped: Option<i64>,
    older: i64,
    blocks: Option<WireBlocks<'a>>,
    mappings: Option<WireMapped<'a>>,
    older_rows: Vec<WireOlder<'a>>,
    lost: &'a [String],
    findings: &'a [String],
}

#[derive(Serialize)]
struct WireBlocks<'a> {
    bytes: u64,
    count: u64,
    stacks_total: usize,
    stacks: Vec<WireBlockStack<'a>>,
}

#[derive(Serialize)]
struct WireBlockStack<'a> {
    bytes: u64,
    count: u64,
    truncated: Option<&'a str>,
    frames: Vec<WireFrame<'a>>,
}

#[derive(Serialize)]
struct WireMapped<'a> {
    resident: u64,
    virtual_size: u64,
    ranges: u64,
    stacks_total: usize,
    stacks: Vec<WireMappedStack<'a>>,
}

#[derive(Serialize)]
struct WireMappedStack<'a> {
    resident: u64,
    virtual_size: u64,
    ranges: u64,
    rows: &'a [String],
    truncated: Option<&'a str>,
    frames: Vec<WireFrame<'a>>,
}

#[derive(Serialize)]
struct WireOlder<'a> {
    row: &'a str,
    resident: i64,
}

impl<'a> WireGrowth<'a> {
    /// The growth as it is written.
    pub fn of(growth: &'a Growth) -> Self {
        let mapped = growth.mapped.as_ref();
        let older = growth.older.iter().map(|older| WireOlder {
            row: &older.row,
            resident: older.resident,
        });
        Self {
            seconds: growth.seconds,
            resident: growth.resident,
            heap: growth.heap,
            mapped: mapped.map(|mapped| mapped.resident.cast_signed()),
            older: growth.older_resident(),
            blocks: growth.blocks.as_ref().map(WireBlocks::of),
            mappings: mapped.map(WireMapped::of),
            older_rows: older.collect(),
            lost: &growth.lost,
            findings: &growth.findings,
        }
    }
}

impl<'a> WireBlocks<'a> {
    fn of(blocks: &'a Blocks) -> Self {
        let stack = |stack: &'a BlockStack| WireBlockStack {
            bytes: stack.bytes,
            count: stack.count,
            truncated: stack.stack.truncated.as_deref(),
            frames: stack.stack.frames.iter().map(WireFrame::of).collect(),
        };
        Self {
            bytes: blocks.bytes,
            count: blocks.count,
            stacks_total: blocks.stacks_total,
            stacks: blocks.stacks.iter().map(stack).collect(),
        }
    }
}

impl<'a> WireMapped<'a> {
    fn of(mapped: &'a Mapped) -> Self {
        let stack = |stack: &'a MappedStack| WireMappedStack {
            resident: stack.resident,
            virtual_size: stack.size,
            ranges: stack.ranges,
            rows: &stack.rows,
            truncated: stack.stack.truncated.as_deref(),
            frames: stack.stack.frames.iter().map(WireFrame::of).collect(),
        };
        Self {
            resident: mapped.resident,
            virtual_size: mapped.size,
            ranges: mapped.ranges,
            stacks_total: mapped.stacks_total,
            stacks: mapped.stacks.iter().map(stack).collect(),
        }
    }
}
