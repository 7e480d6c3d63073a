//! The program that follows page faults, on the tracepoints where the kernel begins to serve one.

use aya::programs::RawTracePoint;

use super::error::LoadError;
use super::load::Tracer;
use super::object;
use super::runtimes::{self, FAULT_RUNTIME};

/// Faults of programs, and faults of the kernel in their system calls: `read` into memory that is new brings in pages,
/// too.
const TRACEPOINTS: [&str; 2] = ["page_fault_user", "page_fault_kernel"];

impl Tracer {
    /// Begins to watch page faults; those of the sample are sent once the trace is enabled.
    ///
    /// # Errors
    /// [`LoadError::NoPageFaults`] where the kernel has no such tracepoints.
    pub fn attach_faults(&mut self) -> Result<(), LoadError> {
        let runtime = ["fault_runtime", "fault_names", "fault_account"];
        for name in runtime {
            object::program::<RawTracePoint>(&mut self.ebpf, name)?.load()?;
        }
        runtimes::put_programs(&self.ebpf, FAULT_RUNTIME, runtime)?;
        object::place(
            &mut self.ebpf,
            "page_fault",
            &TRACEPOINTS,
            LoadError::NoPageFaults,
        )
    }
}
