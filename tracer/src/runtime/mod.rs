//! Language runtimes of traced programs: which one a program has and where, what its code objects are called, and the
//! stacks that its frames make together with the native ones.

mod codes;
pub mod find;
pub mod hotspot;
pub mod image;
pub mod merge;
pub mod python;

pub use self::codes::{Codes, Named};
pub use self::find::{Attached, Files, Found, Runtime, Unsupported, inspect, other};
pub use self::merge::{Merged, Part};
