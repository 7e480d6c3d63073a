//! Entry points of the BPF programs, and little else: the work sits in the modules.
#![no_std]
#![no_main]
#![allow(internal_features, reason = "BPF atomics exist as an intrinsic only")]
#![feature(core_intrinsics)]

mod account;
mod alloc;
mod arch;
mod cache;
mod clock;
mod config;
mod diagnose;
mod emit;
mod faults;
mod free;
mod kernel_stack;
mod live;
mod loss;
mod maps;
mod memo;
mod memory;
mod process;
mod process_table;
mod records;
mod runtime;
mod sample;
mod sampler;
mod space;
mod stack;
mod task_storage;
mod thread;
mod trampoline;
mod unwind;
mod vma;

use core::ffi::c_void;

use aya_ebpf::macros::{btf_tracepoint, raw_tracepoint, uprobe, uretprobe};
use aya_ebpf::programs::{
    BtfTracePointContext, ProbeContext, RawTracePointContext, RetProbeContext,
};
use tracer_common::config::Config;
use tracer_common::loss::Loss;

/// A function that returns a new block was entered.
#[uprobe]
fn alloc_enter(ctx: ProbeContext) -> u32 {
    kernel_stack::keep(&ctx);
    alloc::enter(&ctx);
    0
}

/// A function that returns a new block was entered, or has returned; 1 at the entry if the return need not be seen.
/// Without aya's attribute, which would return 0 whatever is returned here.
#[unsafe(link_section = "uprobe")]
#[unsafe(no_mangle)]
extern "C" fn alloc_session(ctx: *mut c_void) -> u32 {
    let ctx = ProbeContext::new(ctx);
    kernel_stack::keep(&ctx);
    if alloc::is_entry(&ctx) {
        return if alloc::enter(&ctx) { 0 } else { 1 };
    }
    // SAFETY: user space has put `alloc_return` there, which takes the same context.
    unsafe { maps::SESSION_RETURN.tail_call(&ctx, 0) };
    0
}

/// A function that replaces a block by another was entered.
#[uprobe]
fn realloc_enter(ctx: ProbeContext) -> u32 {
    kernel_stack::keep(&ctx);
    alloc::enter_realloc(&ctx);
    0
}

/// Either of them returned; seen by the kernel's return trampoline.
#[uretprobe]
fn alloc_return(ctx: RetProbeContext) -> u32 {
    kernel_stack::keep(&ctx);
    alloc::leave_by_trampoline(&ctx);
    0
}

/// Either of them is about to execute its `ret`.
#[uprobe]
fn alloc_ret(ctx: ProbeContext) -> u32 {
    kernel_stack::keep(&ctx);
    alloc::leave_by_ret(&ctx);
    0
}

/// The stack of an allocation goes on in a language runtime.
#[uprobe]
fn alloc_runtime(ctx: ProbeContext) -> u32 {
    kernel_stack::keep(&ctx);
    alloc::walk_runtime(&ctx);
    0
}

/// That stack is known by now.
#[uprobe]
fn alloc_account(ctx: ProbeContext) -> u32 {
    kernel_stack::keep(&ctx);
    alloc::account_in_runtime(&ctx);
    0
}

/// That stack is new.
#[uprobe]
fn alloc_names(ctx: ProbeContext) -> u32 {
    kernel_stack::keep(&ctx);
    runtime::tell_current();
    0
}

/// A function that releases a block was entered.
#[uprobe]
fn free_enter(ctx: ProbeContext) -> u32 {
    kernel_stack::keep(&ctx);
    free::enter(&ctx);
    0
}

/// The dynamic loader tells that the set of libraries changes.
#[uprobe]
fn library_change(ctx: ProbeContext) -> u32 {
    kernel_stack::keep(&ctx);
    process::library_change(&ctx);
    0
}

/// Does nothing: the floor that the benchmarks compare with.
#[uprobe]
fn floor_enter(_ctx: ProbeContext) -> u32 {
    0
}

/// Does nothing, at a return.
#[uretprobe]
fn floor_return(_ctx: RetProbeContext) -> u32 {
    0
}

/// A process replaces its program.
#[raw_tracepoint(tracepoint = "sched_process_exec")]
fn process_exec(_ctx: RawTracePointContext) -> i32 {
    process::exec();
    0
}

/// A thread exits, perhaps as the last of its process.
#[raw_tracepoint(tracepoint = "sched_process_exit")]
fn process_exit(_ctx: RawTracePointContext) -> i32 {
    process::exit();
    0
}

/// A process or thread is created.
#[raw_tracepoint(tracepoint = "sched_process_fork")]
fn process_fork(ctx: RawTracePointContext) -> i32 {
    process::fork(&ctx);
    0
}

/// Tells the code that every process has mapped. Read once, before a trace of the whole host.
#[unsafe(link_section = "iter/task_vma")]
#[unsafe(no_mangle)]
fn code_areas(ctx: *const vma::Context) -> i32 {
    // SAFETY: the context that the kernel gave.
    unsafe { vma::write_code(ctx) };
    0
}

/// A system call begins, in any process.
#[raw_tracepoint(tracepoint = "sys_enter")]
fn space_enter(ctx: RawTracePointContext) -> i32 {
    space::enter(&ctx);
    0
}

/// A system call ends, in any process.
#[btf_tracepoint(function = "sys_exit")]
fn space_leave(ctx: BtfTracePointContext) -> i32 {
    space::leave(&ctx);
    0
}

/// The stack of a system call goes on in a language runtime.
#[btf_tracepoint(function = "sys_exit")]
fn space_runtime(ctx: BtfTracePointContext) -> i32 {
    space::walk_runtime(&ctx);
    0
}

/// That stack is known by now.
#[btf_tracepoint(function = "sys_exit")]
fn space_account(ctx: BtfTracePointContext) -> i32 {
    space::tell_in_runtime(&ctx);
    0
}

/// That stack is new.
#[btf_tracepoint(function = "sys_exit")]
fn space_names(_ctx: BtfTracePointContext) -> i32 {
    runtime::tell_current();
    0
}

/// The stack of a page fault goes on in a language runtime.
#[raw_tracepoint(tracepoint = "page_fault_user")]
fn fault_runtime(ctx: RawTracePointContext) -> i32 {
    faults::walk_runtime(&ctx);
    0
}

/// That stack is known by now.
#[raw_tracepoint(tracepoint = "page_fault_user")]
fn fault_account(ctx: RawTracePointContext) -> i32 {
    faults::tell_in_runtime(&ctx);
    0
}

/// That stack is new.
#[raw_tracepoint(tracepoint = "page_fault_user")]
fn fault_names(_ctx: RawTracePointContext) -> i32 {
    runtime::tell_current();
    0
}

/// A page fault begins, of a program or of the kernel in a system call of it, in any process.
#[raw_tracepoint(tracepoint = "page_fault_user")]
fn page_fault(ctx: RawTracePointContext) -> i32 {
    faults::begin(&ctx);
    0
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
