//! The capabilities that tracing needs, and which of them a process lacks.

use std::fmt;

/// A Linux capability; the numbers are those of `linux/capability.h`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Capability {
    /// Look into processes of other users.
    SysPtrace = 19,
    /// Covers BPF, performance events and mounting.
    SysAdmin = 21,
    /// Attach probes, read memory from BPF.
    Perfmon = 38,
    /// Load programs, create maps.
    Bpf = 39,
    /// Open mapped files that were deleted or replaced, through `map_files`.
    CheckpointRestore = 40,
}

impl Capability {
    /// What loading and attaching the probes takes.
    pub const REQUIRED: [Self; 3] = [Self::Bpf, Self::Perfmon, Self::SysPtrace];

    /// Its bit in a mask of `/proc/PID/status`.
    pub const fn mask(self) -> u64 {
        1 << self as u8
    }

    /// Name without `CAP_`, as container tools take it.
    pub const fn short_name(self) -> &'static str {
        match self {
            Self::SysPtrace => "SYS_PTRACE",
            Self::SysAdmin => "SYS_ADMIN",
            Self::Perfmon => "PERFMON",
            Self::Bpf => "BPF",
            Self::CheckpointRestore => "CHECKPOINT_RESTORE",
        }
    }

    /// Whether the holder of `effective` may do what this capability allows. `CAP_SYS_ADMIN` stands in for those
    /// that were split off from it (capabilities(7)).
    pub const fn is_covered_by(self, effective: u64) -> bool {
        let admin_covers = matches!(self, Self::Bpf | Self::Perfmon | Self::CheckpointRestore);
        effective & self.mask() != 0 || admin_covers && effective & Self::SysAdmin.mask() != 0
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "CAP_{}", self.short_name())
    }
}

/// The required capabilities that `effective` lacks.
pub fn missing_capabilities(effective: u64) -> Vec<Capability> {
    Capability::REQUIRED
        .into_iter()
        .filter(|capability| !capability.is_covered_by(effective))
        .collect()
}

/// "a", "a and b", "a, b and c".
pub fn list(items: &[impl fmt::Display]) -> String {
    let words: Vec<String> = items.iter().map(ToString::to_string).collect();
    match words.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => words.concat(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use Capability::{Bpf, CheckpointRestore, Perfmon, SysAdmin, SysPtrace};

    #[test]
    fn exactly_the_missing_ones_are_named() {
        let cases: [(u64, &[Capability]); 6] = [
            (0, &[Bpf, Perfmon, SysPtrace]),
            (u64::MAX, &[]),
            (SysAdmin.mask(), &[SysPtrace]),
            (SysAdmin.mask() | SysPtrace.mask(), &[]),
            (Bpf.mask() | Perfmon.mask() | SysPtrace.mask(), &[]),
            (Bpf.mask() | SysPtrace.mask(), &[Perfmon]),
        ];
        for (effective, missing) in cases {
            assert_eq!(missing_capabilities(effective), missing, "{effective:#x}");
        }
        assert!(CheckpointRestore.is_covered_by(SysAdmin.mask()));
        assert!(!SysPtrace.is_covered_by(SysAdmin.mask()));
    }

    /// The mask of an ordinary root shell (kernel 6.x) holds all that is needed.
    #[test]
    fn the_numbers_are_the_kernels() {
        assert!(missing_capabilities(0x1ff_ffff_ffff).is_empty());
        assert_eq!(Bpf.mask(), 0x80_0000_0000);
        assert_eq!(SysPtrace.mask(), 0x8_0000);
    }

    #[test]
    fn lists_read_as_prose() {
        assert_eq!(list(&[] as &[Capability]), "");
        assert_eq!(list(&[Bpf]), "CAP_BPF");
        assert_eq!(
            list(&[Bpf, Perfmon, SysPtrace]),
            "CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE"
        );
    }
}
