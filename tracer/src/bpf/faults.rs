//! The program that follows page faults, on the tracepoints where the kernel begins to serve one.

use aya::programs::{ProgramError, RawTracePoint};

use super::load::{LoadError, Tracer};

const PROGRAM: &str = "page_fault";
/// Faults of programs, and faults of the kernel in their system calls: `read` into memory that is new brings in pages, too.
const TRACEPOINTS: [&str; 2] = ["page_fault_user", "page_fault_kernel"];

impl Tracer {
    /// Begins to watch page faults; those of the sample are sent once the trace is enabled.
    ///
    /// # Errors
    /// [`LoadError::NoPageFaults`] where the kernel has no such tracepoints.
    pub fn attach_faults(&mut self) -> Result<(), LoadError> {
        let (_, ebpf) = self.links();
        let program: Option<&mut RawTracePoint> = ebpf
            .program_mut(PROGRAM)
            .and_then(|program| program.try_into().ok());
        let program = program
            .ok_or_else(|| LoadError::Refused(format!("the object has no program {PROGRAM}")))?;
        program.load().map_err(|error| LoadError::refused(&error))?;
        for tracepoint in TRACEPOINTS {
            program.attach(tracepoint).map_err(|error| match error {
                ProgramError::SyscallError(error)
                    if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
                {
                    LoadError::NoPageFaults
                }
                other => LoadError::refused(&other),
            })?;
        }
        Ok(())
    }
}
