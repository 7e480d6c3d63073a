//! The address space of a process as an account: which call mapped which range, and what became of it.
//!
//! Plain values in, plain values out: calls that succeeded ([`Call`]) go into an [`AddressSpace`], which says at any
//! time which [`Piece`]s are mapped and by whom. [`compare`] holds it against `/proc/PID/maps`, [`residence`] joins it
//! with the pages that are in memory. Nothing here does I/O or looks at a clock.

mod address_space;
mod call;
mod compare;
mod decode;
mod piece;
mod pieces;
mod residence;

pub use address_space::{AddressSpace, Totals};
pub use call::{Backing, Call, PAGE, What};
pub use compare::{Difference, Repair, Unlike, lasting};
pub use decode::{Decoded, decode};
pub use piece::{FilePart, Kind, Origin, Piece};
pub use pieces::Pieces;
pub use residence::{Residence, residence};

#[cfg(test)]
mod tests;
