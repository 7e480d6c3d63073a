//! Traces of the kernel's memory: what the report of `memlens kernel` holds.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use memlens::profile::{Frame, KernelSection, Measure, Source};

use crate::report::{Live, Report, pair};
use crate::row::Row;
use crate::{Memlens, need};

/// Traces the kernel's memory, as JSON with all stacks; returns once it is traced. Reports come every 200 ms.
pub fn trace(more: &[&str]) -> Result<Memlens> {
    need::root()?;
    let mut words = vec!["kernel", "0.2", "--json", "--top", "0"];
    words.extend(more);
    let mut memlens = Memlens::start(words)?;
    memlens.wait_until_tracing()?;
    Ok(memlens)
}

impl Report {
    /// What stacks hold of the kernel's memory.
    pub fn kernel(&self) -> Vec<Row<'_>> {
        self.rows(Source::Kernel)
    }

    /// What only a trace of the kernel's memory has.
    pub fn kernel_section(&self) -> Result<&KernelSection> {
        let section = self.sections.kernel.as_ref();
        section.context("the report has no part about the kernel's memory")
    }

    /// What stacks through all these functions hold of memory that is called `what`.
    pub fn held_by_kernel(&self, what: &str, functions: &[&str]) -> Live {
        let rows = self.kernel();
        let wanted = rows.iter().filter(|row| what_is(row) == what);
        let through = wanted.filter(|row| functions.iter().all(|names| goes_through(row, names)));
        through.map(held).sum()
    }

    /// Names of what stacks through a function hold, and how many of each, without what the slab allocator took for
    /// itself on the way: it keeps that when the objects are released.
    pub fn of_kernel_function(&self, function: &str) -> BTreeMap<String, u64> {
        let mut counts = BTreeMap::new();
        let rows = self.kernel();
        let through = rows.iter().filter(|row| goes_through(row, function));
        for row in through.filter(|row| !is_the_slab_allocators(row)) {
            *counts.entry(what_is(row).to_owned()).or_default() += held(row).blocks;
        }
        counts
    }
}

/// Functions in which the slab allocator takes a description of the objects on its pages: until 6.9, and since.
const DESCRIPTIONS_OF_SLABS: &str = "memcg_alloc_slab_cgroups|alloc_slab_obj_exts";

/// Pages under other memory, as the report itself says, and descriptions of what is on them.
fn is_the_slab_allocators(row: &Row<'_>) -> bool {
    row.sample.is_backing() || goes_through(row, DESCRIPTIONS_OF_SLABS)
}

/// What a row holds of the kernel's memory.
pub fn held(row: &Row<'_>) -> Live {
    pair(
        &row.values(),
        Measure::KernelLiveBytes,
        Measure::KernelLiveBlocks,
    )
}

/// The cache or the order of a row's memory.
pub fn what_is<'a>(row: &Row<'a>) -> &'a str {
    row.kernel().map_or("", |object| &object.what)
}

/// Whether one of the functions, of which "|" stands between two, is among the frames; perhaps as a copy that the
/// compiler has made.
fn goes_through(row: &Row<'_>, functions: &str) -> bool {
    let is_one = |frame: &Frame| {
        let symbol = frame.symbol.as_deref().unwrap_or_default();
        let plain = symbol.split('.').next().unwrap_or_default();
        functions.split('|').any(|function| function == plain)
    };
    row.frames().any(is_one)
}
