//! The one door to the kernel: programs and maps in, plain values out. Nothing else uses aya.

mod areas;
mod btf;
mod calibrate;
mod events;
mod faults;
mod grace;
mod kernel_memory;
mod kernel_offsets;
mod kernel_programs;
mod links;
mod live;
mod load;
mod mappings;
mod multi;
mod offsets;
mod processes;
mod publish;
mod rows;
mod space;
mod sys;
mod tables;
mod view;

pub use events::Events;
pub use kernel_memory::{CacheFilter, KernelLoadError, KernelMemory, KernelSettings};
pub use links::{Attached, Method, Probe, ProbeError, ProbeProgram, Scope};
pub use live::LiveScan;
pub use load::{LoadError, Settings, TableSize, Tracer};
pub use mappings::{Mapped, MappedCode, MappingEvent, MappingEvents};
pub use tables::{MappingsFull, TableFull, TablePlace, TableRoom, UnwindTables};
