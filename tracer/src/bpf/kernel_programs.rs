//! The programs of `memlens kernel`, and where each is placed.

use std::io;

use aya::programs::{FEntry, ProgramError};
use aya::{Btf, Ebpf};
use tracer_common::kernel_memory::PROGRAMS;

use super::error::LoadError;
use super::kernel_offsets::Layout;
use super::kernel_settings::KernelSettings;
use super::object;

/// Programs that two of are placed on each tracepoint, in order of their numbers, with their tracepoint. The second is
/// called `_nested`.
pub(super) const DOUBLED: [(&str, &str, Part); 6] = [
    ("kmalloc", "kmalloc", Part::Slab),
    ("cache_alloc", "kmem_cache_alloc", Part::Slab),
    ("page_alloc", "mm_page_alloc", Part::Pages),
    ("kfree", "kfree", Part::Slab),
    ("cache_free", "kmem_cache_free", Part::Slab),
    ("page_free", "mm_page_free", Part::Pages),
];
/// Numbers of these programs (`tracer_common::kernel_memory::Program`).
pub(super) const NUMBERS: [u32; 6] = [0, 1, 2, 4, 5, 6];
/// Programs from here on release.
pub(super) const FIRST_RELEASE: usize = 3;
/// Programs that stand alone: their tracepoints do not fire in interrupts.
pub(super) const SINGLE: [(&str, &str); 2] = [
    ("percpu_alloc", "percpu_alloc_percpu"),
    ("percpu_free", "percpu_free_percpu"),
];

/// Programs at functions that release without a tracepoint.
const SILENT: [(&str, &str); 2] = [
    ("cache_free_bulk", "kmem_cache_free_bulk"),
    ("free_later", "kvfree_call_rcu"),
];

/// What a program belongs to.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// The slab allocator.
    Slab,
    /// The page allocator.
    Pages,
}

const _: () = assert!(NUMBERS[NUMBERS.len() - 1] < PROGRAMS);

/// Loads the programs that the settings need and places them. What cannot be followed on this kernel, in sentences.
///
/// # Errors
/// [`LoadError`] where a tracepoint is missing, or the kernel refuses.
pub(super) fn place_all(
    ebpf: &mut Ebpf,
    settings: &KernelSettings,
    layout: &Layout,
) -> Result<Vec<String>, LoadError> {
    let mut gaps = Vec::new();
    // Releases first: a block whose release is missed would be held for ever.
    for (name, tracepoint, part) in DOUBLED.iter().rev() {
        let wanted = match part {
            Part::Slab => settings.slab,
            Part::Pages => settings.pages,
        };
        if wanted {
            // The first of the two runs first.
            place(ebpf, name, tracepoint)?;
            place(ebpf, &format!("{name}_nested"), tracepoint)?;
        }
    }
    if settings.slab
        && let Err(error) = place_silent(ebpf, layout)
    {
        gaps.push(format!(
            "objects that are released by kfree_rcu or in bulk count as held until their place is used again: {error}"
        ));
    }
    if settings.percpu && layout.percpu {
        for (name, tracepoint) in SINGLE.iter().rev() {
            place(ebpf, name, tracepoint)?;
        }
    } else if settings.percpu {
        gaps.push(
            "per-CPU memory is not followed: this kernel's tracepoint has other arguments"
                .to_owned(),
        );
    }
    Ok(gaps)
}

/// Loads a program and places it on its tracepoint.
fn place(ebpf: &mut Ebpf, name: &str, tracepoint: &'static str) -> Result<(), LoadError> {
    object::place(
        ebpf,
        name,
        &[tracepoint],
        LoadError::NoTracepoint(tracepoint),
    )
}

/// Places the programs that see releases without a tracepoint.
fn place_silent(ebpf: &mut Ebpf, layout: &Layout) -> Result<(), LoadError> {
    if !layout.silent {
        return Err(LoadError::Refused(
            "the functions have other arguments on this kernel".to_owned(),
        ));
    }
    let btf = Btf::from_sys_fs()?;
    for (name, function) in SILENT {
        let program: &mut FEntry = object::program(ebpf, name)?;
        program
            .load(function, &btf)
            .and_then(|()| program.attach())
            .map_err(|error| match &error {
                ProgramError::LoadError { io_error, .. }
                    if io_error.kind() == io::ErrorKind::PermissionDenied =>
                {
                    LoadError::Refused(
                        "this kernel permits no programs at its functions".to_owned(),
                    )
                }
                other => LoadError::refused(other),
            })?;
    }
    Ok(())
}
