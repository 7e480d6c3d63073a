//! The one line with which a trace that cannot work is refused before it begins.

use thiserror::Error;

use super::capability::{Capability, list, missing_capabilities};
use super::facts::Facts;
use super::kernel::{Feature, MINIMUM_KERNEL, missing_features};
use crate::arch::Arch;

/// What the caller is about to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Purpose<'a> {
    /// As an infinitive: "load BPF programs".
    pub action: &'a str,
    /// The command line to repeat with more rights, such as `memlens leaks -p 4242`.
    pub command: &'a str,
}

/// Why tracing is impossible here. Each is one line with the remedy.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PreflightError {
    /// The probe sites are chosen for another instruction set.
    #[error("cannot trace on {0}: memlens knows the {known} architecture only", known = Arch::HOST.kernel_name())]
    Architecture(String),
    /// The programs reckon with pages of 4 KiB; kernels of aarch64 may have larger ones.
    #[error(
        "cannot trace: this kernel has pages of {0} bytes, and memlens knows those of 4096 only"
    )]
    PageSize(u64),
    /// The kernel is too old.
    #[error(
        "kernel {release} lacks {}: memlens needs kernel {}.{} or newer",
        features(.missing), MINIMUM_KERNEL.0, MINIMUM_KERNEL.1
    )]
    Kernel {
        /// Release of the running kernel.
        release: String,
        /// What it lacks, oldest first.
        missing: Vec<Feature>,
    },
    /// The kernel has no uprobes.
    #[error(
        "kernel {0} was built without uprobes, or /sys is not mounted: use a kernel with \
         CONFIG_UPROBE_EVENTS=y"
    )]
    NoUprobes(String),
    /// The kernel does not carry its type information.
    #[error(
        "kernel {0} has no type information at /sys/kernel/btf/vmlinux: use a kernel with \
         CONFIG_DEBUG_INFO_BTF=y"
    )]
    NoBtf(String),
    /// Privileges are missing.
    #[error("cannot {action}: {} {} missing; {remedy}", list(.missing), verb(.missing.len()))]
    Capabilities {
        /// What was to be done.
        action: String,
        /// Exactly the missing ones.
        missing: Vec<Capability>,
        /// How to get them.
        remedy: String,
    },
    /// The privileges are those of a user namespace.
    #[error(
        "cannot {action}: this is root of a user namespace (a rootless container) only; run it as \
         root of the host: sudo {command}"
    )]
    UserNamespace {
        /// What was to be done.
        action: String,
        /// What to run.
        command: String,
    },
    /// PIDs mean something else here than in the kernel.
    #[error(
        "cannot {action}: this container has PIDs of its own, which the kernel does not report; \
         run it on the host, or in a container started with --pid=host"
    )]
    PidNamespace {
        /// What was to be done.
        action: String,
    },
}

/// Refuses a trace that is bound to fail, with the cause that has to be removed first.
///
/// # Errors
/// The first [`PreflightError`] that applies: what cannot be changed comes first.
pub fn refuse_if_unable(facts: &Facts, purpose: Purpose<'_>) -> Result<(), PreflightError> {
    refuse_machine(facts)?;
    let action = || purpose.action.to_owned();
    let missing = missing_capabilities(facts.capabilities);
    if !missing.is_empty() {
        return Err(PreflightError::Capabilities {
            action: action(),
            remedy: privilege_remedy(facts.euid, &missing, purpose.command),
            missing,
        });
    }
    if facts.initial_user_namespace == Some(false) {
        return Err(PreflightError::UserNamespace {
            action: action(),
            command: purpose.command.to_owned(),
        });
    }
    if facts.initial_pid_namespace == Some(false) {
        return Err(PreflightError::PidNamespace { action: action() });
    }
    Ok(())
}

fn refuse_machine(facts: &Facts) -> Result<(), PreflightError> {
    let release = || facts.kernel.release.clone();
    if facts.arch != Arch::HOST.kernel_name() {
        return Err(PreflightError::Architecture(facts.arch.clone()));
    }
    if !matches!(facts.page_size, 0 | 4096) {
        return Err(PreflightError::PageSize(facts.page_size));
    }
    let missing = missing_features(&facts.kernel);
    if !missing.is_empty() {
        return Err(PreflightError::Kernel {
            release: release(),
            missing,
        });
    }
    if facts.uprobe_event_type.is_none() {
        return Err(PreflightError::NoUprobes(release()));
    }
    if !facts.btf {
        return Err(PreflightError::NoBtf(release()));
    }
    Ok(())
}

/// How to get the missing capabilities. Root that lacks some is root of a container.
pub(super) fn privilege_remedy(euid: u32, missing: &[Capability], command: &str) -> String {
    if euid != 0 {
        return format!("run it as root: sudo {command}");
    }
    let options: Vec<String> = missing
        .iter()
        .map(|capability| format!("--cap-add={}", capability.short_name()))
        .collect();
    format!(
        "this root lacks them: run it on the host, or start the container with {}",
        options.join(" ")
    )
}

/// "BPF attach cookies (since 5.15) and ...".
pub(super) fn features(missing: &[Feature]) -> String {
    let described: Vec<String> = missing
        .iter()
        .map(|feature| {
            let (major, minor) = feature.since();
            format!("{} (since {major}.{minor})", feature.label())
        })
        .collect();
    list(&described)
}

pub(super) const fn verb(count: usize) -> &'static str {
    if count == 1 { "is" } else { "are" }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::preflight::Kernel;

    const PURPOSE: Purpose<'_> = Purpose {
        action: "load BPF programs",
        command: "memlens leaks -p 4242",
    };

    fn able() -> Facts {
        crate::preflight::check::able_machine()
    }

    fn refusal(facts: &Facts) -> String {
        refuse_if_unable(facts, PURPOSE)
            .expect_err("is refused")
            .to_string()
    }

    #[test]
    fn an_able_machine_is_not_refused() {
        assert_eq!(refuse_if_unable(&able(), PURPOSE), Ok(()));
    }

    #[test]
    fn no_resource_capability_is_asked_for() {
        let capabilities = Capability::REQUIRED.iter().map(|c| c.mask()).sum();
        let facts = Facts {
            capabilities,
            euid: 1000,
            ..able()
        };
        assert_eq!(refuse_if_unable(&facts, PURPOSE), Ok(()));
    }

    #[test]
    fn refusals_are_one_line_with_the_remedy() {
        let kernel = |release: &str| Facts {
            kernel: Kernel::from_release(release),
            ..able()
        };
        let user = |capabilities: u64, euid: u32| Facts {
            capabilities,
            euid,
            ..able()
        };
        let cases = [
            (
                user(0, 1000),
                "cannot load BPF programs: CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE are missing; run \
                 it as root: sudo memlens leaks -p 4242",
            ),
            (
                user(Capability::SysAdmin.mask(), 1000),
                "cannot load BPF programs: CAP_SYS_PTRACE is missing; run it as root: sudo memlens \
                 leaks -p 4242",
            ),
            (
                user(Capability::SysPtrace.mask(), 0),
                "cannot load BPF programs: CAP_BPF and CAP_PERFMON are missing; this root lacks \
                 them: run it on the host, or start the container with --cap-add=BPF \
                 --cap-add=PERFMON",
            ),
            (
                kernel("5.10.0-28-amd64"),
                "kernel 5.10.0-28-amd64 lacks BPF task storage in tracing programs (since 5.13), BPF \
                 attach cookies (since 5.15) and the BPF helper bpf_loop (since 5.17): memlens needs \
                 kernel 5.17 or newer",
            ),
            (
                kernel("5.15.0"),
                "kernel 5.15.0 lacks the BPF helper bpf_loop (since 5.17): memlens needs kernel 5.17 or \
                 newer",
            ),
            (
                Facts {
                    btf: false,
                    ..able()
                },
                "kernel 6.12.0 has no type information at /sys/kernel/btf/vmlinux: use a kernel with \
                 CONFIG_DEBUG_INFO_BTF=y",
            ),
            (
                Facts {
                    uprobe_event_type: None,
                    ..able()
                },
                "kernel 6.12.0 was built without uprobes, or /sys is not mounted: use a kernel with \
                 CONFIG_UPROBE_EVENTS=y",
            ),
            (
                Facts {
                    initial_user_namespace: Some(false),
                    ..able()
                },
                "cannot load BPF programs: this is root of a user namespace (a rootless container) \
                 only; run it as root of the host: sudo memlens leaks -p 4242",
            ),
            (
                Facts {
                    initial_pid_namespace: Some(false),
                    ..able()
                },
                "cannot load BPF programs: this container has PIDs of its own, which the kernel does \
                 not report; run it on the host, or in a container started with --pid=host",
            ),
            (
                Facts {
                    arch: "aarch64".to_owned(),
                    ..able()
                },
                "cannot trace on aarch64: memlens knows the x86_64 architecture only",
            ),
            (
                Facts {
                    page_size: 65536,
                    ..able()
                },
                "cannot trace: this kernel has pages of 65536 bytes, and memlens knows those of 4096 only",
            ),
        ];
        for (facts, line) in cases {
            assert_eq!(refusal(&facts), line);
        }
    }

    /// What the user cannot change by a command is said first: sudo would not help on an old kernel.
    #[test]
    fn an_old_kernel_outranks_missing_privileges() {
        let facts = Facts {
            kernel: Kernel::from_release("4.19.0"),
            capabilities: 0,
            ..able()
        };
        assert!(refusal(&facts).starts_with("kernel 4.19.0 lacks BPF ring buffers"));
    }
}
