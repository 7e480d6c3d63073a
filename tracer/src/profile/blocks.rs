//! Blocks of a heap that no trace has seen, by what holds them: `memlens explain --reach`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::number::Values;
use super::reach::Holder;

/// The blocks of a process's heap, by what holds them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HeapBlocks {
    /// All blocks by class: `heap.lost_bytes` and its like. Sizes are those of the allocator, rounded up.
    pub totals: Values,
    /// Blocks that nothing points to, most bytes first, with what only they hold.
    pub lost: Vec<BlockGroup>,
    /// Groups of lost blocks that are not listed.
    pub lost_more: u64,
    /// Blocks that are held, most bytes first.
    pub held: Vec<BlockGroup>,
    /// Groups of held blocks that are not listed.
    pub held_more: u64,
}

/// Blocks of one size, and of one type where that is known.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct BlockGroup {
    /// Bytes of one block.
    pub size: u64,
    /// Their type, where the first word tells it.
    #[serde(rename = "type")]
    pub type_name: Option<String>,
    /// How many.
    pub blocks: u64,
    /// Bytes of them all.
    pub bytes: u64,
    /// Blocks that only these hold.
    pub below_blocks: u64,
    /// Bytes of these.
    pub below_bytes: u64,
    /// What holds them, the way that most have in common first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub holders: Vec<Holder>,
}
