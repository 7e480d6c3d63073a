//! Programs of a whole-host trace that are over: what is remembered of them, and when their rows are given back.

use std::time::Duration;

use tracer_common::key::Owner;

use super::population::Member;
use crate::bpf::Tracer;
use crate::report::{EndedProcess, EndedTally, Held};

/// Programs that wait to be swept, before a sweep is worth while.
const SWEEP_AT: usize = 512;

/// A program that is over.
pub struct Over {
    /// Which.
    pub owner: Owner,
    /// Its process's row, if the process has ended too.
    pub row: Option<u32>,
}

/// Whether so many programs that are over are worth a sweep: there are many of them, or little room is left.
pub fn is_time_to_sweep(over: usize, tracer: &Tracer) -> bool {
    over >= SWEEP_AT || (over > 0 && tracer.stack_rows_are_scarce())
}

/// Remembers what a program held at its end, at this elapsed time of the trace; and says so, unless it was short-lived.
pub fn remember<H: Held>(
    tally: &mut EndedTally<H>,
    owner: Owner,
    member: Member,
    at: Duration,
    held: H,
) {
    let ended = EndedProcess {
        pid: owner.tgid,
        comm: member.comm,
        place: member.place,
        user: member.user,
        at,
        traced: at.saturating_sub(member.first_seen),
        held,
    };
    if !ended.is_short_lived() {
        eprintln!("memlens: {}", ended.sentence());
    }
    tally.add(ended);
}
