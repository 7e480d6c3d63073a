//! Victims that run from "go" to "done" in one step, and what they hold then.
//!
//! Used twice: under memlens, and, to prove the victims themselves, under a ledger inside the victim.

use anyhow::{Result, bail};

use crate::program::Program;
use crate::report::Live;

/// A victim, its arguments, and what it holds when it is done.
#[derive(Clone, Copy, Debug)]
pub struct Case {
    /// The victim's source.
    pub victim: &'static str,
    /// Its arguments.
    pub args: &'static [&'static str],
    /// What the whole process holds; where it is `None` the C library adds something of its own.
    pub process: Option<Live>,
    /// What it holds through which functions.
    pub functions: &'static [(&'static str, Live)],
    /// Its exit code.
    pub code: i32,
}

impl Case {
    /// How to build it.
    pub fn program(&self) -> Program {
        Program::new(self.victim)
    }
}

const fn live(bytes: u64, blocks: u64) -> Live {
    Live::new(bytes, blocks)
}

const fn case(
    victim: &'static str,
    args: &'static [&'static str],
    process: Live,
    functions: &'static [(&'static str, Live)],
) -> Case {
    Case {
        victim,
        args,
        process: Some(process),
        functions,
        code: 0,
    }
}

/// Functions that `leak_each` can leak with; `pvalloc` is not in musl.
pub const LEAK_EACH: [&str; 11] = [
    "malloc",
    "calloc",
    "realloc",
    "reallocarray",
    "posix_memalign",
    "aligned_alloc",
    "memalign",
    "valloc",
    "pvalloc",
    "strdup",
    "strndup",
];

/// Forms that `leak_new` can leak with.
pub const LEAK_NEW: [&str; 5] = [
    "new",
    "new_array",
    "new_nothrow",
    "new_array_nothrow",
    "new_aligned",
];

/// What one call of `leak_each` and `leak_new` leaks.
pub const LEAK: Live = live(30_000, 1);

/// All one-step victims but `leak_each` and `leak_new`.
pub const CASES: &[Case] = &[
    case("sleepy", &[], live(0, 0), &[]),
    case("leak_rust", &[], live(60_000, 2), RUST),
    case("cross_thread_free", &[], live(528_000, 11_000), &[]),
    case("realloc_cases", &[], live(507_800, 1_008), REALLOC),
    case("posix_memalign_fails", &[], live(5_555, 2), MEMALIGN),
    case("longjmp_out", &["caller"], live(10_000, 250), KEEP_40),
    Case {
        code: 42,
        ..case("throw_across", &[], live(4_096, 1), &[])
    },
    Case {
        code: 42,
        ..case("bad_alloc", &[], live(5_000, 1), &[])
    },
    case("new_delete", &[], live(3_652, 8), &[]),
    case("nested_call", &[], live(1_000, 10), NESTED),
    case("fork_both_free", &["free"], live(0, 0), &[]),
    case("fork_both_free", &["keep"], live(55_500, 500), FORK_KEEP),
    case("thread_exit_tls", &[], live(800, 50), THREAD_EXIT),
    case("contexts", &[], live(1_600, 2), CONTEXTS),
    case("reuse_storm", &[], live(9_984, 104), &[]),
    case("many_stacks", &["8"], live(25_600, 256), &[]),
    case(
        "deep_recursion",
        &[],
        live(640, 1),
        &[("bottom", live(640, 1))],
    ),
    case("sizes", &[], live(258_000, 1_102), SIZES),
    Case {
        process: None,
        ..case("threads_later", &[], live(0, 0), THREADS_LATER)
    },
];

const RUST: &[(&str, Live)] = &[
    ("leak_vec", live(30_000, 1)),
    ("leak_zeroed", live(30_000, 1)),
];
const REALLOC: &[(&str, Live)] = &[
    ("grow", live(5_000, 1)),
    ("shrink", live(100, 1)),
    ("grow_mapped", live(400_000, 1)),
    ("fail_huge_old", live(700, 1)),
    ("to_zero", live(0, 0)),
    ("from_null", live(300, 1)),
    ("array_ok", live(600, 1)),
    ("array_overflow_old", live(1_100, 1)),
    ("many", live(100_000, 1_000)),
    ("freed", live(0, 0)),
    ("null_zero", live(0, 1)),
];
const MEMALIGN: &[(&str, Live)] = &[("stays", live(1_234, 1)), ("succeeds", live(4_321, 1))];
const KEEP_40: &[(&str, Live)] = &[("keep", live(10_000, 250))];
const NESTED: &[(&str, Live)] = &[("outer", live(1_000, 10))];
const FORK_KEEP: &[(&str, Live)] = &[("make", live(55_500, 500)), ("child_leak", live(0, 0))];
const CONTEXTS: &[(&str, Live)] = &[("leak_before", live(700, 1)), ("leak_after", live(900, 1))];
const THREAD_EXIT: &[(&str, Live)] = &[("leak_thread", live(800, 50)), ("hold", live(0, 0))];
const SIZES: &[(&str, Live)] = &[
    ("leak_tiny", live(8_000, 1_000)),
    ("leak_middle", live(50_000, 100)),
    ("leak_large", live(200_000, 2)),
];
const THREADS_LATER: &[(&str, Live)] = &[("leak_in_thread", live(4_620, 60))];

/// The case of a victim with these first arguments.
pub fn find(victim: &str, args: &[&str]) -> Result<&'static Case> {
    for case in CASES {
        if case.victim == victim && case.args == args {
            return Ok(case);
        }
    }
    bail!("no case {victim} {args:?}")
}
