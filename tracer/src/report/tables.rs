//! What the unwind tables take in the kernel, for reports to programs.

use serde::Serialize;

/// Room for unwind tables, and who has it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct TableUse {
    /// Files whose tables are in the kernel.
    pub files: u64,
    /// Bytes that these take.
    pub bytes: u64,
    /// Bytes that there are.
    pub room_bytes: u64,
    /// Files that processes have mapped and whose tables have no room: stacks through them are cut.
    pub left_out: u64,
    /// Tables that have left so far to make room for others.
    pub departed: u64,
}
