//! Runs memlens against victims known to the byte: programs, processes, reports and what they must say.
//!
//! Every process started here dies with its owner, every wait has a limit, and what the processes printed
//! is shown when a test fails.

pub mod address_space;
pub mod cases;
pub mod cgroup;
pub mod child;
pub mod code;
pub mod container;
pub mod elf32;
pub mod foreign;
pub mod gdb;
pub mod host;
pub mod http;
pub mod kernel;
pub mod ledger;
pub mod lines;
pub mod load;
pub mod memlens;
pub mod need;
pub mod paths;
pub mod patience;
pub mod program;
pub mod python;
pub mod report;
pub mod row;
pub mod schema;
pub mod screen;
pub mod stepped;
pub mod trace;
pub mod victim;

pub use memlens::Memlens;
pub use program::Program;
pub use report::{HeapFigures, Live, Report};
pub use row::Row;
pub use screen::Screen;
pub use stepped::Stepped;
pub use trace::{Traced, trace};
pub use victim::Victim;
