//! What the probes cost, and carrying out what the guard decides.

use std::collections::HashSet;

use tracer_common::key::Owner;
use tracer_common::sampling;

use super::super::Leaks;
use crate::guard::{Action, Decision, Usage, Whom};
use crate::process::breakpoints;
use crate::process::cgroup::Place;
use crate::process::{info, maps};
use crate::report::{Guard, GuardAction, GuardStep};
use crate::session::population::{self, Member};

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
        let running: HashSet<u32> = match &self.host {
            Some(host) => host.people.rows().collect(),
            None => HashSet::new(),
        };
        let rows = self.tracer.process_rows();
        rows.map(|(row, process)| Usage {
            row,
            tgid: process.owner.tgid,
            hits: process.hits,
            step: process.step,
            followed: process.active != 0,
            alive: running.contains(&row),
        })
        .collect()
    }

    fn carry_out(&mut self, decision: &Decision) {
        let Some(host) = &self.host else { return };
        let concerned: Vec<Owner> = match decision.whom {
            Whom::Process { row, tgid } => host.people.owner_in(row, tgid).into_iter().collect(),
            Whom::Program(program) => {
                let members = host.people.members().iter();
                let is_meant = |member: &Member| host.programs.known(member) == Some(program);
                let meant = members.filter(|(_, member)| is_meant(member));
                meant.map(|(owner, _)| *owner).collect()
            }
        };
        let before = concerned.iter().find_map(|owner| host.people.row(*owner));
        let before = before.map_or(0, |row| self.tracer.step(row));
        let done = concerned
            .iter()
            .filter(|owner| self.act(**owner, decision.action))
            .count();
        // Of a single process that has ended meanwhile there is nothing to tell.
        if done > 0 || matches!(decision.whom, Whom::Program(_)) {
            self.note_step(decision, concerned.first().copied(), before);
        }
    }

    /// Does to a process what was decided; whether it could be done.
    fn act(&mut self, owner: Owner, action: Action) -> bool {
        let row = self.host.as_ref().and_then(|host| host.people.row(owner));
        let Some(row) = row else { return false };
        match action {
            Action::Sample(step) => {
                self.tracer.set_step(row, step);
                true
            }
            Action::Off => self.take_probes_off(owner, row),
        }
    }

    /// A process begins to be traced: what was decided for earlier ones of its program holds for it, if it is a new one.
    pub(super) fn begin_guarding(&mut self, owner: Owner) {
        let at = self.started.elapsed();
        let Some(host) = &mut self.host else { return };
        let Some(member) = host.people.members().get(&owner) else {
            return;
        };
        let row = member.row;
        let program = host.programs.number(member);
        let is_new = member.started_in_trace;
        let action = host.guard.begin(row, owner.tgid, program, at);
        let action = action.filter(|_| is_new);
        // The row may have had another program, sampled in another way.
        let step = self.tracer.step(row);
        let action = action.or((step != 0).then_some(Action::Sample(0)));
        let Some(action) = action else { return };
        if self.act(owner, action)
            && let Some(host) = &mut self.host
            && let Some(index) = program.and_then(|program| host.precedents.get(&program))
            && let Some(step) = host.steps.get_mut(*index)
            && action != Action::Sample(0)
        {
            step.later_processes += 1;
        }
    }

    /// Takes the probes out of a process: it costs nothing from then on, and its numbers stop. Whether it has any left to stop.
    fn take_probes_off(&mut self, owner: Owner, row: u32) -> bool {
        let pid = owner.tgid;
        let Ok(mut maps) = maps::read(pid) else {
            return false;
        };
        let at = self.started.elapsed();
        let Some(host) = &mut self.host else {
            return false;
        };
        host.identities.translate(pid, &mut maps);
        // Its calls are passed over first: what goes on while the probes leave one by one is seen by halves.
        self.tracer.set_active(row, false);
        let removed = breakpoints::remove(pid, &self.prober.everywhere().sites(&maps));
        if host.people.members().contains_key(&owner) {
            host.probes_off.insert(owner, at);
        }
        match removed {
            Ok(_) => true,
            // It has ended meanwhile, or it is let be: its calls are passed over, and go on paying for it.
            Err(_) if maps::read(pid).is_err() => false,
            Err(error) => {
                self.note_once(error.to_string());
                false
            }
        }
    }

    fn note_step(&mut self, decision: &Decision, owner: Option<Owner>, before: u32) {
        let base = self.config.sample_bytes.map_or(0, u64::from);
        let interval = |step| Some(sampling::interval(base, step)).filter(|interval| *interval > 0);
        let at = self.started.elapsed();
        let Some(host) = &mut self.host else { return };
        let member = owner.and_then(|owner| host.people.members().get(&owner));
        let program = match decision.whom {
            Whom::Program(program) => Some(program),
            Whom::Process { .. } => member.and_then(|member| host.programs.known(member)),
        };
        let name = program.and_then(|program| host.programs.name(program));
        let (pid, comm, place) = match (decision.whom, member) {
            (Whom::Program(_), _) => (None, name, Place::default()),
            (Whom::Process { tgid, .. }, Some(member)) => {
                (Some(tgid), Some(member.comm.clone()), member.place.clone())
            }
            (Whom::Process { tgid, .. }, None) => {
                let info = info::read(tgid).ok();
                let comm = info.map(|info| info.comm);
                (Some(tgid), comm, population::place(tgid))
            }
        };
        let step = GuardStep {
            at,
            pid,
            comm: comm.unwrap_or_else(|| "?".to_owned()),
            place,
            action: match decision.action {
                Action::Sample(step) => GuardAction::Sample {
                    from: interval(before),
                    to: interval(step),
                },
                Action::Off => GuardAction::ProbesOff,
            },
            hits_per_second: decision.hits_per_second as u64,
            cost_percent: decision.cost / host.cpus * 100.0,
            total_percent: decision.total.max(decision.cost) / host.cpus * 100.0,
            later_processes: 0,
        };
        eprintln!("memlens: {}", step.sentence());
        if let Some(program) = program {
            host.precedents.insert(program, host.steps.len());
        }
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
