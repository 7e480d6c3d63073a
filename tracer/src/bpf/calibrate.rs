//! What a probe hit costs on this machine: an empty program on an instruction of our own.

use std::time::{Duration, Instant};

use super::links::ProbeError;
use super::load::Tracer;
use super::probe::{Probe, ProbeProgram};
use crate::arch::native::calibration_site;
use crate::process::maps;

/// Calls that are timed; a hit takes half a microsecond, or ten on a slow machine.
const CALLS: u32 = 2_000;

fn calls() -> Duration {
    let begun = Instant::now();
    for _ in 0..CALLS {
        // SAFETY: it leaves all registers that a call keeps as they are, and returns.
        unsafe { calibration_site() };
    }
    begun.elapsed()
}

impl Tracer {
    /// Time that a hit of an empty program takes from the program that runs into it; `None` if the place of our own
    /// code cannot be told. The probe stays until the trace's others go.
    pub fn time_of_a_hit(&mut self) -> Result<Option<Duration>, ProbeError> {
        let pid = std::process::id();
        let address = calibration_site as *const () as u64;
        let maps = maps::read(pid).unwrap_or_default();
        let Some(offset) = maps
            .iter()
            .find(|mapping| mapping.contains(address))
            .and_then(|mapping| mapping.file_offset(address))
        else {
            return Ok(None);
        };
        let probe = Probe {
            program: ProbeProgram::FloorEnter,
            offset,
            cookie: 0,
        };
        let without = calls();
        let (links, ebpf) = self.links();
        links.attach(ebpf, pid, "/proc/self/exe".as_ref(), &[probe])?;
        // The best of three: another program may have the processor meanwhile.
        let with = (0..3).map(|_| calls()).min().unwrap_or_default();
        Ok(Some(with.saturating_sub(without) / CALLS))
    }
}
