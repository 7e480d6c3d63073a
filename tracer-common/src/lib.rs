//! What the two sides of memlens share: the records that cross the kernel boundary, and the logic
//! that runs in the kernel but is tested on the host.
#![cfg_attr(not(any(test, fuzzing)), no_std)]

pub mod arch;
pub mod bits;
pub mod cache;
pub mod call;
pub mod config;
pub mod counter;
pub mod diagnostic;
pub mod event;
pub mod faults;
pub mod kernel_memory;
pub mod key;
pub mod lifetime;
pub mod limits;
pub mod live;
pub mod loss;
pub mod memo;
pub mod offsets;
pub mod pairing;
#[cfg(feature = "user")]
mod pod;
pub mod record;
pub mod registers;
pub mod rows;
pub mod runtime;
pub mod sampling;
pub mod space;
pub mod stack;
pub mod unwind;
