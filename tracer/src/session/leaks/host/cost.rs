//! What the probes cost, and carrying out what the guard decides.

use tracer_common::key::Owner;
use tracer_common::sampling;

use super::super::Leaks;
use crate::guard::{Action, Decision, Usage};
use crate::process::breakpoints;
use crate::process::maps;
use crate::report::{Guard, GuardAction, GuardStep};
use crate::session::population;

impl Leaks<'_> {
    /// Looks at the hit counts, and does what the guard says.
    pub(in crate::session::leaks) fn watch_cost(&mut self) {
        let usage = self.usage();
        let now = self.started.elapsed();
        let Some(host) = &mut self.host else { return };
        for decision in host.guard.tick(now, &usage) {
            self.carry_out(&decision);
        }
    }

    fn usage(&self) -> Vec<Usage> {
        let rows = self.tracer.process_rows();
        rows.map(|(row, process)| Usage {
            row,
            tgid: process.owner.tgid,
            hits: process.hits,
            step: process.step,
            followed: process.active != 0,
        })
        .collect()
    }

    fn carry_out(&mut self, decision: &Decision) {
        let Some(host) = &self.host else { return };
        let Some(owner) = host.people.owner_in(decision.row, decision.tgid) else {
            return;
        };
        match decision.action {
            Action::Sample(step) => self.sample(owner, step, decision),
            Action::Off => self.take_probes_off(owner, decision, GuardAction::ProbesOff),
        }
    }

    fn sample(&mut self, owner: Owner, step: u32, decision: &Decision) {
        let base = self.config.sample_bytes.map_or(0, u64::from);
        let interval = |step| Some(sampling::interval(base, step)).filter(|interval| *interval > 0);
        let before = self.tracer.step(decision.row);
        self.tracer.set_step(decision.row, step);
        let action = GuardAction::Sample {
            from: interval(before),
            to: interval(step),
        };
        self.note_step(owner, action, decision);
    }

    /// Takes the probes out of a process: it costs nothing from then on, and its numbers stop.
    pub(in crate::session::leaks) fn take_probes_off(
        &mut self,
        owner: Owner,
        decision: &Decision,
        action: GuardAction,
    ) {
        let pid = owner.tgid;
        let Ok(mut maps) = maps::read(pid) else {
            return;
        };
        let at = self.started.elapsed();
        let Some(host) = &mut self.host else { return };
        let Some(row) = host.people.row(owner) else {
            return;
        };
        host.identities.translate(pid, &mut maps);
        // Its calls are passed over first: what goes on while the probes leave one by one is seen by halves.
        self.tracer.set_active(row, false);
        let removed = breakpoints::remove(pid, &self.prober.everywhere().sites(&maps));
        if let Some(member) = host.people.members().get(&owner) {
            host.probes_off.insert(owner, at);
            let exe = member.exe.clone();
            if decision.urgent {
                host.hot.extend(exe.map(|exe| (exe, (*decision, at))));
            }
        }
        match removed {
            Ok(_) => self.note_step(owner, action, decision),
            // It has ended meanwhile, or it is let be: its calls are passed over, and go on paying for it.
            Err(_) if maps::read(pid).is_err() => {}
            Err(error) => self.note_once(error.to_string()),
        }
    }

    fn note_step(&mut self, owner: Owner, action: GuardAction, decision: &Decision) {
        let at = self.started.elapsed();
        let Some(host) = &mut self.host else { return };
        let (comm, place) = match host.people.members().get(&owner) {
            Some(member) => (member.comm.clone(), member.place.clone()),
            None => ("?".to_owned(), population::place(owner.tgid)),
        };
        let step = GuardStep {
            at,
            pid: owner.tgid,
            comm,
            place,
            action,
            hits_per_second: decision.hits_per_second as u64,
            cost_percent: decision.cost / host.cpus * 100.0,
        };
        eprintln!("memlens: {}", step.sentence());
        host.steps.push(step);
    }

    /// What the report says of the cost.
    pub(in crate::session::leaks) fn guard_report(&self) -> Guard {
        let Some(host) = &self.host else {
            return Guard::default();
        };
        let usage = self.usage();
        Guard {
            budget_percent: host.settings.cpu_budget_percent,
            cost_percent: host.guard.cost(&usage) / host.cpus * 100.0,
            hits_per_second: host.guard.hits_per_second() as u64,
            steps: host.steps.clone(),
        }
    }
}
