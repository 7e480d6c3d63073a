//! Which processes there are in a scope: all of them once in a while, those that are new as soon as the kernel tells.

use std::collections::HashSet;
use std::time::Duration;

use super::{Heap, debugged_by, reason_against, translated_by};
use crate::engine::Core;
use crate::process::maps::{self, Mapping};
use crate::process::{info, status, translator};

/// How often all processes are looked at, and those that were started since.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const LOOK_AT_NEW_EVERY: Duration = Duration::from_millis(500);
/// How often probed processes are asked whether they are debugged.
const ASK_EVERY: Duration = Duration::from_secs(3);

impl Heap {
    /// Reads which processes there are, once in a while.
    pub(in crate::sources::heap) fn look_at_scope(&mut self, core: &mut Core, now: Duration) {
        let Some(scope) = &mut self.scope else { return };
        if scope.looked.is_some_and(|looked| now < looked + LOOK_EVERY) {
            self.look_at_noticed(core, now);
            return;
        }
        scope.looked = Some(now);
        scope.looked_at_new = now;
        let Ok(pids) = info::all_pids() else { return };
        let running: HashSet<u32> = pids.iter().copied().collect();
        let pids: Vec<u32> = match &self.wanted {
            Some(wanted) => pids.into_iter().filter(|pid| wanted.has(*pid)).collect(),
            None => pids,
        };
        let own: Vec<u32> = core.tracer.own_processes().collect();
        let mut sights = Vec::with_capacity(pids.len());
        for pid in pids.into_iter().filter(|pid| !own.contains(pid)) {
            let Some(vitals) = info::vitals(pid).filter(|vitals| !vitals.kernel_thread) else {
                continue;
            };
            // One that has ended and waits for its parent has nothing to probe.
            if vitals.is_zombie && !info::is_without_leader(pid) {
                continue;
            }
            scope.noticed.remove(&pid);
            let known = scope.about.get(&pid).copied();
            let is_about = match known {
                Some((start, is_about)) if start == vitals.start_time => is_about,
                _ => core.members.is_about(pid),
            };
            scope.about.insert(pid, (vitals.start_time, is_about));
            if is_about {
                sights.push(scope.sight(pid, &vitals, now));
            }
        }
        // Those that were noticed and are not there any more; of a part of the host nobody knows whether they were of
        // it.
        for pid in scope.noticed.drain() {
            scope.about.remove(&pid);
            if core.members.is_about_everything() {
                scope.admission.missed();
            }
        }
        let ended = scope.admission.see(now, &sights);
        let admission = &scope.admission;
        scope.about.retain(|pid, _| running.contains(pid));
        scope.cpu.retain(|pid, _| admission.knows(*pid));
        scope.since.retain(|pid, _| admission.knows(*pid));
        scope.refused.retain(|pid, _| admission.knows(*pid));
        scope.without_allocator.retain(|pid| admission.knows(*pid));
        for pid in ended {
            self.prober.leave(&mut core.tracer, pid);
        }
        self.ask_who_is_debugged(core, now);
    }

    /// Looks at the programs that were started since.
    fn look_at_noticed(&mut self, core: &mut Core, now: Duration) {
        let Some(scope) = &mut self.scope else { return };
        if scope.noticed.is_empty() || now < scope.looked_at_new + LOOK_AT_NEW_EVERY {
            return;
        }
        scope.looked_at_new = now;
        for pid in std::mem::take(&mut scope.noticed) {
            self.look_at_one(core, pid, now);
        }
    }

    /// Looks at a process that is new.
    fn look_at_one(&mut self, core: &mut Core, pid: u32, now: Duration) {
        if let Some(wanted) = &mut self.wanted
            && !wanted.takes(pid)
        {
            return;
        }
        let Some(scope) = &mut self.scope else { return };
        let Some(vitals) = info::vitals(pid).filter(|vitals| !vitals.is_zombie) else {
            // Of a part of the host nobody knows whether it was of it.
            if core.members.is_about_everything() {
                scope.admission.missed();
            }
            return;
        };
        let is_about = core.members.is_about(pid);
        scope.about.insert(pid, (vitals.start_time, is_about));
        if is_about {
            let sight = scope.sight(pid, &vitals, now);
            scope.admission.see_one(now, &sight);
        }
    }

    /// A process of the scope has ended: its PID may come again.
    pub(in crate::sources::heap) fn forget_process(&mut self, core: &mut Core, pid: u32) {
        self.prober.leave(&mut core.tracer, pid);
        self.in_scope(|scope| {
            scope.admission.ended(pid);
            scope.about.remove(&pid);
            scope.since.remove(&pid);
            scope.refused.remove(&pid);
            scope.without_allocator.remove(&pid);
        });
    }

    /// A process that a debugger stops and writes into is left to it.
    fn ask_who_is_debugged(&mut self, core: &mut Core, now: Duration) {
        let Some(scope) = &mut self.scope else { return };
        if now < scope.asked + ASK_EVERY {
            return;
        }
        scope.asked = now;
        let refused: Vec<u32> = scope.refused.keys().copied().collect();
        for pid in refused {
            let is_fine = |maps: Vec<Mapping>| reason_against(pid, &maps).is_none();
            if maps::read(pid).is_ok_and(is_fine) {
                self.reconsider(pid);
            }
        }
        let probed: Vec<u32> = self.prober.probed().collect();
        for pid in probed {
            if let Some(tracer) = status::tracer(pid) {
                self.refuse(core, pid, debugged_by(tracer));
            }
        }
    }

    /// A process of the host begins another program. It keeps its probes in files that the new one maps too, unless
    /// something speaks against it now.
    pub(in crate::sources::heap) fn starts_program(&mut self, core: &mut Core, pid: u32) {
        let Some(scope) = &mut self.scope else { return };
        scope.since.remove(&pid);
        if !scope.about.contains_key(&pid) {
            scope.noticed.insert(pid);
        } else if self.prober.has_probes(pid) {
            // Nothing else is mapped yet.
            if let Some(tool) = translator::of(pid, &[]) {
                self.refuse(core, pid, translated_by(tool));
            }
        } else {
            scope.about.remove(&pid);
            self.reconsider(pid);
        }
    }

    /// A process of the scope has forked: its child is looked at a moment later. Most children begin another program at
    /// once, and one that translates its code must not inherit probes.
    pub(in crate::sources::heap) fn notice(&mut self, pid: u32) {
        self.in_scope(|scope| scope.noticed.insert(pid));
    }

    /// Probes a process as soon as it is seen, if it can be afforded.
    pub(super) fn take_young(&mut self, core: &mut Core, pid: u32) {
        let now = core.elapsed();
        self.in_scope(|scope| scope.noticed.remove(&pid));
        self.look_at_one(core, pid, now);
        let next = self.in_scope(|scope| scope.admission.may_try(pid, now));
        if let Some(next) = next.flatten() {
            self.admit(core, next);
        }
    }
}
