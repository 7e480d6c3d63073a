//! How the members differ from the process table after process events were lost.

use tracer_common::key::Owner;

use super::Members;
use crate::bpf::Tracer;
use crate::engine::watch::Program;
use crate::process::{info, maps};

/// How what is known differs from the process table, after events were lost.
#[derive(Default)]
pub struct OutOfStep {
    /// Programs that are gone.
    pub gone: Vec<Owner>,
    /// Programs that no event has reported, with their rows.
    pub new: Vec<(Program, u32)>,
}

impl Members {
    /// How what is known differs from the process table.
    pub fn out_of_step(&self, tracer: &Tracer) -> OutOfStep {
        let Some(scope) = &self.scope else {
            return OutOfStep::default();
        };
        let rows: Vec<_> = tracer.process_rows().collect();
        let is_gone = |(owner, row): &(&Owner, &u32)| {
            let now = rows.iter().find(|(number, _)| number == *row);
            now.is_none_or(|(_, process)| process.owner.tgid != owner.tgid || process.active == 0)
                && maps::read(owner.tgid).is_err()
        };
        let gone = scope.rows.iter().filter(is_gone).map(|(owner, _)| *owner);
        let new = rows
            .iter()
            .filter(|(_, process)| process.active != 0 && !scope.rows.contains_key(&process.owner))
            .filter_map(|(row, process)| Some((running_program(process.owner)?, *row)));
        OutOfStep {
            gone: gone.collect(),
            new: new.collect(),
        }
    }
}

/// What the kernel side would have reported of a program that runs; `None` if it has ended.
fn running_program(owner: Owner) -> Option<Program> {
    let info = info::read(owner.tgid).ok()?;
    // It runs: it can be asked itself, and not its parent.
    Some(Program {
        owner,
        comm: info.comm,
        uid: info.uid,
        parent: 0,
        at_ns: 0,
    })
}
