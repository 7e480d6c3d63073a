//! Call stacks: frames, the files that they are in, why a stack is cut and why a frame has no name.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracer_common::stack::End;

use super::wire;

/// A mapped file.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Module {
    /// Its path as the process sees it, or the mapping's name (`[heap]`, `[vdso]`). Bytes that are no UTF-8 are U+FFFD.
    pub path: Arc<str>,
    /// Its build id, in hex.
    pub build_id: Option<Arc<str>>,
}

/// What kind of code a frame is of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FrameKind {
    /// Of the processor.
    #[default]
    Native,
    /// Of CPython's interpreter. Its `address` is that of the code object, and it is in no module.
    Python,
    /// Of Java: compiled by HotSpot, or run by its interpreter, when its `address` is that of the method and it is in no
    /// module.
    Java,
}

impl FrameKind {
    /// Whether it is code of the processor.
    pub fn is_native(self) -> bool {
        self == Self::Native
    }
}

/// A frame of a stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Frame {
    /// What kind of code it is of.
    #[serde(default)]
    pub kind: FrameKind,
    /// The function's demangled name; null where it is not known.
    pub symbol: Option<Arc<str>>,
    /// Why there is no symbol.
    pub missing: Option<Missing>,
    /// Index of the file that the code is in.
    pub module: Option<u32>,
    /// The return address.
    #[serde(with = "wire::address")]
    #[schemars(with = "String")]
    pub address: u64,
    /// Bytes from the function's start to `address`; null for an inlined function.
    pub offset: Option<u64>,
    /// `address` in the file's own address space: what `addr2line` and `nm` print.
    #[serde(with = "wire::optional_address", default)]
    #[schemars(with = "Option<String>")]
    pub module_offset: Option<u64>,
    /// Source file, where debug information tells it.
    pub file: Option<Arc<str>>,
    /// Line in that file.
    pub line: Option<u32>,
    /// The function was inlined into that of the next frame.
    pub inlined: bool,
}

/// A call stack.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
pub struct Stack {
    /// Indices of its frames, innermost first. Inlined functions stand before the function that holds them.
    pub frames: Vec<u32>,
    /// Why it ends before the outermost frame; null where it is whole.
    pub cut: Option<CutReason>,
}

/// Why a stack is not whole.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum CutReason {
    /// The walk was interrupted.
    Interrupted,
    /// It has more frames than are kept.
    TooDeep,
    /// Code without frame pointers and without an unwind table.
    NoFramePointer,
    /// Its memory could not be read.
    Unreadable,
    /// The next frame has no return address.
    NoReturnAddress,
    /// The code was not known yet: it had just been mapped.
    UnknownCode,
    /// The unwind table has a rule that the walk does not support.
    UnsupportedRule,
    /// The caller's stack pointer cannot be one.
    BadStackPointer,
    /// A return probe hides the caller.
    ReturnProbe,
    /// The file's unwind table is not available.
    NoTable,
    /// None of it was kept: the table of stacks was full.
    NotKept,
    /// None of it was kept: the table of stacks was full, or the range was moved to its address.
    NotKeptOrMoved,
    /// None of it was kept: the table of stacks was full, or the kernel could not walk it.
    NotKeptOrNotWalked,
    /// There is none: no call was seen.
    NoCall,
    /// It has more frames of an interpreter than are kept.
    RuntimeTooDeep,
    /// A frame of an interpreter could not be read.
    RuntimeUnreadable,
    /// The frames of an interpreter were not read: it had just begun.
    RuntimeNotRead,
    /// The frames of an interpreter are others than its native frames execute.
    RuntimeMismatch,
}

impl CutReason {
    /// What the kernel side says of how a walk ended; `None` for a whole stack.
    pub const fn of(end: End) -> Option<Self> {
        Some(match end {
            End::Complete => return None,
            End::Walking => Self::Interrupted,
            End::TooDeep => Self::TooDeep,
            End::BadFramePointer => Self::NoFramePointer,
            End::Unreadable => Self::Unreadable,
            End::BadReturnAddress => Self::NoReturnAddress,
            End::NoMapping => Self::UnknownCode,
            End::UnsupportedRule => Self::UnsupportedRule,
            End::BadStackPointer => Self::BadStackPointer,
            End::ReturnProbe => Self::ReturnProbe,
            End::NoTable => Self::NoTable,
        })
    }

    /// Whether the native frames are whole.
    pub const fn is_of_runtime(self) -> bool {
        matches!(
            self,
            Self::RuntimeTooDeep
                | Self::RuntimeUnreadable
                | Self::RuntimeNotRead
                | Self::RuntimeMismatch
        )
    }

    /// The reason as a clause of a sentence.
    pub const fn clause(self) -> &'static str {
        match self {
            Self::Interrupted => "the walk was interrupted",
            Self::TooDeep => "deeper than the frames kept",
            Self::NoFramePointer => "no frame pointer leads on from here",
            Self::Unreadable => "the stack could not be read",
            Self::NoReturnAddress => "the next frame has no return address",
            Self::UnknownCode => "code there was not known yet",
            Self::UnsupportedRule => "the unwind table has an unsupported rule there",
            Self::BadStackPointer => "the caller's stack pointer cannot be one",
            Self::ReturnProbe => "a return probe hides the caller",
            Self::NoTable => "the file's unwind table is not available",
            Self::NotKept => "not kept: the table of stacks was full",
            Self::NotKeptOrMoved => {
                "not kept: the table of stacks was full, or the range was moved there"
            }
            Self::NotKeptOrNotWalked => {
                "not kept: the table of stacks was full, or the kernel could not walk it"
            }
            Self::NoCall => "mapped by no call that was seen",
            Self::RuntimeTooDeep => "deeper than the interpreter's frames kept",
            Self::RuntimeUnreadable => "a frame of the interpreter could not be read",
            Self::RuntimeNotRead => "the interpreter's frames were not read yet",
            Self::RuntimeMismatch => {
                "the interpreter's frames, shown last, do not fit its native frames"
            }
        }
    }
}

macro_rules! missing {
    ($($(#[$doc:meta])+ $name:ident = $words:literal;)+) => {
        /// Why a frame has no name.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
        #[serde(rename_all = "snake_case")]
        pub enum Missing { $($(#[$doc])+ $name,)+ }

        impl Missing {
            /// All reasons.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// The reason in a few words.
            pub const fn words(self) -> &'static str {
                match self { $(Self::$name => $words),+ }
            }
        }
    };
}

missing! {
    /// The process ended before its code was looked at.
    ProcessExited = "process has exited";
    /// The process's maps may not be read.
    ProcessUnreadable = "process cannot be read";
    /// Nothing executable is mapped at the address.
    NothingMapped = "no code is mapped there";
    /// Memory that is no file's and no compiler's.
    NoSymbolMemory = "memory without symbols";
    /// A just-in-time compiler's code; the runtime writes no perf map.
    NoPerfMap = "generated code, no perf map";
    /// A just-in-time compiler's code that the perf map does not name.
    NotInPerfMap = "generated code, not in the perf map";
    /// The perf map may not be read.
    PerfMapUnreadable = "perf map cannot be read";
    /// The file is not there any more.
    FileGone = "file is gone";
    /// The file may not be opened.
    FileDenied = "no permission to open the file";
    /// Another file has its path.
    FileReplaced = "file was replaced";
    /// It is a device or the like.
    FileNotRegular = "not a regular file";
    /// The file could not be opened.
    FileUnopened = "file cannot be opened";
    /// The file has no symbol table.
    NoSymbols = "no symbols";
    /// No symbol of the file covers the address.
    NoSymbolCovers = "no symbol covers it";
    /// The file's symbols are damaged.
    SymbolsUnreadable = "symbols cannot be read";
    /// The address is not mapped from the file.
    NotMapped = "not mapped";
    /// The address is in none of the file's segments.
    OutsideSegments = "outside the file's segments";
    /// Memory that no file is behind.
    NoFile = "memory without a file";
    /// The file holds no code.
    NotCode = "not code of a file";
    /// The kernel's symbols may not be read.
    KernelSymbolsUnreadable = "kernel symbols cannot be read";
    /// A code object of an interpreter that was not read while it ran.
    CodeGone = "code object was gone before it was read";
    /// A compiler's code; other code was at its address as well, before or since.
    CodeReplaced = "generated code, replaced by other";
    /// Not a frame: frames that were not walked stand here.
    NotWalked = "native frames between were not walked";
    /// The symbolizer gives no reason.
    Unexplained = "unknown to the symbolizer";
}
