//! x86-64: arguments in registers, the return address on the stack.

use core::ffi::c_void;
use core::ptr::read_volatile;

use aya_ebpf::bindings::pt_regs;
use aya_ebpf::helpers::generated::bpf_probe_read_kernel;
use tracer_common::arch::x86_64::nesting as nesting_by_stack;
use tracer_common::config::Process;
use tracer_common::pairing::{Nesting, Pending};
use tracer_common::stack::Registers;

use crate::memory::read_user;
use crate::records::Walk;
use crate::stack;
use crate::trampoline::trampoline;

/// How far below the stack pointer behind a return the stack pointer at the function's entry was: the return address
/// takes that much.
pub const RETURN_ADDRESS_BYTES: u64 = 8;

/// Code segments of programs end in these bits, the kernel's does not.
const USER_MODE: u64 = 3;

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
            read_volatile(&raw const (*regs).rdi),
            read_volatile(&raw const (*regs).rsi),
            read_volatile(&raw const (*regs).rdx),
            read_volatile(&raw const (*regs).rcx),
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
    unsafe { (*regs).rip }
}

/// The stack pointer. At the entry of a function that is where the return address lies.
///
/// # Safety
///
/// As for [`instruction_pointer`].
#[inline(always)]
pub unsafe fn stack_pointer(regs: *const pt_regs) -> u64 {
    // SAFETY: as the caller promises.
    unsafe { (*regs).rsp }
}

/// What a function returns.
///
/// # Safety
///
/// As for [`instruction_pointer`].
#[inline(always)]
pub unsafe fn result(regs: *const pt_regs) -> u64 {
    // SAFETY: as the caller promises.
    unsafe { (*regs).rax }
}

/// The registers that a walk begins with.
///
/// # Safety
///
/// As for [`instruction_pointer`].
#[inline(always)]
pub unsafe fn registers(regs: *const pt_regs) -> Registers {
    // SAFETY: as the caller promises.
    unsafe { Registers::behind_call((*regs).rip, (*regs).rsp, (*regs).rbp) }
}

/// The registers behind the `ret` instruction that is about to run and returns to `ip`.
///
/// # Safety
///
/// As for [`instruction_pointer`].
#[inline(always)]
pub unsafe fn behind_ret(regs: *const pt_regs, ip: u64) -> Registers {
    // SAFETY: as the caller promises.
    unsafe {
        Registers::behind_call(
            ip,
            (*regs).rsp.wrapping_add(RETURN_ADDRESS_BYTES),
            (*regs).rbp,
        )
    }
}

/// Where a function that has just been entered returns to; 0 if that cannot be read.
///
/// # Safety
///
/// As for [`instruction_pointer`].
#[inline(always)]
pub unsafe fn return_address(regs: *const pt_regs) -> u64 {
    // SAFETY: as the caller promises.
    read_user(unsafe { (*regs).rsp }).unwrap_or(0)
}

/// How a call that has just been entered stands to the open one of its thread.
///
/// # Safety
///
/// As for [`instruction_pointer`]; `process` must have been checked for null.
#[inline(always)]
pub unsafe fn nesting(open: &Pending, regs: *const pt_regs, process: *mut Process) -> Nesting {
    // SAFETY: as the caller promises.
    let sp = unsafe { (*regs).rsp };
    nesting_by_stack(open, sp, || trampoline(process), read_user)
}

/// The program's registers among those that the kernel has saved; `None` where it has none.
#[inline(always)]
pub fn user_registers(address: u64) -> Option<Registers> {
    let mut regs = core::mem::MaybeUninit::<pt_regs>::uninit();
    // SAFETY: the destination has the length; the helper checks the source, and writes all of it or says so.
    let status = unsafe {
        bpf_probe_read_kernel(
            regs.as_mut_ptr().cast::<c_void>(),
            size_of::<pt_regs>() as u32,
            address as *const c_void,
        )
    };
    if status != 0 {
        return None;
    }
    // SAFETY: the helper has written all of it.
    let regs = unsafe { regs.assume_init() };
    // SAFETY: a copy.
    (regs.cs & USER_MODE == USER_MODE).then_some(unsafe { registers(&raw const regs) })
}

/// The number of a system call that is about to end.
#[inline(always)]
pub fn system_call(regs: *const pt_regs) -> u64 {
    // SAFETY: the registers that the tracepoint gave, as the verifier knows; volatile, so that each call reads.
    unsafe { read_volatile(&raw const (*regs).orig_rax) }
}

/// Its arguments: the kernel changes no register but `rax`, `rcx` and `r11`.
#[inline(always)]
pub fn system_call_arguments(regs: *const pt_regs) -> [u64; 6] {
    // SAFETY: as for the number.
    unsafe {
        [
            (*regs).rdi,
            (*regs).rsi,
            (*regs).rdx,
            (*regs).r10,
            (*regs).r8,
            (*regs).r9,
        ]
    }
}

/// Captures the stack of a system call; as [`stack::capture`].
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
    unsafe { stack::capture(walk, registers(regs), process, slot) }
}
