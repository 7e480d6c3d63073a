//! Judges the facts one by one, for `memlens doctor`: what is there, what is needed, and the remedy.

use serde::Serialize;

use super::capability::{Capability, list, missing_capabilities};
use super::facts::{Facts, Limit, Lockdown};
use super::kernel::{
    MINIMUM_KERNEL, OLDEST_TESTED_KERNEL, has_uprobe_multi, has_uprobe_session, is_tested,
    missing_features, needs_memlock_raised, uprobe_multi_pid_filter_counts_threads,
};
use super::refuse::{features, privilege_remedy, verb};
use crate::arch::Arch;

/// Memory limit below which the maps of a default trace may not fit: two million live blocks of 64 bytes, their
/// hash table, and memlens's own symbols.
const COMFORTABLE_MEMORY: u64 = 512 << 20;

/// Locked memory below which maps cannot be created on kernels that count them against this limit.
const COMFORTABLE_MEMLOCK: u64 = 512 << 20;

/// How a thing stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// As needed.
    Ok,
    /// Tracing works, but something is slower or left out.
    Warn,
    /// Tracing does not work.
    Missing,
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// Its name, stable.
    pub what: &'static str,
    /// How it stands.
    pub state: State,
    /// What is there.
    pub present: String,
    /// What is needed.
    pub needed: String,
    /// A command or a sentence that mends it; `None` where nothing needs mending.
    pub remedy: Option<String>,
}

impl Finding {
    fn ok(what: &'static str, present: impl Into<String>, needed: impl Into<String>) -> Self {
        Self {
            what,
            state: State::Ok,
            present: present.into(),
            needed: needed.into(),
            remedy: None,
        }
    }

    fn warn_if(self, bad: bool, remedy: impl Into<String>) -> Self {
        self.turned(bad, State::Warn, remedy)
    }

    fn missing_if(self, bad: bool, remedy: impl Into<String>) -> Self {
        self.turned(bad, State::Missing, remedy)
    }

    fn turned(self, bad: bool, state: State, remedy: impl Into<String>) -> Self {
        if !bad {
            return self;
        }
        Self {
            state,
            remedy: Some(remedy.into()),
            ..self
        }
    }
}

/// Looks at everything, in the order in which it matters.
pub fn check(facts: &Facts) -> Vec<Finding> {
    vec![
        architecture(facts),
        kernel(facts),
        kernel_types(facts),
        uprobes(facts),
        probe_links(facts),
        privileges(facts),
        mapped_files(facts),
        namespaces(facts),
        lockdown(facts),
        tracefs(facts),
        jit(facts),
        locked_memory(facts),
        memory_limit(facts),
        perf_events(facts),
        ptrace_scope(facts),
        unprivileged_bpf(facts),
    ]
}

/// The architecture whose instructions and registers this build knows.
const KNOWN: &str = Arch::HOST.kernel_name();

fn architecture(facts: &Facts) -> Finding {
    Finding::ok("architecture", &facts.arch, KNOWN).missing_if(
        facts.arch != KNOWN,
        format!("run memlens on an {KNOWN} machine"),
    )
}

fn kernel(facts: &Facts) -> Finding {
    let missing = missing_features(&facts.kernel);
    let (major, minor) = MINIMUM_KERNEL;
    let needed = format!("{major}.{minor} or newer");
    let finding = Finding::ok("kernel", &facts.kernel.release, &needed);
    if missing.is_empty() {
        let (major, minor) = OLDEST_TESTED_KERNEL;
        let remedy = format!(
            "it has all that is needed, but memlens is tested on {major}.{minor} and newer only"
        );
        return finding.warn_if(!is_tested(&facts.kernel), remedy);
    }
    let remedy = format!(
        "this kernel lacks {}: boot a kernel {needed}",
        features(&missing)
    );
    finding.missing_if(true, remedy)
}

fn kernel_types(facts: &Facts) -> Finding {
    let present = if facts.btf { "present" } else { "absent" };
    Finding::ok("kernel types (BTF)", present, "/sys/kernel/btf/vmlinux").missing_if(
        !facts.btf,
        "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y, as distributions ship it",
    )
}

fn uprobes(facts: &Facts) -> Finding {
    let present = match facts.uprobe_event_type {
        Some(number) => format!("event source {number}"),
        None => "absent".to_owned(),
    };
    Finding::ok("uprobes", present, "present").missing_if(
        facts.uprobe_event_type.is_none(),
        "boot a kernel built with CONFIG_UPROBE_EVENTS=y, and mount /sys",
    )
}

fn probe_links(facts: &Facts) -> Finding {
    let kernel = &facts.kernel;
    let present = if has_uprobe_session(kernel) {
        "uprobe-multi links, sessions"
    } else if has_uprobe_multi(kernel) {
        "uprobe-multi links"
    } else {
        "perf events"
    };
    let finding = Finding::ok("probe links", present, "uprobe-multi links (kernel 6.6)");
    if !has_uprobe_multi(kernel) {
        return finding.warn_if(
            true,
            "ending a trace takes about 0.1 s per probe here; kernel 6.6 or newer does it at once",
        );
    }
    finding.warn_if(
        !uprobe_multi_pid_filter_counts_threads(kernel),
        "the kernel's own PID filter misses threads before 6.10, so memlens filters by itself: \
         other processes that use the same library pay for a probe hit",
    )
}

fn privileges(facts: &Facts) -> Finding {
    let missing = missing_capabilities(facts.capabilities);
    let user = match facts.euid {
        0 => "root".to_owned(),
        u32::MAX => "unknown user".to_owned(),
        id => format!("user {id}"),
    };
    let present = if missing.is_empty() {
        user
    } else {
        format!("{user}: {} {} missing", list(&missing), verb(missing.len()))
    };
    let remedy = privilege_remedy(facts.euid, &missing, "memlens leaks -p PID");
    Finding::ok("privileges", present, list(&Capability::REQUIRED))
        .missing_if(!missing.is_empty(), remedy)
}

fn mapped_files(facts: &Facts) -> Finding {
    let able = Capability::CheckpointRestore.is_covered_by(facts.capabilities);
    let present = if able {
        "can be opened"
    } else {
        "cannot be opened"
    };
    Finding::ok("deleted libraries", present, "CAP_CHECKPOINT_RESTORE").warn_if(
        !able,
        "as root, libraries that were replaced while a program runs can be traced too",
    )
}

fn namespaces(facts: &Facts) -> Finding {
    let (present, remedy) = if facts.initial_user_namespace == Some(false) {
        (
            "a user namespace (a rootless container)",
            "run memlens as root of the host",
        )
    } else if facts.initial_pid_namespace == Some(false) {
        (
            "a PID namespace (a container)",
            "run memlens on the host, or in a container started with --pid=host",
        )
    } else if facts.initial_pid_namespace.is_none() {
        let finding = Finding::ok("namespaces", "unknown", "those of the host");
        return finding.warn_if(true, "mount /proc");
    } else {
        return Finding::ok("namespaces", "those of the host", "those of the host");
    };
    Finding::ok("namespaces", present, "those of the host").missing_if(true, remedy)
}

fn lockdown(facts: &Facts) -> Finding {
    let present = match facts.lockdown {
        None => "not in this kernel, or not readable",
        Some(Lockdown::None) => "off",
        Some(Lockdown::Integrity) => "integrity",
        Some(Lockdown::Confidentiality) => "confidentiality",
    };
    Finding::ok("lockdown", present, "off or integrity").warn_if(
        facts.lockdown == Some(Lockdown::Confidentiality),
        "the kernel may refuse BPF programs: boot with lockdown=integrity",
    )
}

fn tracefs(facts: &Facts) -> Finding {
    let present = match &facts.tracefs {
        Some(path) => path.display().to_string(),
        None => "not mounted".to_owned(),
    };
    Finding::ok("tracefs", present, "mounted").warn_if(
        facts.tracefs.is_none(),
        "sudo mount -t tracefs tracefs /sys/kernel/tracing (memlens mounts it when it needs it)",
    )
}

fn jit(facts: &Facts) -> Finding {
    let (present, bad) = match facts.bpf_jit_enable {
        Some(0) => ("off", true),
        Some(_) => ("on", false),
        None if facts.euid == 0 => ("no setting: part of the kernel or absent", false),
        None => ("unknown: only root may read it", false),
    };
    Finding::ok("BPF compiler (JIT)", present, "on").warn_if(
        bad,
        "BPF programs are interpreted, which is several times slower: sudo sysctl \
         net.core.bpf_jit_enable=1",
    )
}

fn locked_memory(facts: &Facts) -> Finding {
    let limit = match facts.memlock {
        None => "unknown".to_owned(),
        Some(Limit::Unlimited) => "unlimited".to_owned(),
        Some(Limit::Bytes(bytes)) => mebibytes(bytes),
    };
    if !needs_memlock_raised(&facts.kernel) {
        let present = format!("{limit}; does not limit BPF since kernel 5.11");
        return Finding::ok("memlock", present, "any");
    }
    let low = matches!(facts.memlock, Some(Limit::Bytes(bytes)) if bytes < COMFORTABLE_MEMLOCK);
    Finding::ok("memlock", limit, "unlimited").warn_if(low, "ulimit -l unlimited")
}

fn memory_limit(facts: &Facts) -> Finding {
    let present = facts
        .cgroup_memory_limit
        .map_or_else(|| "none".to_owned(), mebibytes);
    let low = facts
        .cgroup_memory_limit
        .is_some_and(|bytes| bytes < COMFORTABLE_MEMORY);
    let needed = format!("none, or {} and more", mebibytes(COMFORTABLE_MEMORY));
    Finding::ok("cgroup memory limit", present, needed).warn_if(
        low,
        "BPF maps count against it: raise it, or trace with --max-live 200000 or --sample-bytes \
         512KiB",
    )
}

/// Distributions add levels above 2 that ask for more than `CAP_PERFMON`.
fn perf_events(facts: &Facts) -> Finding {
    let present = facts.perf_event_paranoid.map_or_else(
        || "unknown".to_owned(),
        |level| format!("paranoid level {level}"),
    );
    let barred = facts.perf_event_paranoid.is_some_and(|level| level > 2)
        && !Capability::SysAdmin.is_covered_by(facts.capabilities);
    Finding::ok("perf events", present, "level 2 or less, or CAP_SYS_ADMIN").warn_if(
        barred,
        "some kernels refuse perf events at this level: run it as root, or sudo sysctl \
         kernel.perf_event_paranoid=2",
    )
}

fn ptrace_scope(facts: &Facts) -> Finding {
    let present = facts
        .ptrace_scope
        .map_or_else(|| "no Yama".to_owned(), |scope| format!("scope {scope}"));
    Finding::ok("ptrace", present, "scope 2 or less").warn_if(
        facts.ptrace_scope.is_some_and(|scope| scope > 2),
        "no process may be stopped by another, so \"-- COMMAND\" may fail; scope 3 lasts until a \
         reboot",
    )
}

fn unprivileged_bpf(facts: &Facts) -> Finding {
    let present = match facts.unprivileged_bpf_disabled {
        None => "unknown",
        Some(0) => "allowed",
        Some(_) => "not allowed",
    };
    Finding::ok(
        "BPF for everybody",
        present,
        "any: memlens needs privileges",
    )
}

fn mebibytes(bytes: u64) -> String {
    format!("{} MiB", bytes >> 20)
}

/// A machine on which everything is as needed, for tests.
#[cfg(test)]
pub(crate) fn able_machine() -> Facts {
    Facts {
        arch: KNOWN.to_owned(),
        page_size: 4096,
        kernel: super::Kernel::from_release("6.12.0"),
        btf: true,
        capabilities: 0x1ff_ffff_ffff,
        euid: 0,
        lockdown: Some(Lockdown::None),
        memlock: Some(Limit::Bytes(8 << 20)),
        bpf_jit_enable: Some(1),
        unprivileged_bpf_disabled: Some(2),
        perf_event_paranoid: Some(2),
        tracefs: Some("/sys/kernel/tracing".into()),
        uprobe_event_type: Some(9),
        ptrace_scope: Some(1),
        initial_pid_namespace: Some(true),
        initial_user_namespace: Some(true),
        cgroup_memory_limit: None,
    }
}

#[cfg(test)]
#[path = "check_tests.rs"]
mod tests;
