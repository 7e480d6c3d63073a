//! Language runtimes: their layouts, which process has which, and what their code objects are called.

use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU32, Ordering};

use aya::Ebpf;
use aya::maps::{Array, MapData, RingBuf};
use aya::programs::Program;
use tracer_common::config::Process;
use tracer_common::key::Owner;
use tracer_common::runtime::MAX_LAYOUTS;
use tracer_common::runtime::note::CodeKey;
use tracer_common::runtime::python::PythonLayout;

use super::batch::HashTable;
use super::error::LoadError;
use super::load::Tracer;
use super::object::{map_fd, map_mut};
use super::sys;

/// The arrays of the programs that go on with a stack in a runtime, by the kind of the program before.
pub(super) const PROBE_RUNTIME: &str = "PROBE_RUNTIME";
pub(super) const SESSION_RUNTIME: &str = "SESSION_RUNTIME";
pub(super) const SPACE_RUNTIME: &str = "SPACE_RUNTIME";
pub(super) const FAULT_RUNTIME: &str = "FAULT_RUNTIME";

/// Puts a loaded program into an array.
pub(super) fn put(
    ebpf: &Ebpf,
    array: &'static str,
    index: u32,
    program: BorrowedFd<'_>,
) -> Result<(), LoadError> {
    sys::put(map_fd(ebpf, array)?, index, program)
        .map_err(|error| LoadError::Refused(format!("{array}: {error}")))
}

/// Puts programs that aya has loaded into an array.
pub(super) fn put_programs(
    ebpf: &Ebpf,
    array: &'static str,
    names: impl IntoIterator<Item = &'static str>,
) -> Result<(), LoadError> {
    for (index, name) in (0..).zip(names) {
        let fd = ebpf.program(name).and_then(|program| match program {
            Program::UProbe(program) => program.fd().ok(),
            Program::RawTracePoint(program) => program.fd().ok(),
            Program::BtfTracePoint(program) => program.fd().ok(),
            _ => None,
        });
        let fd = fd.ok_or_else(|| LoadError::missing("program", name))?;
        put(ebpf, array, index, std::os::fd::AsFd::as_fd(fd))?;
    }
    Ok(())
}

/// The ring in which the programs tell what code objects are called; its records are
/// [`Note`](tracer_common::runtime::note::Note)s.
pub struct NoteRing(RingBuf<MapData>);

impl NoteRing {
    /// Hands over all records that wait, in their order.
    pub fn drain(&mut self, mut take: impl FnMut(&[u8])) {
        while let Some(record) = self.0.next() {
            take(&record);
        }
    }
}

/// There is no room for another layout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("more than {MAX_LAYOUTS} builds of language runtimes: native frames only")]
pub struct LayoutsFull;

impl Tracer {
    /// Number of a layout, which is written to the kernel's table if it is a new one.
    ///
    /// # Errors
    /// [`LayoutsFull`] if the table is full.
    pub fn layout(&mut self, layout: &PythonLayout) -> Result<u32, LayoutsFull> {
        let known = self.layouts.iter().position(|known| known == layout);
        if let Some(number) = known {
            return Ok(number as u32);
        }
        let number = self.layouts.len() as u32;
        let table: Result<Array<&mut MapData, PythonLayout>, LoadError> =
            map_mut(&mut self.ebpf, "LAYOUTS");
        let written = table.ok().map(|mut table| table.set(number, layout, 0));
        match written {
            Some(Ok(())) => {
                self.layouts.push(*layout);
                Ok(number)
            }
            _ => Err(LayoutsFull),
        }
    }

    /// Lets the stacks of a program be gone on with in its runtime: one of this layout, which has its state at `base`.
    /// Nothing is done if the process runs another program by now.
    pub fn set_runtime(&mut self, owner: Owner, layout: u32, base: u64) {
        let Some(row) = self.row_of(owner.tgid) else {
            return;
        };
        let Some(process) = self.processes.pointer(row as usize) else {
            return;
        };
        // SAFETY: a mapped, aligned record that lives as long as its view; the exec program writes the field.
        let is_it = |process: *mut Process| unsafe {
            (&raw const (*process).owner).read_volatile() == owner
        };
        if !is_it(process) {
            return;
        }
        // SAFETY: as above; besides us the exec program writes the number, to take it away.
        unsafe {
            (&raw mut (*process).runtime_base).write_volatile(base);
            let number = &raw mut (*process).runtime;
            AtomicU32::from_ptr(number).store(layout + 1, Ordering::SeqCst);
            if !is_it(process) {
                // It has replaced its program in between.
                AtomicU32::from_ptr(number).store(0, Ordering::SeqCst);
            }
        }
    }

    /// Takes the ring of names out.
    pub fn take_notes(&mut self) -> Result<NoteRing, LoadError> {
        let map = self.ebpf.take_map("NOTES");
        let ring = map
            .ok_or_else(|| LoadError::missing("map", "NOTES"))?
            .try_into()?;
        Ok(NoteRing(ring))
    }

    /// Forgets which code objects of programs that are over have been told.
    ///
    /// # Errors
    /// [`LoadError::Map`] if the table cannot be read or written.
    pub fn forget_codes(&self, keys: &[CodeKey]) -> Result<(), LoadError> {
        HashTable::<CodeKey, u64>::new(self.map("CODES")?)
            .and_then(|table| table.remove(keys))
            .map_err(|source| LoadError::Map {
                map: "CODES",
                source,
            })
    }
}
