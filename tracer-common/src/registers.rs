//! Registers of the threads of a process, as the kernel keeps them while the threads are in it.

use zerocopy::{FromBytes, IntoBytes};

use crate::arch::native::{GENERAL, SAVED, STACK_POINTER};
use crate::record::{self, Record};

/// What the program is told: where things are in the running kernel's structures.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct RegisterConfig {
    /// `task_struct.pid`.
    pub task_pid: u32,
    /// The thread pointer: `task_struct.thread.fsbase` on x86-64, `task_struct.thread.uw.tp_value` on aarch64.
    pub task_thread_pointer: u32,
}

/// The registers with which a thread entered the kernel the last time. While it runs, they are those of its last
/// interrupt or system call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, FromBytes, IntoBytes)]
#[repr(C)]
pub struct ThreadRegisters {
    /// Its id in the initial PID namespace.
    pub tid: u32,
    /// Zero.
    pub reserved: u32,
    /// Where the thread's variables are: the base of `fs` on x86-64, `tpidr_el0` on aarch64.
    pub thread_pointer: u64,
    /// The architecture's `struct pt_regs`, as far as it holds registers.
    pub words: [u64; SAVED],
}

const _: () = assert!(size_of::<ThreadRegisters>() == 16 + SAVED * 8);
const _: () = assert!(size_of::<RegisterConfig>() == 8);

impl Default for ThreadRegisters {
    fn default() -> Self {
        Self {
            tid: 0,
            reserved: 0,
            thread_pointer: 0,
            words: [0; SAVED],
        }
    }
}

impl ThreadRegisters {
    /// Bytes of the registers.
    pub const WORDS_SIZE: usize = SAVED * 8;

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
