//! Reading back what the programs have written.

use zerocopy::FromBytes;

/// A record that the programs send to user space.
pub trait Record: Sized {
    /// Reads a record; `None` if it has another length, or names a kind that does not exist.
    fn decode(bytes: &[u8]) -> Option<Self>;
}

/// Reads a record of integers; `None` if it has another length, or `is_known` refuses its kind.
pub(crate) fn read<T: FromBytes>(bytes: &[u8], is_known: impl FnOnce(&T) -> bool) -> Option<T> {
    T::read_from_bytes(bytes).ok().filter(is_known)
}
