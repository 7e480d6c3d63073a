//! Leave for user space to hand the shared records to the kernel as bytes.

use zerocopy::{FromBytes, IntoBytes};

use crate::config::{Config, Process, State};
use crate::kernel_memory::{KernelConfig, KernelGuard, KernelRow, KernelState};
use crate::key::{StackKey, StackTotals};
use crate::lifetime::{Lifetimes, OldFrees};
use crate::live::Directory;
use crate::registers::RegisterConfig;
use crate::runtime::note::CodeKey;
use crate::runtime::python::PythonLayout;
use crate::stack::StackMeta;
use crate::unwind::{FileKey, FileTable, Mapping};

const fn has_no_padding_and_takes_any_bytes<T: FromBytes + IntoBytes>() {}

macro_rules! pods {
    ($($record:ty),* $(,)?) => {
        $(
            const _: () = has_no_padding_and_takes_any_bytes::<$record>();
            // SAFETY: zerocopy has checked that it has no padding and that all bytes make a value.
            unsafe impl aya::Pod for $record {}
        )*
    };
}

pods!(
    CodeKey,
    Config,
    Directory,
    FileKey,
    FileTable,
    KernelConfig,
    KernelGuard,
    KernelRow,
    KernelState,
    Lifetimes,
    Mapping,
    OldFrees,
    Process,
    PythonLayout,
    RegisterConfig,
    StackKey,
    StackMeta,
    StackTotals,
    State,
);
