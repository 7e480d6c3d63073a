//! Registers of the threads of a process, as the kernel keeps them while the threads are in it.

use zerocopy::{FromBytes, IntoBytes};

use crate::record::{self, Record};

/// Registers of a thread that may hold a pointer of the program: `r15` to `di` of `struct pt_regs`
/// (arch/x86/include/asm/ptrace.h).
pub const GENERAL: usize = 15;
/// Words of `struct pt_regs`.
const ALL: usize = 21;
/// Place of the stack pointer among them.
const STACK_POINTER: usize = 19;

/// What the program is told: where things are in the running kernel's structures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct RegisterConfig {
    /// `task_struct.pid`.
    pub task_pid: u32,
    /// `task_struct.thread.fsbase`.
    pub task_thread_pointer: u32,
}

/// The registers with which a thread entered the kernel the last time. While it runs, they are those of its last
/// interrupt or system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct ThreadRegisters {
    /// Its id in the initial PID namespace.
    pub tid: u32,
    /// Zero.
    pub reserved: u32,
    /// The base of `fs`, where the thread's variables are.
    pub thread_pointer: u64,
    /// `struct pt_regs`.
    pub words: [u64; ALL],
}

const _: () = assert!(size_of::<ThreadRegisters>() == 184);
const _: () = assert!(size_of::<RegisterConfig>() == 8);

impl ThreadRegisters {
    /// Bytes of the registers.
    pub const WORDS_SIZE: usize = ALL * 8;

    /// The stack pointer.
    pub const fn stack_pointer(&self) -> u64 {
        self.words[STACK_POINTER]
    }

    /// The registers that may hold a pointer of the program.
    pub fn general(&self) -> &[u64] {
        &self.words[..GENERAL]
    }
}

impl Record for ThreadRegisters {
    fn decode(bytes: &[u8]) -> Option<Self> {
        record::read(bytes, |_| true)
    }
}
