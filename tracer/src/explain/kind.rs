//! What a region of memory is for.

use serde::{Deserialize, Serialize};

/// Kinds of regions, in the order in which the ledger lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// The heap that grows by `brk`.
    BrkHeap,
    /// Heaps of glibc's thread arenas.
    GlibcArenas,
    /// Blocks of glibc that have a mapping of their own.
    GlibcMapped,
    /// Memory of another allocator.
    Allocator,
    /// A language runtime's heap.
    RuntimeHeap,
    /// Code made at run time.
    GeneratedCode,
    /// The first thread's stack.
    MainStack,
    /// Stacks of the other threads.
    ThreadStacks,
    /// Anonymous memory that the program has given a name.
    Named,
    /// Anonymous memory of which nothing more is known.
    Anonymous,
    /// Writable data of the executable.
    ProgramData,
    /// Writable data of libraries.
    LibraryData,
    /// Code and constants of the executable.
    ProgramCode,
    /// Code and constants of libraries.
    LibraryCode,
    /// Memory shared with other processes.
    Shared,
    /// Other files.
    Files,
    /// Memory of devices and of the kernel's own objects.
    Devices,
    /// Pages that the kernel lends to every process.
    Kernel,
    /// Address space without access: reserves and guards.
    Reserved,
}

impl Kind {
    /// What it is called in the report.
    pub const fn words(self) -> &'static str {
        match self {
            Self::BrkHeap => "brk heap",
            Self::GlibcArenas => "glibc arenas of threads",
            Self::GlibcMapped => "glibc blocks with own mappings",
            Self::Allocator => "allocator",
            Self::RuntimeHeap => "runtime heap",
            Self::GeneratedCode => "code made at run time",
            Self::MainStack => "main stack",
            Self::ThreadStacks => "thread stacks",
            Self::Named => "named",
            Self::Anonymous => "anonymous, use unknown",
            Self::ProgramData => "program: data and bss",
            Self::LibraryData => "libraries: data and bss",
            Self::ProgramCode => "program: code, constants",
            Self::LibraryCode => "libraries: code, constants",
            Self::Shared => "shared memory",
            Self::Files => "mapped files",
            Self::Devices => "devices, kernel objects",
            Self::Kernel => "vdso and the like",
            Self::Reserved => "reserved, no access",
        }
    }

    /// Whether it is private memory that the program itself filled, or may fill.
    pub const fn is_private(self) -> bool {
        matches!(
            self,
            Self::BrkHeap
                | Self::GlibcArenas
                | Self::GlibcMapped
                | Self::Allocator
                | Self::RuntimeHeap
                | Self::ThreadStacks
                | Self::Named
                | Self::Anonymous
        )
    }

    /// Whether it is memory of an allocator that hands out blocks.
    pub const fn is_heap(self) -> bool {
        matches!(
            self,
            Self::BrkHeap | Self::GlibcArenas | Self::GlibcMapped | Self::Allocator
        )
    }

    /// Whether it is of the native side of a program with a runtime: neither the runtime's heap nor files.
    pub const fn is_native(self) -> bool {
        matches!(
            self,
            Self::BrkHeap
                | Self::GlibcArenas
                | Self::GlibcMapped
                | Self::Allocator
                | Self::Named
                | Self::Anonymous
        )
    }
}
