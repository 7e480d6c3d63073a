//! The table of live blocks from the side of user space: read, swept, and made larger and smaller as blocks live.

mod blocks;
mod memory;
mod sizes;
mod table;

pub use blocks::{LiveBlocks, LiveReader};

pub(super) use sizes::Sizes;
pub(super) use table::LiveTable;
