//! The one door to the kernel: programs and maps in, plain values out. Nothing else uses aya.

/// A BPF object for this architecture, built and committed by `cargo xtask ebpf`, compressed by `build.rs`.
macro_rules! object_file {
    ($program:literal) => {
        std::sync::LazyLock::new(|| {
            crate::bpf::packed::unpacked(include_bytes!(concat!(
                env!("OUT_DIR"),
                "/",
                $program,
                ".bpf.o.gz"
            )))
        })
    };
}

mod areas;
mod batch;
mod btf;
mod calibrate;
mod error;
mod events;
mod faults;
mod grace;
mod keeper;
mod kernel_memory;
mod kernel_offsets;
mod kernel_programs;
mod kernel_settings;
mod links;
mod live;
mod load;
mod mappings;
mod multi;
mod object;
mod offsets;
mod oom;
mod packed;
mod perf_ring;
mod probe;
mod processes;
mod publish;
mod registers;
mod rows;
mod runtimes;
mod space;
mod sys;
mod tables;
mod view;

use std::sync::LazyLock;

pub use error::LoadError;
pub use events::Events;
pub use kernel_memory::KernelMemory;
pub use kernel_settings::{CacheFilter, KernelSettings};
pub use links::{Attached, ProbeError};
pub use live::{LiveBlocks, LiveReader};
pub use load::{Settings, Tracer};
pub use mappings::{Mapped, MappedCode, MappingEvent, MappingEvents};
pub use oom::{OomKills, Victim};
pub use probe::{Method, Probe, ProbeProgram};
pub use registers::RegisterReader;
pub use runtimes::{LayoutsFull, NoteRing};
pub use tables::{MappingsFull, TableFull, TablePlace, TableRoom, TableSize, UnwindTables};

/// The BPF object for traces of processes, built and committed by `cargo xtask ebpf`.
static OBJECT: LazyLock<packed::Object> = object_file!("memlens");
