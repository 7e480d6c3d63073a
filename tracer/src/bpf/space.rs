//! The programs that follow address spaces, on the tracepoints of all system calls.

use aya::Btf;
use aya::programs::{BtfTracePoint, ProgramError, RawTracePoint};
use tracer_common::faults::SpaceRecord;

use super::load::{Events, LoadError, Tracer};

impl Tracer {
    /// Begins to watch the system calls that change address spaces; they are sent once the trace is enabled.
    pub fn attach_space(&mut self) -> Result<Events<SpaceRecord>, LoadError> {
        // Returns first, so that no call is seen to begin whose end is missed.
        self.attach_returns()?;
        self.attach_calls()?;
        let (_, ebpf) = self.links();
        Events::take_from(ebpf, "SPACE")
    }

    fn attach_returns(&mut self) -> Result<(), LoadError> {
        let (_, ebpf) = self.links();
        let program = ebpf.program_mut("space_leave");
        let program: &mut BtfTracePoint = program
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| missing("space_leave"))?;
        let btf = Btf::from_sys_fs().map_err(|error| LoadError::refused(&error))?;
        match program.load("sys_exit", &btf) {
            // The kernel's types have no such tracepoint.
            Err(ProgramError::Btf(_)) => return Err(LoadError::NoSystemCalls),
            loaded => loaded.map_err(|error| LoadError::refused(&error))?,
        }
        program.attach().map_err(not_attached).map(drop)
    }

    fn attach_calls(&mut self) -> Result<(), LoadError> {
        let (_, ebpf) = self.links();
        let program = ebpf.program_mut("space_enter");
        let program: &mut RawTracePoint = program
            .and_then(|program| program.try_into().ok())
            .ok_or_else(|| missing("space_enter"))?;
        program.load().map_err(|error| LoadError::refused(&error))?;
        program.attach("sys_enter").map_err(not_attached).map(drop)
    }
}

fn missing(program: &str) -> LoadError {
    LoadError::Refused(format!("the object has no program {program}"))
}

fn not_attached(error: ProgramError) -> LoadError {
    match error {
        ProgramError::SyscallError(error)
            if error.io_error.raw_os_error() == Some(libc::ENOENT) =>
        {
            LoadError::NoSystemCalls
        }
        other => LoadError::refused(&other),
    }
}
