//! `memlens kernel`: its words, and its settings once they are checked.

use std::num::NonZeroU64;
use std::time::Duration;

use clap::Args;
use tracer_common::kernel_memory::MAX_ORDER;

use super::args::{IntervalArgs, OutputArgs, Sort};
use super::config::{MAX_MAX_LIVE, Output, in_range, interval, output, sample_bytes};
use super::error::ConfigError;
use super::values::{BareUnit, ValueError, parse_size, parse_time};

/// `memlens kernel`.
#[derive(Debug, Args)]
pub struct KernelArgs {
    /// When to report.
    #[command(flatten)]
    pub interval: IntervalArgs,
    /// Follow one slab cache only, by its name in /proc/slabinfo; nothing but it is traced.
    ///
    /// The kernel lets caches of one size share their memory, so objects of other names may be among them; a note says so.
    ///
    /// Example: --slab dentry
    #[arg(long, value_name = "NAME", help_heading = "Filters")]
    pub slab: Option<String>,
    /// Follow blocks of 2^N pages only; nothing but these is traced.
    ///
    /// Example: --order 0
    #[arg(long, value_name = "N", help_heading = "Filters")]
    pub order: Option<u32>,
    /// Also follow movable pages: user memory and page cache, which are left out otherwise.
    #[arg(long, help_heading = "Filters")]
    pub movable: bool,
    /// Leave out objects and blocks of fewer bytes than this. They are never stored, so this also makes tracing cheaper.
    ///
    /// Example: -z 1KiB
    #[arg(short = 'z', long, value_name = "BYTES", value_parser = parse_size, help_heading = "Filters")]
    pub min_size: Option<u64>,
    /// Count only what has been held at least this long, such as 30s.
    ///
    /// Leaves out memory that is about to be released. A number without a unit is milliseconds. Holds for the stacks; the totals
    /// still count every age.
    ///
    /// Example: -o 30s
    #[arg(short, long, value_name = "AGE", value_parser = parse_age, help_heading = "Filters")]
    pub older: Option<Duration>,
    /// What to print.
    #[command(flatten)]
    pub output: OutputArgs,
    /// Order of the stacks.
    #[arg(
        long,
        value_enum,
        value_name = "KEY",
        default_value_t,
        help_heading = "Output"
    )]
    pub sort: Sort,
    /// Sample: follow about one allocation in every BYTES allocated, and scale up.
    ///
    /// Cheaper, and unbiased: the report says the standard error.
    ///
    /// Example: --sample-bytes 64KiB
    #[arg(long, value_name = "BYTES", value_parser = parse_size, help_heading = "Cost")]
    pub sample_bytes: Option<u64>,
    /// Live blocks followed at most; the report says what did not fit. Each takes 96 bytes of kernel memory, at once.
    #[arg(
        long,
        value_name = "N",
        default_value_t = tracer_common::kernel_memory::DEFAULT_MAX_LIVE,
        help_heading = "Cost"
    )]
    pub max_live: u32,
}

fn parse_age(text: &str) -> Result<Duration, ValueError> {
    parse_time(text, BareUnit::Milliseconds)
}

/// Settings of `memlens kernel`.
#[derive(Clone, Debug, PartialEq)]
pub struct KernelConfig {
    /// Time between reports; not zero.
    pub interval: Duration,
    /// Number of reports; `None`: until Ctrl-C.
    pub count: Option<NonZeroU64>,
    /// The only slab cache to follow.
    pub slab: Option<String>,
    /// The only order of pages to follow: 0 to [`MAX_ORDER`].
    pub order: Option<u32>,
    /// Whether to follow movable pages.
    pub movable: bool,
    /// Smaller blocks are left out.
    pub min_size: u64,
    /// Least age of the blocks shown; zero shows all.
    pub older: Duration,
    /// What to print.
    pub output: Output,
    /// Order of the stacks.
    pub sort: Sort,
    /// Mean bytes between two samples; `None` follows every block.
    pub sample_bytes: Option<NonZeroU64>,
    /// Most live blocks followed.
    pub max_live: u32,
}

/// Checks what fits together.
pub(super) fn config(args: KernelArgs) -> Result<KernelConfig, ConfigError> {
    let (interval, count) = interval(&args.interval)?;
    if args.slab.is_some() && args.order.is_some() {
        return Err(ConfigError::Apart("--slab", "--order"));
    }
    if args.slab.is_some() && args.movable {
        return Err(ConfigError::Apart("--slab", "--movable"));
    }
    if args.slab.as_deref() == Some("") {
        return Err(ConfigError::Meaningless {
            option: "--slab",
            value: String::new(),
            remedy: "a name from /proc/slabinfo",
        });
    }
    if let Some(value) = args.order.filter(|order| *order > MAX_ORDER) {
        return Err(ConfigError::OutOfRange {
            what: "--order",
            value,
            least: 0,
            most: MAX_ORDER,
        });
    }
    Ok(KernelConfig {
        interval,
        count,
        slab: args.slab,
        order: args.order,
        movable: args.movable,
        min_size: args.min_size.unwrap_or(0),
        older: args.older.unwrap_or_default(),
        output: output(args.output)?,
        sort: args.sort,
        sample_bytes: args.sample_bytes.map(sample_bytes).transpose()?,
        max_live: in_range("--max-live", args.max_live, MAX_MAX_LIVE)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Command, parse_from};

    fn parsed(line: &str) -> Result<KernelConfig, String> {
        match parse_from(line.split_whitespace()) {
            Ok(invocation) => match invocation.command {
                Command::Kernel(config) => Ok(*config),
                other => Err(format!("{other:?}")),
            },
            Err(error) => Err(error.to_string()),
        }
    }

    #[test]
    fn words_become_settings() {
        let config = parsed("memlens kernel 2 3 --order 0 --older 30s --top 0").expect("fits");
        assert_eq!(config.interval, Duration::from_secs(2));
        assert_eq!(config.order, Some(0));
        assert_eq!(config.older, Duration::from_secs(30));
        assert_eq!(config.output.top, None);
        assert!(!config.movable && config.slab.is_none());
        let config = parsed("memlens kernel --slab filp").expect("fits");
        assert_eq!(config.slab.as_deref(), Some("filp"));
    }

    #[test]
    fn what_contradicts_itself_is_refused() {
        for (line, words) in [
            ("memlens kernel --slab a --order 1", "--slab and --order"),
            ("memlens kernel --slab a --movable", "--slab and --movable"),
            ("memlens kernel --order 11", "from 0 to 10"),
            ("memlens kernel --max-live 0", "--max-live is 0"),
            ("memlens kernel --sample-bytes 0", "--sample-bytes is 0"),
            ("memlens kernel -p 3", "unexpected argument"),
        ] {
            let error = parsed(line).expect_err(line);
            assert!(error.contains(words), "{line}: {error}");
        }
    }
}
