//! Probes as plain data: where they are placed, which program runs there, and how they are attached.

use super::sys::LinkKind;

/// How probes are attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// One link for all places of a file (kernel 6.6; its PID filter counts all threads from 6.10 on).
    UprobeMulti,
    /// The same, but entry and return of an allocation are one *session* (kernel 6.13): the return of a call that is
    /// not sampled costs nothing. In a trace that records every call it is as the former.
    UprobeSession,
    /// One perf event for each place; each takes about 100 ms to close.
    PerfEvents,
}

impl Method {
    /// The method for a trace that samples, or does not.
    pub(super) fn for_trace(self, is_sampled: bool) -> Self {
        match self {
            Self::UprobeSession if !is_sampled => Self::UprobeMulti,
            other => other,
        }
    }
}

/// The program behind a probe.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ProbeProgram {
    /// Releases. Attached first: a block that is seen to be allocated must be seen to be released.
    FreeEnter,
    /// Returns, through the kernel's trampoline. Attached before the entries, for the same reason.
    AllocReturn,
    /// `ret` instructions of functions that may throw.
    AllocRet,
    /// Entries of functions that replace a block, and so release one.
    ReallocEnter,
    /// Entries and returns of functions that return a new block, as one.
    AllocSession,
    /// Entries of functions that return a new block.
    AllocEnter,
    /// The dynamic loader's hook for debuggers.
    LibraryChange,
    /// An empty program at an entry, for benchmarks.
    FloorEnter,
    /// An empty program at a return, for benchmarks.
    FloorReturn,
    /// Goes on with the stack of an allocation that is in a language runtime. Runs at no place of its own.
    AllocRuntime,
    /// Accounts for it. Runs at no place of its own.
    AllocAccount,
    /// Tells the names of the code on such a stack. Runs at no place of its own.
    AllocNames,
}

impl ProbeProgram {
    /// The programs that others run on in, by their index in the array of programs.
    pub(super) const OF_RUNTIMES: [Self; 3] =
        [Self::AllocRuntime, Self::AllocNames, Self::AllocAccount];

    /// All programs that are attached, in the order in which they are.
    pub const ALL: [Self; 9] = [
        Self::FreeEnter,
        Self::AllocReturn,
        Self::AllocRet,
        Self::ReallocEnter,
        Self::AllocSession,
        Self::AllocEnter,
        Self::LibraryChange,
        Self::FloorEnter,
        Self::FloorReturn,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::FreeEnter => "free_enter",
            Self::AllocReturn => "alloc_return",
            Self::AllocRet => "alloc_ret",
            Self::AllocSession => "alloc_session",
            Self::AllocEnter => "alloc_enter",
            Self::ReallocEnter => "realloc_enter",
            Self::LibraryChange => "library_change",
            Self::FloorEnter => "floor_enter",
            Self::FloorReturn => "floor_return",
            Self::AllocRuntime => "alloc_runtime",
            Self::AllocAccount => "alloc_account",
            Self::AllocNames => "alloc_names",
        }
    }

    pub(super) const fn link_kind(self) -> LinkKind {
        match self {
            Self::AllocSession => LinkKind::Session,
            _ => LinkKind::Multi,
        }
    }

    pub(super) const fn at_return(self) -> bool {
        matches!(self, Self::AllocReturn | Self::FloorReturn)
    }
}

/// One probe to place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Probe {
    /// What runs there.
    pub program: ProbeProgram,
    /// Where: offset in the file.
    pub offset: u64,
    /// What the program is told about the place.
    pub cookie: u64,
}

/// The programs that a method uses, in the order in which they are attached.
pub(super) fn programs_for(method: Method) -> impl Iterator<Item = ProbeProgram> {
    let has_sessions = method == Method::UprobeSession;
    let wanted =
        move |program: &ProbeProgram| has_sessions || *program != ProbeProgram::AllocSession;
    ProbeProgram::ALL.into_iter().filter(wanted)
}

/// Makes one session of the entry and the return of an allocation; other probes stay as they are.
pub(super) fn sessions(probes: &[Probe]) -> Vec<Probe> {
    let has = |program: ProbeProgram, offset: u64| {
        probes
            .iter()
            .any(|probe| probe.program == program && probe.offset == offset)
    };
    let is_session = |offset: u64| {
        has(ProbeProgram::AllocEnter, offset) && has(ProbeProgram::AllocReturn, offset)
    };
    let mut joined = probes.to_vec();
    joined.retain(|probe| probe.program != ProbeProgram::AllocReturn || !is_session(probe.offset));
    for probe in &mut joined {
        if probe.program == ProbeProgram::AllocEnter && is_session(probe.offset) {
            probe.program = ProbeProgram::AllocSession;
        }
    }
    joined
}

#[cfg(test)]
mod tests {
    use aya_obj::Object;

    use super::*;
    use crate::bpf::OBJECT;

    /// Without a tail call a preemptive kernel gives a probe program a stack that threads share, and crashes
    /// (tracer-ebpf/src/kernel_stack.rs). The floor programs have nothing on their stacks.
    #[test]
    fn every_probe_program_keeps_the_kernel_stack() {
        const CALL: u8 = 0x85;
        const TAIL_CALL: i32 = 12;
        let object = Object::parse(&OBJECT).expect("the committed object is whole");
        for program in ProbeProgram::ALL {
            let found = &object.programs[program.name()];
            let code = &object.functions[&found.function_key()].instructions;
            let has_tail_call = code.iter().any(|instruction| {
                instruction.code == CALL
                    && instruction.src_reg() == 0
                    && instruction.imm == TAIL_CALL
            });
            let is_floor = matches!(
                program,
                ProbeProgram::FloorEnter | ProbeProgram::FloorReturn
            );
            assert_eq!(has_tail_call, !is_floor, "{}", program.name());
        }
    }

    #[test]
    fn entry_and_return_of_an_allocation_become_one_session() {
        use ProbeProgram::{
            AllocEnter, AllocRet, AllocReturn, AllocSession, FreeEnter, ReallocEnter,
        };
        let probe = |program, offset, cookie| Probe {
            program,
            offset,
            cookie,
        };
        let probes = [
            probe(AllocEnter, 16, 1),
            probe(AllocReturn, 16, 2),
            probe(ReallocEnter, 32, 3),
            probe(AllocReturn, 32, 4),
            probe(AllocEnter, 48, 5),
            probe(AllocRet, 60, 6),
            probe(FreeEnter, 64, 7),
        ];
        let joined = [
            probe(AllocSession, 16, 1),
            probe(ReallocEnter, 32, 3),
            probe(AllocReturn, 32, 4),
            probe(AllocEnter, 48, 5),
            probe(AllocRet, 60, 6),
            probe(FreeEnter, 64, 7),
        ];
        assert_eq!(sessions(&probes), joined);
    }

    #[test]
    fn only_sampling_traces_use_sessions() {
        use Method::{PerfEvents, UprobeMulti, UprobeSession};
        assert_eq!(UprobeSession.for_trace(true), UprobeSession);
        assert_eq!(UprobeSession.for_trace(false), UprobeMulti);
        assert_eq!(
            [UprobeMulti, PerfEvents].map(|method| method.for_trace(true)),
            [UprobeMulti, PerfEvents]
        );
        assert!(programs_for(UprobeMulti).all(|program| program != ProbeProgram::AllocSession));
        assert_eq!(programs_for(UprobeSession).count(), ProbeProgram::ALL.len());
    }
}
