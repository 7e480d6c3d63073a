//! The programs that follow address spaces, on the tracepoints of all system calls.

use aya::Btf;
use aya::programs::{BtfTracePoint, ProgramError};
use tracer_common::faults::SpaceRecord;

use super::error::LoadError;
use super::events::Events;
use super::load::Tracer;
use super::object;
use super::runtimes::{self, SPACE_RUNTIME};

impl Tracer {
    /// Begins to watch the system calls that change address spaces; they are sent once the trace is enabled.
    ///
    /// # Errors
    /// [`LoadError::NoSystemCalls`] where the kernel has no such tracepoints.
    pub fn attach_space(&mut self) -> Result<Events<SpaceRecord>, LoadError> {
        // Returns first, so that no call is seen to begin whose end is missed.
        self.attach_returns()?;
        object::place(
            &mut self.ebpf,
            "space_enter",
            &["sys_enter"],
            LoadError::NoSystemCalls,
        )?;
        Events::take_from(&mut self.ebpf, "SPACE")
    }

    fn attach_returns(&mut self) -> Result<(), LoadError> {
        let types = Btf::from_sys_fs()?;
        let runtime = ["space_runtime", "space_names", "space_account"];
        let programs = runtime.into_iter().chain(["space_leave"]);
        let mut attached = Ok(());
        for name in programs {
            let program: &mut BtfTracePoint = object::program(&mut self.ebpf, name)?;
            attached = attached.and_then(|()| program.load("sys_exit", &types));
        }
        if attached.is_ok() {
            // Stacks in language runtimes are gone on with before the first one comes.
            runtimes::put_programs(&self.ebpf, SPACE_RUNTIME, runtime)?;
        }
        let program: &mut BtfTracePoint = object::program(&mut self.ebpf, "space_leave")?;
        let attached = attached.and_then(|()| program.attach());
        match attached {
            Ok(_) => Ok(()),
            // The kernel's types have no such tracepoint.
            Err(ProgramError::Btf(_)) => Err(LoadError::NoSystemCalls),
            Err(error) if object::is_absent(&error) => Err(LoadError::NoSystemCalls),
            Err(error) => Err(error.into()),
        }
    }
}
