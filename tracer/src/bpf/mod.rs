//! The one door to the kernel: programs and maps in, plain values out. Nothing else uses aya.

mod areas;
mod btf;
mod links;
mod live;
mod load;
mod mappings;
mod offsets;
mod sys;
mod tables;
mod view;

pub use areas::file_id;
pub use links::{Attached, Method, Probe, ProbeError, ProbeProgram};
pub use live::LiveScan;
pub use load::{Events, LoadError, Settings, TableSize, Tracer};
pub use mappings::{Mapped, MappedCode, MappingEvent, MappingEvents};
pub use tables::{TableFull, UnwindTables};
