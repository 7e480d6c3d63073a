//! Entry point of the program that tells the registers of a process's threads: an object of its own, read now and then.
#![no_std]
#![no_main]
#![allow(internal_features, reason = "BPF atomics exist as an intrinsic only")]
#![feature(core_intrinsics)]

mod config;
#[allow(
    dead_code,
    reason = "shared with the other objects, which do more with memory"
)]
mod memory;

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_probe_read_kernel, bpf_seq_write, bpf_task_pt_regs};
use tracer_common::registers::{RegisterConfig as Config, ThreadRegisters};

use crate::config::config;
use crate::memory::{read_kernel_u32, read_kernel_u64};

/// `struct bpf_iter__task` (kernel/bpf/task_iter.c).
#[repr(C)]
struct Context {
    /// `struct bpf_iter_meta`, whose first member is the file that is written to.
    meta: *const *mut c_void,
    task: *mut c_void,
}

/// Writes one record for a thread. The kernel goes over the threads; nothing of them is stopped or changed.
#[unsafe(link_section = "iter/task")]
#[unsafe(no_mangle)]
fn thread_registers(ctx: *const Context) -> i32 {
    // SAFETY: fields of the context that the kernel gave.
    let (meta, task) = unsafe { ((*ctx).meta, (*ctx).task) };
    if task.is_null() {
        return 0; // the end of the iteration
    }
    let mut record = ThreadRegisters {
        tid: read_kernel_u32(task as u64 + config!(task_pid) as u64),
        reserved: 0,
        thread_pointer: read_kernel_u64(task as u64 + config!(task_thread_pointer) as u64),
        words: [0; ThreadRegisters::WORDS_SIZE / 8],
    };
    // SAFETY: the registers lie at the end of the thread's kernel stack; the helper checks the source, and the
    // destination is as large as told. The record is ours; the file is the iterator's. A full buffer makes the kernel
    // call again with a larger one (kernel/bpf/bpf_iter.c, bpf_seq_read).
    unsafe {
        let registers = bpf_task_pt_regs(task.cast());
        bpf_probe_read_kernel(
            (&raw mut record.words).cast(),
            ThreadRegisters::WORDS_SIZE as u32,
            registers as *const c_void,
        );
        bpf_seq_write(
            (*meta).cast(),
            (&raw mut record).cast::<c_void>(),
            size_of::<ThreadRegisters>() as u32,
        )
    };
    0
}

#[panic_handler]
fn panic(_info: &core::panic::PanicInfo) -> ! {
    loop {}
}

#[unsafe(link_section = "license")]
#[unsafe(no_mangle)]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";
