//! How stacks are walked.

use clap::{Args, ValueEnum};

use crate::cli::parsers::whole_number;
use crate::cli::values::parse_size;
use crate::engine::{self, Interpreters};

/// Most frames that a stack keeps; also the default.
const MAX_STACK_DEPTH: u32 = 127;
/// Most kernel memory for unwind tables unless another limit is given.
const UNWIND_MEMORY_MIB: u64 = 256;

/// How stacks are walked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Cost")]
pub struct Walk {
    /// Frames kept of each stack: 1 to 127.
    #[arg(long, value_name = "N", value_parser = whole_number(1..=MAX_STACK_DEPTH), default_value_t = MAX_STACK_DEPTH)]
    pub stack_depth: u32,
    /// Show the frames of an interpreter's loop, too, beside the frames of the code that they execute.
    #[arg(long)]
    pub native: bool,
    /// Do not read the frames of interpreters: native frames alone, which costs less.
    #[arg(long, conflicts_with = "native")]
    pub no_interpreters: bool,
    /// How to walk stacks: by unwind tables (auto, dwarf) or by frame pointers only (fp).
    #[arg(long, value_enum, value_name = "HOW", default_value_t)]
    pub unwind: Unwind,
    /// Most kernel memory for unwind tables.
    ///
    /// Example: --unwind-memory 64MiB
    #[arg(long, value_name = "BYTES", value_parser = parse_size, allow_hyphen_values = true)]
    #[arg(default_value = format!("{UNWIND_MEMORY_MIB}MiB"))]
    pub unwind_memory: u64,
}

/// How a stack is walked from frame to frame.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Unwind {
    /// By unwind tables, and by frame pointers where a file has none.
    #[default]
    Auto,
    /// Same as auto.
    Dwarf,
    /// By frame pointers only.
    Fp,
}

impl Default for Walk {
    fn default() -> Self {
        Self {
            stack_depth: MAX_STACK_DEPTH,
            native: false,
            no_interpreters: false,
            unwind: Unwind::default(),
            unwind_memory: UNWIND_MEMORY_MIB << 20,
        }
    }
}

impl From<Walk> for engine::Walk {
    fn from(typed: Walk) -> Self {
        Self {
            depth: typed.stack_depth,
            interpreters: match (typed.no_interpreters, typed.native) {
                (true, _) => Interpreters::Ignored,
                (false, true) => Interpreters::WithLoops,
                (false, false) => Interpreters::Shown,
            },
            table_bytes: (typed.unwind != Unwind::Fp).then_some(typed.unwind_memory),
        }
    }
}
