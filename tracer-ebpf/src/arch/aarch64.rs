//! aarch64: arguments in registers, the return address in the link register, `x30`.

use core::ffi::c_void;
use core::ptr::read_volatile;

use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_common::arch::aarch64::{nesting as nesting_by_link, unsigned};
use tracer_common::config::Process;
use tracer_common::pairing::{Nesting, Pending};
use tracer_common::stack::Registers;

use crate::records::Walk;
use crate::stack::{self, Innermost};
use crate::trampoline::trampoline;

/// How far below the stack pointer behind a return the stack pointer at the function's entry was: a return takes
/// nothing from the stack.
pub const RETURN_ADDRESS_BYTES: u64 = 0;

/// Frame pointer and link register among the general ones.
const FRAME_POINTER: usize = 29;
const LINK: usize = 30;

/// The exception level of `pstate`, which is 0 for programs (`PSR_MODE_MASK`, `PSR_MODE_EL0t`;
/// arch/arm64/include/uapi/asm/ptrace.h).
const MODE: u64 = 0xf;

/// The first four integer arguments of a call.
///
/// # Safety
///
/// `regs` must be the context of the running program.
#[inline(always)]
pub unsafe fn call_arguments(regs: *const pt_regs) -> (u64, u64, u64, u64) {
    // SAFETY: fields of the context, as the caller promises.
    unsafe {
        (
            read_volatile(&raw const (*regs).regs[0]),
            read_volatile(&raw const (*regs).regs[1]),
            read_volatile(&raw const (*regs).regs[2]),
            read_volatile(&raw const (*regs).regs[3]),
        )
    }
}

/// The instruction pointer.
///
/// # Safety
///
/// `regs` must be the context of the running program, or a copy of registers, as for all functions here.
#[inline(always)]
pub unsafe fn instruction_pointer(regs: *const pt_regs) -> u64 {
    // SAFETY: as the caller promises.
    unsafe { (*regs).pc }
}

/// The stack pointer.
///
/// # Safety
///
/// As for [`instruction_pointer`].
#[inline(always)]
pub unsafe fn stack_pointer(regs: *const pt_regs) -> u64 {
    // SAFETY: as the caller promises.
    unsafe { (*regs).sp }
}

/// What a function returns.
///
/// # Safety
///
/// As for [`instruction_pointer`].
#[inline(always)]
pub unsafe fn result(regs: *const pt_regs) -> u64 {
    // SAFETY: as the caller promises.
    unsafe { (*regs).regs[0] }
}

/// The registers that a walk begins with behind a call.
///
/// # Safety
///
/// As for [`instruction_pointer`].
#[inline(always)]
pub unsafe fn registers(regs: *const pt_regs) -> Registers {
    // SAFETY: as the caller promises.
    unsafe { Registers::behind_call((*regs).pc, (*regs).sp, (*regs).regs[FRAME_POINTER]) }
}

/// The registers behind the `ret` instruction that is about to run and returns to `ip`.
///
/// # Safety
///
/// As for [`instruction_pointer`].
#[inline(always)]
pub unsafe fn behind_ret(regs: *const pt_regs, ip: u64) -> Registers {
    // SAFETY: as the caller promises.
    unsafe { Registers::behind_call(ip, (*regs).sp, (*regs).regs[FRAME_POINTER]) }
}

/// Where a function that has just been entered returns to.
///
/// # Safety
///
/// As for [`instruction_pointer`].
#[inline(always)]
pub unsafe fn return_address(regs: *const pt_regs) -> u64 {
    // SAFETY: as the caller promises.
    unsigned(unsafe { (*regs).regs[LINK] })
}

/// How a call that has just been entered stands to the open one of its thread.
///
/// # Safety
///
/// As for [`instruction_pointer`]; `process` must have been checked for null.
#[inline(always)]
pub unsafe fn nesting(open: &Pending, regs: *const pt_regs, process: *mut Process) -> Nesting {
    // SAFETY: as the caller promises.
    let (sp, link) = unsafe { (stack_pointer(regs), return_address(regs)) };
    nesting_by_link(open, sp, link, || trampoline(process))
}

/// The program's registers among those that the kernel has saved; `None` where it has none.
#[inline(always)]
pub fn user_registers(address: u64) -> Option<Registers> {
    // Of all, the last five: x29, x30, sp, pc, pstate. All would not fit on a program's stack.
    let mut words = [0u64; 5];
    let last = address.wrapping_add((FRAME_POINTER * 8) as u64);
    // SAFETY: the destination has the length; the helper checks the source, and writes all of it or says so.
    let status = unsafe {
        bpf_probe_read_kernel(
            words.as_mut_ptr().cast::<c_void>(),
            size_of_val(&words) as u32,
            last as *const c_void,
        )
    };
    let [bp, lr, sp, ip, state] = words;
    (status == 0 && state & MODE == 0).then_some(Registers { ip, sp, bp, lr })
}

/// The beginning of the kernel's `struct pt_regs` (arch/arm64/include/asm/ptrace.h).
#[repr(C)]
struct KernelRegisters {
    user: pt_regs,
    /// The first argument of the system call, whose result takes its place.
    orig_x0: u64,
    /// The number of the system call.
    number: i32,
}

/// The number of a system call that is about to end.
#[inline(always)]
pub fn system_call(regs: *const pt_regs) -> u64 {
    let regs = regs.cast::<KernelRegisters>();
    // SAFETY: the registers that the tracepoint gave, as the verifier knows; volatile, so that each call reads.
    unsafe { read_volatile(&raw const (*regs).number) as u32 as u64 }
}

/// Its arguments: the kernel changes no register but `x0`.
#[inline(always)]
pub fn system_call_arguments(regs: *const pt_regs) -> [u64; 6] {
    let regs = regs.cast::<KernelRegisters>();
    // SAFETY: as for the number.
    unsafe {
        [
            (*regs).orig_x0,
            (*regs).user.regs[1],
            (*regs).user.regs[2],
            (*regs).user.regs[3],
            (*regs).user.regs[4],
            (*regs).user.regs[5],
        ]
    }
}

/// Captures the stack of a system call; as [`stack::capture`]. The function that makes the call need not have saved its
/// return address.
///
/// # Safety
///
/// As for [`stack::capture`]; `regs` must be what the tracepoint gave.
#[inline(always)]
pub unsafe fn capture_system_call(
    walk: *mut Walk,
    regs: *const pt_regs,
    process: *mut Process,
    slot: u32,
) -> u32 {
    // SAFETY: as the caller promises.
    unsafe {
        let innermost = Innermost {
            registers: Registers {
                lr: (*regs).regs[LINK],
                ..registers(regs)
            },
            on_instruction: 1,
        };
        stack::capture_from(walk, innermost, process, slot)
    }
}
