//! Leave for user space to hand the shared records to the kernel as bytes.

use crate::config::{Config, Process, State};
use crate::key::{AllocKey, LiveBlock, StackKey, StackTotals};
use crate::stack::StackMeta;
use crate::unwind::{FileKey, FileTable, Mapping};

// SAFETY: `repr(C)`, integers only, without padding (each record's size is asserted beside it).
unsafe impl aya::Pod for Config {}
// SAFETY: as above.
unsafe impl aya::Pod for State {}
// SAFETY: as above.
unsafe impl aya::Pod for Process {}
// SAFETY: as above.
unsafe impl aya::Pod for AllocKey {}
// SAFETY: as above.
unsafe impl aya::Pod for LiveBlock {}
// SAFETY: as above.
unsafe impl aya::Pod for StackKey {}
// SAFETY: as above.
unsafe impl aya::Pod for StackTotals {}
// SAFETY: as above.
unsafe impl aya::Pod for StackMeta {}
// SAFETY: as above.
unsafe impl aya::Pod for Mapping {}
// SAFETY: as above.
unsafe impl aya::Pod for FileKey {}
// SAFETY: as above.
unsafe impl aya::Pod for FileTable {}
// SAFETY: as above.
unsafe impl aya::Pod for crate::kernel_memory::KernelConfig {}
// SAFETY: as above.
unsafe impl aya::Pod for crate::kernel_memory::KernelState {}
// SAFETY: as above.
unsafe impl aya::Pod for crate::kernel_memory::KernelRow {}
// SAFETY: as above.
unsafe impl aya::Pod for crate::kernel_memory::KernelGuard {}
