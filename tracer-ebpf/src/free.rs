//! Releases.

use aya_ebpf::programs::ProbeContext;
use tracer_common::diagnostic::DiagnosticKind;
use tracer_common::pairing::Nesting;

use crate::account;
use crate::alloc::{argument, cookie, say_untraced};
use crate::arch;
use crate::config::config;
use crate::diagnose::say;
use crate::emit;
use crate::thread;

/// A function that releases a block was entered.
#[inline(always)]
pub fn enter(ctx: &ProbeContext) {
    let Some((thread, process)) = thread::current() else {
        say_untraced(ctx.regs);
        return;
    };
    let cookie = cookie(ctx);
    // SAFETY: the registers of the running program; both pointers were checked for null.
    unsafe {
        let addr = argument(ctx.regs, cookie.call.old);
        if addr == 0 {
            return;
        }
        // `realloc` frees its old block through `free`, and settles it on its own.
        let open = &(*thread).pending;
        if arch::nesting(open, ctx.regs, process) == Nesting::Inner {
            say(
                DiagnosticKind::NestedCall,
                arch::instruction_pointer(ctx.regs),
                0,
            );
            return;
        }
        if config!(trace) != 0 {
            let caller = arch::return_address(ctx.regs);
            emit::call(cookie.function, addr, 0, 0, caller);
            return;
        }
        match account::take(addr, (*process).owner.image) {
            Some(block) => account::count_free(&block),
            None => {
                let room = account::room_of_unknown(addr, cookie.has_headers);
                account::count_unknown_free((*thread).slot.wrapping_sub(1), room);
            }
        }
    }
}
