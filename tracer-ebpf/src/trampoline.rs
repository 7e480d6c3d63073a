//! The kernel's return trampoline: where it lies in a process, and which return address it stands in for.

use core::ffi::c_void;

use aya_ebpf::helpers::generated::{bpf_get_current_task, bpf_loop};
use tracer_common::config::Process;

use crate::arch::RETURN_ADDRESS_BYTES;
use crate::config::config;
use crate::memory::read_kernel_u64;

/// Address of the kernel's return trampoline in the current address space; 0 where the kernel's types do not tell.
///
/// It is the start of the page that the kernel maps for probes (kernel/events/uprobes.c, uprobe_get_trampoline_vaddr),
/// which exists once a return probe has been set up.
#[inline(always)]
pub fn trampoline(process: *mut Process) -> u64 {
    // SAFETY: checked for null by the caller.
    let known = unsafe { (*process).trampoline };
    if known != 0 {
        return known;
    }
    let found = find_trampoline();
    // SAFETY: as above; all threads write the same.
    unsafe { (*process).trampoline = found };
    found
}

/// The same, from the kernel's structures. Rarely called, and checked by the verifier apart from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn find_trampoline() -> u64 {
    if config!(offsets.task_mm) == 0 || config!(offsets.mm_uprobes_state) == 0 {
        return 0;
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let mm = read_kernel_u64(task + config!(offsets.task_mm) as u64);
    let area = read_kernel_u64(mm + config!(offsets.mm_uprobes_state) as u64);
    if area == 0 {
        return 0;
    }
    read_kernel_u64(area + config!(offsets.xol_area_vaddr) as u64)
}

/// Return probes that a thread can have open and that are looked through; the kernel allows 64
/// (`MAX_URETPROBE_DEPTH`).
const MOST_RETURNS: u32 = 64;

/// A look through the return probes that the current thread has open.
#[repr(C)]
struct Search {
    /// The next `return_instance`; 0 ends the list.
    instance: u64,
    /// Stack pointer after the return.
    sp: u64,
    /// What is no answer: functions that were entered by tail calls have one place, and one trampoline behind another.
    trampoline: u64,
    /// The answer; 0 for none.
    found: u64,
}

/// One return probe a turn; 1 ends the loop.
unsafe extern "C" fn look_at_return(_turn: u32, search: *mut Search) -> i64 {
    // SAFETY: the context given to bpf_loop below.
    let search = unsafe { &mut *search };
    if search.instance == 0 {
        return 1;
    }
    if read_kernel_u64(search.instance + config!(offsets.return_stack) as u64)
        .wrapping_add(RETURN_ADDRESS_BYTES)
        == search.sp
    {
        let address = read_kernel_u64(search.instance + config!(offsets.return_address) as u64);
        if address != search.trampoline {
            search.found = address;
            return 1;
        }
    }
    search.instance = read_kernel_u64(search.instance + config!(offsets.return_next) as u64);
    0
}

/// The return address that the kernel's trampoline stands in for, where the stack pointer after the return is `sp`;
/// 0 if it is not known. Other tools put return probes on functions, too.
///
/// Rarely called, and checked by the verifier apart from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
pub extern "C" fn replaced_return(trampoline: u64, sp: u64) -> u64 {
    if config!(offsets.task_utask) == 0 {
        return 0;
    }
    // SAFETY: a helper without arguments.
    let task = unsafe { bpf_get_current_task() };
    let utask = read_kernel_u64(task + config!(offsets.task_utask) as u64);
    let instance = read_kernel_u64(utask + config!(offsets.utask_returns) as u64);
    let mut search = Search {
        instance,
        sp,
        trampoline,
        found: 0,
    };
    // SAFETY: the callback and its context live as long as the call.
    unsafe {
        bpf_loop(
            MOST_RETURNS,
            look_at_return as *mut c_void,
            (&raw mut search).cast(),
            0,
        )
    };
    search.found
}
