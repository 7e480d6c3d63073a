//! Registers that a walk needs, those that the kernel saves, and what an address of user space can be.

/// The registers that a walk needs, as they are in the frame that it stands on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Registers {
    /// Instruction pointer, `pc`.
    pub ip: u64,
    /// Stack pointer.
    pub sp: u64,
    /// Frame pointer, `x29`.
    pub bp: u64,
    /// Link register, `x30`: the return address of a function that has not saved it. Behind a call it holds nothing
    /// that a walk may use, and is 0.
    pub lr: u64,
}

impl Registers {
    /// Those of a frame that stands behind a call.
    #[inline(always)]
    pub const fn behind_call(ip: u64, sp: u64, bp: u64) -> Self {
        Self { ip, sp, bp, lr: 0 }
    }
}

/// Bits of an address: what user space has unless it asks for more (Documentation/arch/arm64/memory.rst, with pages of
/// 4 KiB).
pub const ADDRESS_BITS: u32 = 48;

/// First address that user space cannot have by default.
pub const USER_END: u64 = 1 << ADDRESS_BITS;
/// No code lies in the first page (`vm.mmap_min_addr`).
const USER_START: u64 = 1 << 12;

/// Whether `addr` can be an address of user-space code.
#[inline(always)]
pub const fn is_code_address(addr: u64) -> bool {
    addr >= USER_START && addr < USER_END
}

/// Bit 55 of an address tells user space from the kernel, with or without an authentication code.
const KERNEL: u64 = 1 << 55;

/// A return address without its pointer authentication code, which takes the bits above an address but for bit 55
/// (Documentation/arch/arm64/pointer-authentication.rst). What is no address of user space stays as it is.
///
/// It does not matter whether the address was signed (`RA_SIGN_STATE` of AADWARF64): one that was not has zeros there.
#[inline(always)]
pub const fn unsigned(addr: u64) -> u64 {
    if addr & KERNEL == 0 {
        addr & (USER_END - 1)
    } else {
        addr
    }
}

/// Registers of a thread that may hold a pointer of the program: `x0` to `x30` of `struct user_pt_regs`
/// (arch/arm64/include/uapi/asm/ptrace.h), with which `struct pt_regs` begins.
pub const GENERAL: usize = 31;
/// Words of `struct user_pt_regs`: behind those `sp`, `pc` and `pstate`.
pub const SAVED: usize = 34;
/// Place of the stack pointer among them.
pub const STACK_POINTER: usize = 31;

const _: () = assert!(size_of::<Registers>() == 32);
