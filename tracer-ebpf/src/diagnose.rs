//! Saying what is not followed, where the trace asks for that. The level is a frozen constant: where it is lower than a
//! message's, nothing is left of the message once the program is verified.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use tracer_common::diagnostic::{Diagnostic, DiagnosticKind};
use tracer_common::loss::Loss;

use crate::config::config;
use crate::loss;
use crate::maps::DIAGNOSTICS;

/// Says something of the current thread, if the trace asks for this much.
#[inline(always)]
pub fn say(kind: DiagnosticKind, value: u64, detail: u32) {
    if config!(diagnostics) >= kind.level() as u32 {
        send(kind as u32, value, detail);
    }
}

/// Counts a loss, and says so.
#[inline(always)]
pub fn lost(loss: Loss) {
    loss::count(loss);
    say(DiagnosticKind::Lost, loss as u64, 0);
}

/// Called, not inlined, so that the programs stay as they are without it.
#[inline(never)]
extern "C" fn send(kind: u32, value: u64, detail: u32) {
    let Some(mut entry) = DIAGNOSTICS.reserve(0) else {
        loss::count(Loss::DiagnosticsDropped);
        return;
    };
    let id = bpf_get_current_pid_tgid();
    entry.write(Diagnostic {
        value,
        kind,
        detail,
        tgid: (id >> 32) as u32,
        tid: id as u32,
    });
    entry.submit(0);
}
