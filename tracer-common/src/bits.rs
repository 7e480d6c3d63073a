//! What BPF has no instructions for.

/// How many of sixteen bits are set.
#[inline(always)]
pub const fn count(bits: u32) -> u32 {
    let pairs = bits - ((bits >> 1) & 0x5555);
    let fours = (pairs & 0x3333) + ((pairs >> 2) & 0x3333);
    let eights = (fours + (fours >> 4)) & 0x0f0f;
    (eights + (eights >> 8)) & 0x1f
}
