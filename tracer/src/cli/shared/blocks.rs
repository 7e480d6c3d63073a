//! Which heap blocks count, and which allocator they come from.

use std::path::PathBuf;

use clap::{Args, ValueHint};

use crate::cli::error::ConfigError;
use crate::cli::parsers::parse_prefix;
use crate::cli::values::parse_size;
use crate::engine::attach;

/// Most blocks that there can be room for: 5 GiB, in four fifths of the segments that a table can have.
pub const MAX_MAX_LIVE: u32 = 1 << 27;

/// Sizes of the blocks that count, in bytes, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Filters")]
pub struct SizeRange {
    /// Leave out allocations of fewer bytes than this.
    ///
    /// They are never stored, so this also makes tracing cheaper. The size of a block is not known when it is freed,
    /// so trace prints all frees, and leaks counts those of blocks that were left out as untracked.
    ///
    /// Example: -z 64KiB
    #[arg(short = 'z', long = "min-size", value_name = "BYTES", value_parser = parse_size, allow_hyphen_values = true)]
    #[arg(default_value_t = Self::ALL.min, hide_default_value = true)]
    pub min: u64,
    /// Leave out allocations of more bytes than this.
    ///
    /// Example: -Z 1M
    #[arg(short = 'Z', long = "max-size", value_name = "BYTES", value_parser = parse_size, allow_hyphen_values = true)]
    #[arg(default_value_t = Self::ALL.max, hide_default_value = true)]
    pub max: u64,
}

impl SizeRange {
    /// Every block counts.
    pub const ALL: Self = Self {
        min: 0,
        max: u64::MAX,
    };

    /// Refuses a range that no size is in.
    pub(in crate::cli) fn check(self) -> Result<(), ConfigError> {
        let Self { min, max } = self;
        if min > max {
            return Err(ConfigError::EmptySizeRange { min, max });
        }
        Ok(())
    }
}

/// Where to look for the allocator; by default memlens finds it by itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Allocator")]
pub struct Allocator {
    /// Trace functions with this prefix: je_ means je_malloc, je_free and so on.
    ///
    /// Needed only for an allocator with a prefix that memlens does not find by itself.
    ///
    /// Example: -S mylib_
    #[arg(short = 'S', long = "symbols-prefix", value_name = "PREFIX", value_parser = parse_prefix)]
    pub prefix: Option<String>,
    /// Look for the allocator in this file only.
    ///
    /// A path as the target sees it: a shared library or the program itself.
    ///
    /// Example: -O /opt/lib/libheap.so
    #[arg(short = 'O', long, value_name = "PATH", value_hint = ValueHint::FilePath)]
    pub object: Option<PathBuf>,
}

impl From<&Allocator> for attach::Allocator {
    fn from(typed: &Allocator) -> Self {
        Self {
            prefix: typed.prefix.clone(),
            object: typed.object.clone(),
        }
    }
}
