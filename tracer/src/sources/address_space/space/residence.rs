//! Joins pieces with the pages that are in memory or in swap.

use super::piece::Piece;
use crate::process::pagemap::Region;

/// Bytes of a piece that are somewhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Residence {
    /// In memory.
    pub resident: u64,
    /// In swap.
    pub swapped: u64,
}

impl Residence {
    /// Adds another piece's.
    pub fn add(&mut self, other: Self) {
        self.resident += other.resident;
        self.swapped += other.swapped;
    }
}

/// Bytes of each piece in memory and in swap, in the order of the pieces. Both lists ascend.
pub fn residence<'a>(
    pieces: impl Iterator<Item = &'a Piece>,
    regions: &[Region],
) -> Vec<Residence> {
    let mut rest = regions;
    pieces
        .map(|piece| {
            while let [first, behind @ ..] = rest
                && first.end <= piece.start
            {
                rest = behind;
            }
            let mut sum = Residence::default();
            for region in rest.iter().take_while(|region| region.start < piece.end) {
                let bytes = region.end.min(piece.end) - region.start.max(piece.start);
                match region.swapped {
                    true => sum.swapped += bytes,
                    false => sum.resident += bytes,
                }
            }
            sum
        })
        .collect()
}
