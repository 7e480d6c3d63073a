//! The processes of a scope: who gets probes, and carrying out what admission decides.

mod look;
mod wanted;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::{Duration, Instant};

use tracer_common::key::Owner;

use super::{Heap, HeapOptions};
use crate::engine::admission::{Action, Admission, Decision, Next, Pricing, Sight, Usage};
use crate::engine::{Core, Rates, place};
use crate::process::info::{self, Machine};
use crate::process::maps::Mapping;
use crate::process::{status, translator};
use crate::profile::{self, LateFile, Refused};

pub use wanted::Wanted;

/// CPU time that a program may take for its start. Such times come in ticks of 10 ms.
const STARTING: Duration = Duration::from_millis(30);
/// Time spent on placing probes before the trace says that it has begun: of the whole host, and of a part that was
/// named.
const PLACING_AT_FIRST: Duration = Duration::from_millis(500);
const PLACING_IN_A_PART: Duration = Duration::from_secs(10);
/// Time spent on placing probes before hits are looked at again.
const PLACING: Duration = Duration::from_millis(12);

/// Files that were probed late and are remembered, the newest: a trace may run for months.
const MOST_LATE: usize = 1_000;

/// Who is probed, and who is not.
pub(super) struct ScopeTrace {
    pub admission: Admission,
    /// Most processes that have probes at the same time.
    most: usize,
    /// Most that the probes may cost, in percent of the machine's CPUs.
    pub budget_percent: Option<f64>,
    /// CPU time of each process at the last look, and when that was.
    cpu: HashMap<u32, (u64, Duration, Duration)>,
    /// Whether the trace is about a process, by its start.
    about: HashMap<u32, (u64, bool)>,
    /// Since when each process has probes.
    since: HashMap<u32, Duration>,
    /// Processes that must not be probed.
    refused: BTreeMap<u32, Refused>,
    /// Processes without an allocator.
    without_allocator: HashSet<u32>,
    /// Programs that were started since the last look.
    noticed: HashSet<u32>,
    looked: Option<Duration>,
    looked_at_new: Duration,
    all_tried: bool,
    asked: Duration,
}

impl ScopeTrace {
    /// Nobody is known yet.
    pub fn new(options: &HeapOptions, pricing: Pricing) -> Self {
        let budget_percent = options.cpu_budget_percent;
        let budget = budget_percent.map(|percent| percent / 100.0 * cpus());
        let most = options.max_processes;
        Self {
            admission: Admission::new(budget, pricing, options.young, most),
            most,
            budget_percent,
            cpu: HashMap::new(),
            about: HashMap::new(),
            since: HashMap::new(),
            refused: BTreeMap::new(),
            without_allocator: HashSet::new(),
            noticed: HashSet::new(),
            looked: None,
            looked_at_new: Duration::ZERO,
            all_tried: false,
            asked: Duration::ZERO,
        }
    }

    /// Since when a process has probes.
    pub fn since(&self, pid: u32) -> Option<Duration> {
        self.since.get(&pid).copied()
    }

    /// What a profile says of who is probed.
    pub fn report(&self, now: Duration) -> profile::Admission {
        let counts = self.admission.counts(now);
        let without_allocator = self.without_allocator.len();
        profile::Admission {
            traced: counts.traced,
            young: counts.young,
            waiting: counts.waiting,
            most: self.most,
            left: counts.left,
            without_allocator,
            ended_before: counts.ended_before,
            refused: self.refused.values().cloned().collect(),
        }
    }

    fn sight(&mut self, pid: u32, vitals: &info::Vitals, now: Duration) -> Sight {
        let ticks = info::now_in_ticks().saturating_sub(vitals.start_time);
        let age = Duration::from_secs_f64(ticks as f64 / procfs::ticks_per_second() as f64);
        let known = self
            .cpu
            .insert(pid, (vitals.start_time, vitals.cpu, now))
            .filter(|(start, ..)| *start == vitals.start_time);
        // At first sight what it has used on the whole, but for what its start takes.
        let (cpu, time) = match known {
            Some((_, before, at)) => (vitals.cpu.saturating_sub(before), now.saturating_sub(at)),
            None => (vitals.cpu.saturating_sub(STARTING), age),
        };
        Sight {
            pid,
            start: vitals.start_time,
            age,
            cpu: cpu.as_secs_f64() / time.as_secs_f64().max(0.01),
            resident: vitals.resident_bytes,
        }
    }
}

/// CPUs of the machine.
pub(super) fn cpus() -> f64 {
    std::thread::available_parallelism().map_or(1, usize::from) as f64
}

impl Heap {
    /// Probes those who run, as many as can be in a short time: the rest get their probes while the trace runs.
    pub(super) fn begin_scope(&mut self, core: &mut Core) {
        let begun = Instant::now();
        let most = match core.members.is_about_everything() {
            true => PLACING_AT_FIRST,
            false => PLACING_IN_A_PART,
        };
        loop {
            self.run_scope(core);
            let now = core.elapsed();
            let has_next = self.in_scope(|scope| scope.admission.next(now).is_some());
            if has_next != Some(true) || begun.elapsed() > most {
                return;
            }
        }
    }

    /// Looks at who is there, does what admission decides, and probes who comes next.
    pub(super) fn run_scope(&mut self, core: &mut Core) {
        let now = core.elapsed();
        self.look_at_scope(core, now);
        let usage = usage(core);
        let decisions = self.in_scope(|scope| scope.admission.tick(now, &usage));
        for decision in decisions.unwrap_or_default() {
            self.carry_out(core, &decision);
        }
        self.say_when_all_were_tried(core, now);
        let begun = Instant::now();
        while begun.elapsed() < PLACING
            && let Some(next) = self
                .in_scope(|scope| scope.admission.next(core.elapsed()))
                .flatten()
        {
            self.admit(core, next);
        }
    }

    /// Says once how long it took until nobody waits any more.
    fn say_when_all_were_tried(&mut self, core: &Core, now: Duration) {
        let Some(scope) = &mut self.scope else { return };
        if !scope.all_tried && scope.admission.are_all_tried(now) {
            scope.all_tried = true;
            let traced = scope.admission.counts(now).traced;
            core.log.details(|| {
                vec![format!(
                    "every process of the scope was tried after {} ms; {traced} are traced",
                    now.as_millis()
                )]
            });
        }
    }

    fn in_scope<T>(&mut self, with: impl FnOnce(&mut ScopeTrace) -> T) -> Option<T> {
        self.scope.as_mut().map(with)
    }

    /// Judges who is on trial now, as a report takes its time, and looks who is there, as it says that.
    pub(super) fn conclude_trials(&mut self, core: &mut Core) {
        let now = core.elapsed();
        let Some(scope) = &mut self.scope else { return };
        scope.looked = None;
        self.look_at_scope(core, now);
        let usage = usage(core);
        let decisions = self.in_scope(|scope| scope.admission.conclude(now, &usage));
        for decision in decisions.unwrap_or_default() {
            self.carry_out(core, &decision);
        }
    }

    /// Gives a process its probes, unless something speaks against it.
    fn admit(&mut self, core: &mut Core, Next { pid, in_place_of }: Next) {
        let Ok(maps) = core.maps(pid) else {
            self.in_scope(|scope| scope.admission.refuse(pid));
            return;
        };
        if let Some(reason) = reason_against(pid, &maps) {
            self.refuse(core, pid, reason);
            return;
        }
        // What it did while it was not followed is not known: it begins anew.
        let member = core.members.running(pid).map(|member| member.owner);
        let was_off = member.filter(|owner| self.off.contains_key(owner));
        if let Err(error) = self.prober.attach_new(&mut core.tracer, pid, &maps) {
            if info::vitals(pid).is_some() {
                core.notes.add(error.to_string());
            }
            self.in_scope(|scope| scope.admission.refuse(pid));
            return;
        }
        self.note_left_out(core);
        if !self.prober.has_probes(pid) {
            self.prober.leave(&mut core.tracer, pid);
            self.in_scope(|scope| {
                scope.admission.refuse(pid);
                scope.without_allocator.insert(pid);
            });
            return;
        }
        if let Some(other) = in_place_of {
            self.displace(core, other);
        }
        let now = core.elapsed();
        self.in_scope(|scope| scope.since.insert(pid, now));
        let hits = match was_off {
            Some(old) => self.begin_anew(core, old),
            None => self.enroll(core, pid, now),
        };
        self.in_scope(|scope| scope.admission.probed(pid, now, hits));
    }

    /// A process that does nothing, or does not grow, gives up its probes for one that grows. It is not reported any
    /// more.
    fn displace(&mut self, core: &mut Core, pid: u32) {
        self.remove_probes(core, pid);
        if let Some(member) = core.members.running(pid) {
            self.displaced.insert(member.owner);
        }
        self.in_scope(|scope| scope.admission.displace(pid));
    }

    /// A process that has probes becomes a member, if its first call has not made it one; its hits so far.
    fn enroll(&mut self, core: &mut Core, pid: u32, now: Duration) -> u64 {
        let owner = match core.tracer.add_process(pid) {
            Ok(owner) => owner,
            Err(error) => {
                core.notes
                    .add(format!("some processes are not followed: {error}"));
                return 0;
            }
        };
        // Read afterwards: the kernel side tells of an `exec` that comes later.
        let (Some(row), Ok(info)) = (core.tracer.row_of(pid), info::read(pid)) else {
            return 0;
        };
        if core.members.row(owner).is_none()
            && core
                .members
                .admit_running(&core.tracer, owner, row, info, now)
        {
            core.look(pid);
        }
        core.tracer.process(row).map_or(0, |process| process.hits)
    }

    /// A program is followed from now on, or since it has probes.
    pub(super) fn begin_rates(&mut self, core: &mut Core, owner: Owner) {
        self.rates.insert(owner, Rates::new(core.elapsed()));
        let since = self
            .scope
            .as_ref()
            .and_then(|scope| scope.since(owner.tgid));
        if let Some(since) = since {
            core.members.set_first_seen(owner, since);
        }
    }

    /// A program whose probes were removed gets them back; its hits so far.
    fn begin_anew(&mut self, core: &mut Core, old: Owner) -> u64 {
        self.rates.remove(&old);
        let Some(new) = core.renew(old) else { return 0 };
        let row = core.members.row(new);
        let hits = row.and_then(|row| core.tracer.process(row));
        self.off.remove(&old);
        self.displaced.remove(&old);
        if let Some(row) = row {
            core.tracer.set_active(row, true);
        }
        hits.map_or(0, |process| process.hits)
    }

    /// A process is not probed, for this reason, which its row in the report has.
    fn refuse(&mut self, core: &mut Core, pid: u32, reason: String) {
        self.remove_probes(core, pid);
        let refused = Refused {
            pid,
            command: info::name(pid),
            place: place(pid),
            reason,
        };
        self.in_scope(|scope| {
            scope.admission.refuse(pid);
            scope.refused.insert(pid, refused);
        });
    }

    /// What kept a process from being probed may be over.
    fn reconsider(&mut self, pid: u32) {
        self.in_scope(|scope| {
            scope.refused.remove(&pid);
            scope.without_allocator.remove(&pid);
            scope.admission.reconsider(pid);
        });
    }

    /// The trace is not about a program any more that had probes.
    pub(super) fn leave_outsider(&mut self, core: &mut Core, pid: u32) {
        self.prober.leave(&mut core.tracer, pid);
        self.in_scope(|scope| {
            scope.about.remove(&pid);
            scope.admission.refuse(pid);
        });
    }

    /// Processes have mapped code: those that have probes get them in it, too.
    pub(super) fn probe_mapped(
        &mut self,
        core: &mut Core,
        mapped: &[(u32, Mapping)],
        since: Instant,
        all: bool,
    ) {
        let mut pids: Vec<u32> = Vec::new();
        let mut young: Vec<u32> = Vec::new();
        for (pid, mapping) in mapped {
            let Some(scope) = &self.scope else { return };
            // What begins a program in the same lot of events is taken in after its mappings.
            let is_noticed = scope.noticed.contains(pid) || !scope.about.contains_key(pid);
            let had_nothing = scope.without_allocator.contains(pid);
            if had_nothing {
                self.reconsider(*pid);
            }
            if self.options.young && (is_noticed || had_nothing) && !young.contains(pid) {
                young.push(*pid);
            }
            let is_new = || !self.prober.passes(*pid, mapping.file);
            if self.prober.has_probes(*pid) && !pids.contains(pid) && is_new() {
                pids.push(*pid);
            }
        }
        for pid in young {
            self.take_young(core, pid);
        }
        if all {
            pids = self.prober.probed().collect();
        }
        for pid in pids {
            let Ok(maps) = core.maps(pid) else {
                continue;
            };
            match self.prober.attach_new(&mut core.tracer, pid, &maps) {
                Ok(placed) => {
                    for file in placed.files {
                        let path = file.path.to_string_lossy().into_owned();
                        core.log.details(|| vec![format!("probed {path}")]);
                        self.note_late_file(core, pid, path, since.elapsed());
                    }
                }
                Err(error) if info::vitals(pid).is_some() => core.notes.add(error.to_string()),
                Err(_) => {}
            }
        }
    }

    fn note_late_file(&mut self, core: &Core, pid: u32, path: String, missed: Duration) {
        if self.late.len() >= MOST_LATE {
            self.late.remove(0);
        }
        self.late.push(LateFile {
            at: core.elapsed().saturating_sub(missed),
            pid,
            command: info::name(pid),
            place: place(pid),
            path,
            missed,
        });
    }

    fn carry_out(&mut self, core: &mut Core, decision: &Decision) {
        let pid = decision.pid;
        let owner = core.members.running(pid).map(|member| member.owner);
        let row = owner.and_then(|owner| core.members.row(owner));
        match decision.action {
            Action::Sample(step) => {
                if let Some(row) = row {
                    core.tracer.set_step(row, step);
                }
            }
            Action::Leave => self.remove_probes(core, pid),
            // What does nothing loses nothing.
            Action::Wait => return self.displace(core, pid),
        }
        self.note_step(core, decision, None);
    }

    /// Removes the probes of a process: it costs nothing from then on, and its figures stop.
    pub(super) fn remove_probes(&mut self, core: &mut Core, pid: u32) {
        if !self.prober.has_probes(pid) {
            return;
        }
        let owner = core.members.running(pid).map(|member| member.owner);
        // Its calls are passed over first: what happens while the probes leave one by one is only partially observed.
        if let Some(owner) = owner {
            if let Some(row) = core.members.get(owner).map(|member| member.row) {
                core.tracer.set_active(row, false);
            }
            self.off.insert(owner, core.elapsed());
        }
        self.prober.leave(&mut core.tracer, pid);
    }
}

/// What speaks against probing a process, in words.
fn reason_against(pid: u32, maps: &[Mapping]) -> Option<String> {
    if let Some(tracer) = status::tracer(pid) {
        return Some(debugged_by(tracer));
    }
    if let Some(tool) = translator::of(pid, maps) {
        return Some(translated_by(tool));
    }
    if info::is_without_leader(pid) {
        return Some(
            "its first thread has ended, without which the kernel finds no memory to probe"
                .to_owned(),
        );
    }
    let machine = info::machine(pid);
    (machine == Some(Machine::ThirtyTwoBit)).then(|| "it is a 32-bit program".to_owned())
}

fn debugged_by(tracer: u32) -> String {
    format!("it is traced by {} ({tracer})", info::name(tracer))
}

fn translated_by(tool: &str) -> String {
    format!("it runs under {tool}, which translates its code")
}

/// Hits of the programs that run.
fn usage(core: &Core) -> Vec<Usage> {
    let running: HashSet<u32> = core.members.rows().collect();
    let rows = core.tracer.process_rows();
    rows.filter(|(row, _)| running.contains(row))
        .map(|(_, process)| Usage {
            pid: process.owner.tgid,
            hits: process.hits,
            step: process.step,
        })
        .collect()
}
