//! Whether the trace still sees what it should: the probes are read back from the memory of each process.

use tracer_common::loss::Loss;

use super::Heap;
use crate::engine::Core;
use crate::engine::attach::Missing;
use crate::process::info;
use crate::words::units::{count, duration, plural};

impl Heap {
    /// Looks whether all probes are in place, and places those again that another program has removed.
    pub(super) fn check_probes(&mut self, core: &mut Core) {
        let mut pids: Vec<u32> = self.prober.probed().collect();
        pids.sort_unstable();
        for pid in pids {
            let Some(missing) = self.prober.missing(pid, || core.maps(pid).ok()) else {
                continue;
            };
            *core.losses.entry(Loss::ProbesGone).or_default() += missing.gone as u64;
            let is_back = !missing.is_rewritten
                && self.prober.place_again(&mut core.tracer, pid).is_ok()
                && self.prober.missing(pid, || core.maps(pid).ok()).is_none();
            if !is_back {
                self.remove_probes(core, pid);
            }
            let note = sentence(core, pid, &missing, is_back);
            core.log.say(|| note.clone());
            core.notes.add(note);
        }
    }
}

fn sentence(core: &Core, pid: u32, missing: &Missing, is_back: bool) -> String {
    let name = info::name(pid);
    let gone = missing.gone as u64;
    let what = format!(
        "{} of {} probes of process {pid} ({name}) {} gone from its memory at {}",
        count(gone),
        count(missing.of as u64),
        plural(gone, "was", "were"),
        duration(core.elapsed()),
    );
    let why = match missing.is_rewritten {
        true => "its code was rewritten",
        false => "another program has removed them",
    };
    let then = match is_back {
        true => "they are in place again; calls since the report before are missing",
        false => "its figures end there",
    };
    format!("{what}, because {why}: {then}")
}
