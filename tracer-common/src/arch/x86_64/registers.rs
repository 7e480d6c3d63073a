//! Registers that a walk needs, those that the kernel saves, and what an address of user space can be.

/// The registers that a walk needs, as they are in the frame that it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Registers {
    /// Instruction pointer.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer, `rbp`.
    pub bp: u64,
}

impl Registers {
    /// Those of a frame that stands behind a call.
    #[inline(always)]
    pub const fn behind_call(ip: u64, sp: u64, bp: u64) -> Self {
        Self { ip, sp, bp }
    }
}

/// Bits of an address: what user space has unless it asks for more
/// (Documentation/arch/x86/x86_64/5level-paging.rst).
pub const ADDRESS_BITS: u32 = 47;

/// First address that user space cannot have with four-level page tables; five-level ones are used
/// only by programs that ask for it by an address hint (Documentation/arch/x86/x86_64/5level-paging.rst).
pub const USER_END: u64 = 1 << ADDRESS_BITS;
/// No code lies in the first page (`vm.mmap_min_addr`).
const USER_START: u64 = 1 << 12;

/// Whether `addr` can be an address of user-space code.
#[inline(always)]
pub const fn is_code_address(addr: u64) -> bool {
    addr >= USER_START && addr < USER_END
}

/// Registers of a thread that may hold a pointer of the program: `r15` to `di` of `struct pt_regs`
/// (arch/x86/include/asm/ptrace.h).
pub const GENERAL: usize = 15;
/// Words of `struct pt_regs`.
pub const SAVED: usize = 21;
/// Place of the stack pointer among them.
pub const STACK_POINTER: usize = 19;

const _: () = assert!(size_of::<Registers>() == 24);
