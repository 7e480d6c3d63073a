//! From the plan of a file to its probes.

use tracer_common::call::{Class, Cookie, Place};

use super::ProbedFile;
use super::floor::Floor;
use crate::attach::allocator::{AllocatorKind, is_leaf};
use crate::attach::plan::{Ending, Plan, PlannedFunction};
use crate::attach::sites::Speed;
use crate::bpf::{Probe, ProbeProgram};

/// The probes of one file.
pub fn probes(file: &ProbedFile) -> Vec<Probe> {
    let mut probes = Vec::new();
    for (number, function) in (file.first_function..).zip(&file.plan.functions) {
        let nature = Nature {
            leaf: is_leaf(file.plan.allocator, function),
            has_headers: file.plan.allocator == AllocatorKind::Glibc,
        };
        add_probes(&mut probes, number, function, nature);
    }
    if let Some(floor) = Floor::requested() {
        floor.apply(&mut probes, &file.plan);
    }
    probes
}

/// What the programs are told of a function besides how it is called.
#[derive(Clone, Copy)]
struct Nature {
    leaf: bool,
    has_headers: bool,
}

fn add_probes(probes: &mut Vec<Probe>, number: u32, function: &PlannedFunction, nature: Nature) {
    let ret_sites = matches!(function.ending, Ending::RetInstructions(_));
    let cookie = |place| {
        Cookie {
            function: number,
            call: function.call,
            place,
            ret_sites,
            leaf: nature.leaf,
            has_headers: nature.has_headers,
        }
        .pack()
    };
    let program = match function.call.class {
        Class::Alloc => ProbeProgram::AllocEnter,
        Class::Realloc => ProbeProgram::ReallocEnter,
        Class::Free => ProbeProgram::FreeEnter,
    };
    probes.push(Probe {
        program,
        offset: function.entry,
        cookie: cookie(Place::Entry),
    });
    match &function.ending {
        Ending::None => {}
        Ending::Trampoline => probes.push(Probe {
            program: ProbeProgram::AllocReturn,
            offset: function.entry,
            cookie: cookie(Place::Return),
        }),
        Ending::RetInstructions(places) => {
            for offset in places {
                let known = |probe: &Probe| {
                    probe.program == ProbeProgram::AllocRet && probe.offset == *offset
                };
                // One `ret` may end several functions, by tail calls; the stack pointer tells the call.
                if !probes.iter().any(known) {
                    probes.push(Probe {
                        program: ProbeProgram::AllocRet,
                        offset: *offset,
                        cookie: cookie(Place::Ret),
                    });
                }
            }
        }
    }
}

/// Whether a function is probed at an instruction that the kernel single-steps; it does so with every `ret`.
pub fn is_slow(function: &PlannedFunction) -> bool {
    function.site.speed == Speed::Slow || matches!(function.ending, Ending::RetInstructions(_))
}

/// How many of a plan's functions are slow.
pub fn slow_functions(plan: &Plan) -> usize {
    let functions = plan.functions.iter();
    functions.filter(|function| is_slow(function)).count()
}
