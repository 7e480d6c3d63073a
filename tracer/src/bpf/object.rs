//! What a loaded object has: its maps and programs, by name.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};

use aya::Ebpf;
use aya::maps::{Map, MapData, MapError, PerCpuArray};
use aya::programs::{Program, ProgramError, RawTracePoint};
use tracer_common::counter::Counter;

use super::error::LoadError;
use super::view::ArrayView;

/// A map by its name, for changing it.
pub(super) fn map_mut<'a, M>(ebpf: &'a mut Ebpf, name: &str) -> Result<M, LoadError>
where
    M: TryFrom<&'a mut Map, Error = MapError>,
{
    let map = ebpf
        .map_mut(name)
        .ok_or_else(|| LoadError::missing("map", name))?;
    Ok(map.try_into()?)
}

/// Descriptor of a map of any kind.
pub(super) fn map_fd<'a>(ebpf: &'a Ebpf, name: &str) -> Result<BorrowedFd<'a>, LoadError> {
    match ebpf.map(name) {
        Some(
            Map::Array(data)
            | Map::ArrayOfMaps(data)
            | Map::HashMap(data)
            | Map::PerCpuArray(data)
            | Map::Queue(data)
            | Map::ProgramArray(data)
            | Map::RingBuf(data)
            | Map::Unsupported(data),
        ) => Ok(data.fd().as_fd()),
        _ => Err(LoadError::missing("map", name)),
    }
}

/// An array of `len` elements, mapped into our own memory.
pub(super) fn view<T: aya::Pod>(
    ebpf: &Ebpf,
    name: &'static str,
    len: usize,
) -> Result<ArrayView<T>, LoadError> {
    ArrayView::new(map_fd(ebpf, name)?, len).map_err(|source| LoadError::Map { map: name, source })
}

/// The same, each part of which is mapped when it is used.
pub(super) fn view_in_parts<T: aya::Pod>(
    ebpf: &Ebpf,
    name: &'static str,
    len: usize,
) -> Result<ArrayView<T>, LoadError> {
    ArrayView::in_parts(map_fd(ebpf, name)?, len)
        .map_err(|source| LoadError::Map { map: name, source })
}

/// An array with an element for each CPU.
pub(super) fn per_cpu<'a, T: aya::Pod>(
    ebpf: &'a Ebpf,
    name: &str,
) -> Result<PerCpuArray<&'a MapData, T>, LoadError> {
    let map = ebpf
        .map(name)
        .ok_or_else(|| LoadError::missing("map", name))?;
    Ok(map.try_into()?)
}

/// One loss counter, by its index, summed over the CPUs.
pub(super) fn loss(ebpf: &Ebpf, index: u32) -> Result<u64, LoadError> {
    Ok(per_cpu::<u64>(ebpf, "LOSSES")?.get(&index, 0)?.iter().sum())
}

/// Loss counters that are not zero, summed over the CPUs.
pub(super) fn losses<C: Counter + Ord>(ebpf: &Ebpf) -> Result<BTreeMap<C, u64>, LoadError> {
    let mut losses = BTreeMap::new();
    for (index, counter) in (0..).zip(C::ALL) {
        losses.insert(*counter, loss(ebpf, index)?);
    }
    losses.retain(|_, count| *count > 0);
    Ok(losses)
}

/// A program by its name.
pub(super) fn program<'a, P>(ebpf: &'a mut Ebpf, name: &str) -> Result<&'a mut P, LoadError>
where
    &'a mut P: TryFrom<&'a mut Program>,
{
    ebpf.program_mut(name)
        .and_then(|program| program.try_into().ok())
        .ok_or_else(|| LoadError::missing("program", name))
}

/// Loads a program and places it on tracepoints; `absent` is the error where the kernel does not have one.
pub(super) fn place(
    ebpf: &mut Ebpf,
    name: &str,
    tracepoints: &[&str],
    absent: LoadError,
) -> Result<(), LoadError> {
    let program: &mut RawTracePoint = program(ebpf, name)?;
    program.load()?;
    for tracepoint in tracepoints {
        match program.attach(tracepoint) {
            Ok(_) => {}
            Err(error) if is_absent(&error) => return Err(absent),
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether a program was not placed because the kernel does not have the place.
pub(super) fn is_absent(error: &ProgramError) -> bool {
    matches!(
        error,
        ProgramError::SyscallError(error) if error.io_error.kind() == io::ErrorKind::NotFound
    )
}

/// Instructions that the verifier has walked through for each loaded program, by its name; none before Linux 5.16.
pub(super) fn verified_instructions(ebpf: &Ebpf) -> impl Iterator<Item = (String, u32)> {
    ebpf.programs().filter_map(|(name, program)| {
        let verified = program.info().ok()?.verified_instruction_count()?;
        Some((name.to_owned(), verified))
    })
}
