//! Which offsets in the running kernel's structures the programs are told.

use tracer_common::offsets::KernelOffsets;

use super::btf::Btf;

/// Offsets in kernel structures; 0 where the kernel has no type information.
pub(super) fn kernel_offsets() -> KernelOffsets {
    let data = std::fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
    Btf::parse(&data).map_or(KernelOffsets::default(), |btf| {
        KernelOffsets::find(|structure, member| btf.member_offset(structure, member))
    })
}
