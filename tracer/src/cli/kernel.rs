//! `memlens kernel`: its arguments, which are its settings.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::Args;
use clap::builder::NonEmptyStringValueParser;
use tracer_common::kernel_memory::{DEFAULT_MAX_LIVE, MAX_ORDER};

use super::parsers::{parse_age, parse_sample_bytes, whole_number};
use super::shared::{MAX_MAX_LIVE, Output, Schedule};
use super::values::parse_size;
use crate::sources::kernel::KernelOrder;

const EXAMPLES: &str = "\
Examples:
  memlens kernel                       report every 5 seconds until Ctrl-C
  memlens kernel --older 1m 60         what has been held for a minute, every minute
  memlens kernel --slab dentry         one slab cache, by its name in /proc/slabinfo
  memlens kernel --order 3             blocks of 8 pages
  memlens kernel --sample-bytes 64KiB  cheaper: follow a sample, scale up, state the error
  memlens kernel --svg kernel.svg 60 1  a flame graph after one minute";

/// Show which kernel stacks hold the kernel's own memory: slab objects, pages and per-CPU memory.
///
/// Follows the tracepoints of the kernel's allocators, on the whole machine. Every INTERVAL, and at the end, prints the
/// kernel stacks whose objects and pages were allocated since the start of the trace and have not been freed, and the
/// slab caches that have grown. Needs Linux 6.1 or later, with BTF.
#[derive(Clone, Debug, PartialEq, Args)]
#[command(after_help = EXAMPLES)]
pub struct KernelConfig {
    /// When to report.
    #[command(flatten)]
    pub schedule: Schedule,
    /// Follow one slab cache only, by its name in /proc/slabinfo; nothing else is traced.
    ///
    /// The kernel lets caches of one size share their memory, so objects of other names may be among them; a note says
    /// so.
    ///
    /// Example: --slab dentry
    #[arg(long, value_name = "NAME", value_parser = NonEmptyStringValueParser::new(), help_heading = "Filters")]
    #[arg(conflicts_with_all = ["order", "movable"])]
    pub slab: Option<String>,
    /// Follow blocks of 2^N pages only; nothing else is traced.
    ///
    /// Example: --order 0
    #[arg(long, value_name = "N", value_parser = whole_number(0..=MAX_ORDER), help_heading = "Filters")]
    #[arg(allow_negative_numbers = true)]
    pub order: Option<u32>,
    /// Also follow movable pages: user memory and page cache.
    #[arg(long, help_heading = "Filters")]
    pub movable: bool,
    /// Leave out objects and blocks of fewer bytes than this.
    ///
    /// They are never stored, so this also makes tracing cheaper.
    ///
    /// Example: -z 1KiB
    #[arg(short = 'z', long, value_name = "BYTES", value_parser = parse_size, help_heading = "Filters")]
    #[arg(default_value_t = 0, hide_default_value = true)]
    #[arg(allow_hyphen_values = true)]
    pub min_size: u64,
    /// Count only what has been held at least this long, such as 30s.
    ///
    /// Leaves out memory that is about to be freed. A number without a unit is milliseconds. Applies to the stacks; the
    /// totals still count every age.
    ///
    /// Example: --older 30s
    #[arg(long, value_name = "AGE", value_parser = parse_age, help_heading = "Filters")]
    #[arg(default_value = "0", hide_default_value = true)]
    #[arg(allow_hyphen_values = true)]
    pub older: Duration,
    /// What to print.
    #[command(flatten)]
    pub output: Output,
    /// Order of the stacks.
    #[arg(long, value_enum, value_name = "KEY", default_value_t)]
    #[arg(help_heading = "Output")]
    pub sort: KernelOrder,
    /// Sample: follow about one allocation in every BYTES allocated, and scale up.
    ///
    /// Cheaper, and unbiased: the report states the standard error.
    ///
    /// Example: --sample-bytes 64KiB
    #[arg(long, value_name = "BYTES", value_parser = parse_sample_bytes, help_heading = "Cost")]
    #[arg(allow_hyphen_values = true)]
    pub sample_bytes: Option<NonZeroU64>,
    /// Room for so many live blocks; the report states how many did not fit.
    ///
    /// Each takes 40 bytes of kernel memory from the start.
    #[arg(long, value_name = "N", value_parser = whole_number(1..=MAX_MAX_LIVE), default_value_t = DEFAULT_MAX_LIVE)]
    #[arg(help_heading = "Cost", allow_negative_numbers = true)]
    pub max_live: u32,
}
