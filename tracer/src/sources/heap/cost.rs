//! What the probes of a scope cost, and carrying out what the guard decides.

use std::collections::{HashMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

use tracer_common::key::Owner;
use tracer_common::sampling;

use super::Heap;
use crate::bpf::{ProbeError, Tracer};
use crate::engine::guard::{Action, Costs, Decision, Guard, Usage, Whom};
use crate::engine::{Core, Member, place};
use crate::process::{breakpoints, info, maps};
use crate::profile::{self, GuardAction, GuardStep, Place};
use crate::words;

/// What a hit of an empty program costs where it could not be measured; `docs/performance.md` has 450 ns.
const ASSUMED_HIT: Duration = Duration::from_nanos(500);

/// The budget of a scope's probes, and what was done to keep it.
pub(super) struct Budget {
    guard: Guard,
    hit: Duration,
    percent: Option<f64>,
    /// CPUs of the machine.
    cpus: f64,
    /// When the guard removed the probes of a program that runs.
    off: HashMap<Owner, Duration>,
    steps: Vec<GuardStep>,
    programs: Programs,
    /// The last step that was taken for each program.
    precedents: HashMap<u32, usize>,
}

/// Numbers of executables.
#[derive(Default)]
struct Programs {
    numbers: HashMap<PathBuf, u32>,
    paths: Vec<PathBuf>,
}

impl Programs {
    /// The number of a process's executable, where that could be read.
    fn number(&mut self, member: &Member) -> Option<u32> {
        let path = member.exe.as_ref()?;
        let next = self.paths.len() as u32;
        let number = *self.numbers.entry(path.clone()).or_insert(next);
        if number == next {
            self.paths.push(path.clone());
        }
        Some(number)
    }

    /// The same, if it has one by now.
    fn known(&self, member: &Member) -> Option<u32> {
        self.numbers.get(member.exe.as_ref()?).copied()
    }

    /// The name of the file.
    fn name(&self, number: u32) -> Option<String> {
        let name = self.paths.get(number as usize)?.file_name()?;
        Some(name.to_string_lossy().into_owned())
    }
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(ASSUMED_HIT, None, 0)
    }
}

impl Budget {
    fn new(hit: Duration, percent: Option<f64>, base: u64) -> Self {
        let cpus = std::thread::available_parallelism().map_or(1, usize::from) as f64;
        let costs = Costs::from_empty_hit(hit.as_nanos() as f64);
        Self {
            guard: Guard::new(percent.map(|percent| percent / 100.0 * cpus), costs, base),
            hit,
            percent,
            cpus,
            off: HashMap::new(),
            steps: Vec::new(),
            programs: Programs::default(),
            precedents: HashMap::new(),
        }
    }

    /// A budget in percent of the machine's CPUs, with what a probe hit costs here.
    pub fn calibrated(
        tracer: &mut Tracer,
        percent: Option<f64>,
        base: u64,
    ) -> Result<Self, ProbeError> {
        Ok(Self::new(
            tracer.time_of_a_hit()?.unwrap_or(ASSUMED_HIT),
            percent,
            base,
        ))
    }

    /// What a hit of an empty program costs.
    pub const fn hit(&self) -> Duration {
        self.hit
    }

    /// When a program's probes were removed, if they were.
    pub fn probes_off(&self, owner: Owner) -> Option<Duration> {
        self.off.get(&owner).copied()
    }

    /// A program is over.
    pub fn forget(&mut self, owner: Owner) {
        self.off.remove(&owner);
    }

    /// What a profile says of the cost.
    pub fn report(&self, core: &Core) -> profile::Guard {
        profile::Guard {
            budget_percent: self.percent,
            cost_percent: self.guard.cost(&usage(core)) / self.cpus * 100.0,
            hits_per_second: self.guard.hits_per_second() as u64,
            steps: self.steps.clone(),
        }
    }

    /// The programs that a decision is about.
    fn concerned(&self, core: &Core, whom: Whom) -> Vec<Owner> {
        match whom {
            Whom::Process { row, tgid } => core.members.owner_in(row, tgid).into_iter().collect(),
            Whom::Program(program) => {
                let is_meant = |member: &&Member| self.programs.known(member) == Some(program);
                core.members
                    .iter()
                    .filter(is_meant)
                    .map(|member| member.owner)
                    .collect()
            }
        }
    }
}

fn usage(core: &Core) -> Vec<Usage> {
    let running: HashSet<u32> = core.members.rows().collect();
    let rows = core.tracer.process_rows();
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

impl Heap {
    /// Looks at the hit counts, and does what the guard says.
    pub(super) fn watch_cost(&mut self, core: &mut Core) {
        for decision in self.budget.guard.tick(core.elapsed(), &usage(core)) {
            self.carry_out(core, &decision);
        }
    }

    fn carry_out(&mut self, core: &mut Core, decision: &Decision) {
        let concerned = self.budget.concerned(core, decision.whom);
        let before = concerned.iter().find_map(|owner| core.members.row(*owner));
        let before = before.map_or(0, |row| core.tracer.step(row));
        let done = concerned
            .iter()
            .filter(|owner| self.act(core, **owner, decision.action))
            .count();
        // Of a single process that has ended meanwhile there is nothing to report.
        if done > 0 || matches!(decision.whom, Whom::Program(_)) {
            self.note_step(core, decision, concerned.first().copied(), before);
        }
    }

    /// Does to a process what was decided; whether it could be done.
    fn act(&mut self, core: &mut Core, owner: Owner, action: Action) -> bool {
        let Some(row) = core.members.row(owner) else {
            return false;
        };
        match action {
            Action::Sample(step) => {
                core.tracer.set_step(row, step);
                true
            }
            Action::Off => self.remove_probes(core, owner, row),
        }
    }

    /// A process begins to be traced: what was decided for earlier ones of its program holds for it, if it is a new one.
    pub(super) fn begin_guarding(&mut self, core: &mut Core, owner: Owner) {
        let Some(member) = core.members.get(owner) else {
            return;
        };
        let (row, is_new) = (member.row, member.started_in_trace);
        let program = self.budget.programs.number(member);
        let action = self
            .budget
            .guard
            .begin(row, owner.tgid, program, core.elapsed());
        let action = action.filter(|_| is_new);
        // The row may have had another program, sampled in another way.
        let step = core.tracer.step(row);
        let action = action.or((step != 0).then_some(Action::Sample(0)));
        let Some(action) = action else { return };
        if self.act(core, owner, action)
            && let Some(index) = program.and_then(|program| self.budget.precedents.get(&program))
            && let Some(step) = self.budget.steps.get_mut(*index)
            && action != Action::Sample(0)
        {
            step.later_processes += 1;
        }
    }

    /// Removes the probes of a process: it costs nothing from then on, and its figures stop. Whether it has any left to stop.
    fn remove_probes(&mut self, core: &mut Core, owner: Owner, row: u32) -> bool {
        let pid = owner.tgid;
        let Ok(mut maps) = maps::read(pid) else {
            return false;
        };
        core.identities.translate(pid, &mut maps);
        // Its calls are passed over first: what happens while the probes leave one by one is only partially observed.
        core.tracer.set_active(row, false);
        let removed = breakpoints::remove(pid, &self.prober.everywhere().sites(&maps));
        if core.members.get(owner).is_some() {
            self.budget.off.insert(owner, core.elapsed());
        }
        match removed {
            Ok(_) => true,
            // It has ended meanwhile, or it is let be: its calls are passed over, and go on paying for it.
            Err(_) if maps::read(pid).is_err() => false,
            Err(error) => {
                core.notes.add(error.to_string());
                false
            }
        }
    }

    fn note_step(&mut self, core: &Core, decision: &Decision, owner: Option<Owner>, before: u32) {
        let base = self.base_interval();
        let interval = |step| Some(sampling::interval(base, step)).filter(|interval| *interval > 0);
        let budget = &mut self.budget;
        let member = owner.and_then(|owner| core.members.get(owner));
        let program = match decision.whom {
            Whom::Program(program) => Some(program),
            Whom::Process { .. } => member.and_then(|member| budget.programs.known(member)),
        };
        let (pid, command, place) = match (decision.whom, member) {
            (Whom::Program(_), _) => (
                None,
                program.and_then(|program| budget.programs.name(program)),
                Place::default(),
            ),
            (Whom::Process { tgid, .. }, Some(member)) => (
                Some(tgid),
                Some(member.command.clone()),
                member.place.clone(),
            ),
            (Whom::Process { tgid, .. }, None) => (
                Some(tgid),
                info::read(tgid).ok().map(|info| info.comm),
                place(tgid),
            ),
        };
        let step = GuardStep {
            at: core.elapsed(),
            pid,
            command: command.unwrap_or_else(|| "?".to_owned()),
            place,
            action: match decision.action {
                Action::Sample(step) => GuardAction::Sample {
                    from: interval(before),
                    to: interval(step),
                },
                Action::Off => GuardAction::ProbesOff,
            },
            hits_per_second: decision.hits_per_second as u64,
            cost_percent: decision.cost / budget.cpus * 100.0,
            total_percent: decision.total.max(decision.cost) / budget.cpus * 100.0,
            later_processes: 0,
        };
        eprintln!("memlens: {}", words::guard::sentence(&step));
        if let Some(program) = program {
            budget.precedents.insert(program, budget.steps.len());
        }
        budget.steps.push(step);
    }
}
