//! HotSpot, the Java virtual machine of OpenJDK 11 to 25: where its compiled code lies and how that is walked, and which
//! methods are in it, read from outside.
//!
//! The machine describes its own structures for debuggers (`gHotSpotVMStructs`, OpenJDK,
//! src/hotspot/share/runtime/vmStructs.hpp), so that nothing is known here by version but the encoding of numbers.

mod code_cache;
pub mod file;
mod jvm;
mod layout;
mod method;
mod pieces;
#[cfg(any(test, fuzzing))]
pub mod sample;
pub mod scopes;
mod stream;
mod structs;
mod table;

pub use self::code_cache::{Blob, Changes, CodeCache, Heap, Kind};
pub use self::file::Build;
pub use self::jvm::{Jvm, Named};
pub use self::layout::Layout;
pub use self::pieces::Pieces;
pub use self::structs::Structs;
pub use self::table::table;

#[cfg(test)]
mod tests;
