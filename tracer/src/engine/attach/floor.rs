//! Empty programs in place of the real ones: what the traps alone cost. For benchmarks only.

use crate::attach::plan::Plan;
use crate::bpf::{Probe, ProbeProgram};

/// The environment variable that asks for it. Not part of the command line: nobody but a benchmark wants a trace that
/// counts nothing.
const VARIABLE: &str = "MEMLENS_FLOOR";

/// Where the empty programs sit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Floor {
    /// On the instructions that memlens chooses (`MEMLENS_FLOOR=sites`).
    Sites,
    /// On the first instruction of each function, where other tracers put their probes (`MEMLENS_FLOOR=entries`).
    Entries,
}

impl Floor {
    /// What the environment asks for; any other value than the two is as good as none.
    pub fn requested() -> Option<Self> {
        Self::parse(std::env::var_os(VARIABLE)?.to_str()?)
    }

    fn parse(value: &str) -> Option<Self> {
        match value {
            "sites" => Some(Self::Sites),
            "entries" => Some(Self::Entries),
            _ => None,
        }
    }

    /// Puts empty programs in the place of a file's probes.
    pub fn apply(self, probes: &mut [Probe], plan: &Plan) {
        for probe in probes {
            let at_function = plan
                .functions
                .iter()
                .find(|function| function.entry == probe.offset);
            if let (Self::Entries, Some(function)) = (self, at_function) {
                probe.offset -= u64::from(function.site.offset);
            }
            probe.program = match probe.program {
                ProbeProgram::AllocReturn => ProbeProgram::FloorReturn,
                _ => ProbeProgram::FloorEnter,
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_two_values_ask_for_it() {
        assert_eq!(Floor::parse("sites"), Some(Floor::Sites));
        assert_eq!(Floor::parse("entries"), Some(Floor::Entries));
        for value in ["", "0", "1", "Sites"] {
            assert_eq!(Floor::parse(value), None, "{value}");
        }
    }
}
