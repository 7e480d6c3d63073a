//! Runs memlens against victims known to the byte.
