//! What reachability says: what holds the blocks of a stack, and how sure that is.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::wire;

/// How many links of a chain are told.
pub const MOST_LINKS: usize = 8;

/// What holds blocks of a stack: the way from a root to them that most of those that were looked at have in common.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Holder {
    /// Blocks that were looked at.
    pub sampled: u32,
    /// Blocks of these that are held this way.
    pub shared: u32,
    /// Where the way begins.
    pub root: HeldFrom,
    /// From the root to the blocks, which are the last link where all links are told; at most [`MOST_LINKS`].
    pub links: Vec<HolderLink>,
    /// Links between these and the blocks that are not told.
    #[serde(default)]
    pub more_links: u32,
    /// All of it in words: `global sessions in app -> 8 KiB (rehash) -> 4 linked blocks of 32 B (insert)`.
    pub text: String,
}

/// A place outside of the judged blocks that points to one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct HeldFrom {
    /// What kind of place.
    pub kind: RootKind,
    /// Its name: of a global's symbol, of a mapping, of a runtime's heap.
    pub name: Option<String>,
    /// Bytes from the start of what the name stands for.
    pub offset: Option<u64>,
    /// Path of the file that a global is in.
    pub module: Option<String>,
    /// The thread, of a stack, a register or a variable of a thread.
    pub thread: Option<u32>,
}

/// What kind of place a root is.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    PartialEq,
    Eq,
    Hash,
    PartialOrd,
    Ord,
    Serialize,
    Deserialize,
    JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum RootKind {
    /// Data of a module: a global.
    Global,
    /// A variable of a thread.
    ThreadLocal,
    /// The kernel, for the program: what an event of epoll or a timer gives back.
    Kernel,
    /// A mapping.
    #[default]
    Mapping,
    /// The heap of a language runtime.
    Runtime,
    /// A block that is younger than what is judged.
    YoungBlock,
    /// A block that is older than the trace.
    OlderBlock,
    /// Memory of an allocator in which no known block lies.
    UnknownHeap,
    /// A stack.
    Stack,
    /// A register.
    Register,
    /// No place is known, but the block was written to meanwhile.
    Written,
}

/// A run of blocks of one stack, each of which holds the next one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct HolderLink {
    /// Index of the stack that allocated them; null where it is not known.
    pub stack: Option<u32>,
    /// The function that allocated them, the first that is no part of an allocator.
    pub function: Option<String>,
    /// Their type, where the first word of a block tells it.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// Least and most bytes of one.
    pub size_min: u64,
    /// Most bytes of one.
    pub size_max: u64,
    /// Shortest and longest run.
    pub length_min: u32,
    /// Longest run.
    pub length_max: u32,
}

/// How far the verdicts of reachability on one process can be relied on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Reachability {
    /// Index of the subject.
    pub subject: u32,
    /// Passes over its memory.
    pub passes: u32,
    /// The last passes in which no block was found to be held after all.
    pub quiet_passes: u32,
    /// How long it took.
    #[serde(rename = "took_ms", with = "wire::millis")]
    #[schemars(with = "u64")]
    pub took: Duration,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes that are the process's and could not be read, or were not: swapped, gone meanwhile.
    pub bytes_unread: u64,
    /// Blocks that were judged.
    pub blocks_judged: u64,
    /// Blocks that were too young to be judged.
    pub blocks_young: u64,
    /// Where the registers come from.
    pub registers: Registers,
    /// Blocks that are called lost and, by how the passes went, are not.
    pub estimated_false: f64,
    /// Blocks that an earlier report called lost.
    pub lost_before: u64,
    /// Of these, blocks that were released meanwhile: so they were not lost.
    pub freed_after_lost: u64,
    /// Bytes of blocks that only memory of unknown content holds: blocks older than the trace, an allocator's own.
    pub unknown_holder_bytes: u64,
    /// What could not be looked at, in sentences.
    #[serde(default)]
    pub limits: Vec<String>,
}

/// Where the registers of a process's threads come from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Registers {
    /// A BPF program that goes over the threads: all general registers.
    Iterator,
    /// `/proc/PID/task/TID/syscall`: the stack pointers of threads that wait in a system call, and their arguments.
    Syscall,
    /// Nowhere.
    #[default]
    None,
}
