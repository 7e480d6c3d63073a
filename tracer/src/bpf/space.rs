//! The programs that follow address spaces, on the tracepoints of all system calls.

use aya::programs::{ProgramError, RawTracePoint};
use tracer_common::faults::SpaceRecord;

use super::events::Events;
use super::load::{LoadError, Tracer};

/// Programs and their tracepoints: returns first, so that no call is seen to begin whose end is missed.
const PROGRAMS: [(&str, &str); 2] = [("space_leave", "sys_exit"), ("space_enter", "sys_enter")];

impl Tracer {
    /// Begins to watch the system calls that change address spaces; they are sent once the trace is enabled.
    pub fn attach_space(&mut self) -> Result<Events<SpaceRecord>, LoadError> {
        let (_, ebpf) = self.links();
        for (name, tracepoint) in PROGRAMS {
            let program: Option<&mut RawTracePoint> = ebpf
                .program_mut(name)
                .and_then(|program| program.try_into().ok());
            let Some(program) = program else {
                return Err(LoadError::Refused(format!(
                    "the object has no program {name}"
                )));
            };
            program.load().map_err(|error| LoadError::refused(&error))?;
            program.attach(tracepoint).map_err(|error| match error {
                ProgramError::SyscallError(error)
                    if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
                {
                    LoadError::NoSystemCalls
                }
                other => LoadError::refused(&other),
            })?;
        }
        Events::take_from(ebpf, "SPACE")
    }
}
