//! The kernel's own memory: what is allocated, released and still held, by kernel stack.

mod account;
pub mod bulk;
pub mod guard;
pub mod maps;
pub mod pages;
pub mod percpu;
pub mod slab;
mod stack;
