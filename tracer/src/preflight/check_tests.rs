//! A table of machines, each with one thing wrong, and what `check` says of it.

use super::*;
use crate::preflight::{Kernel, Purpose, refuse_if_unable};

/// The findings that are not ok, as "state what".
fn trouble(facts: &Facts) -> Vec<String> {
    check(facts)
        .iter()
        .filter(|finding| finding.state != State::Ok)
        .map(|finding| format!("{:?} {}", finding.state, finding.what))
        .collect()
}

#[test]
fn an_able_machine_has_no_trouble() {
    assert_eq!(trouble(&able_machine()), [""; 0]);
}

/// One change to an able machine, and the trouble that it makes.
#[test]
fn a_table_of_machines() {
    type Change = fn(&mut Facts);
    let table: [(Change, &[&str]); 20] = [
        (|m| m.arch = "aarch64".into(), &["Missing architecture"]),
        (
            |m| m.kernel = Kernel::from_release("5.10.0"),
            &["Missing kernel", "Warn probe links", "Warn memlock"],
        ),
        (
            |m| m.kernel = Kernel::from_release("5.17.0"),
            &["Warn kernel", "Warn probe links"],
        ),
        (
            |m| m.kernel = Kernel::from_release("6.1.0"),
            &["Warn probe links"],
        ),
        (
            |m| m.kernel = Kernel::from_release("6.6.0"),
            &["Warn probe links"],
        ),
        (|m| m.kernel = Kernel::from_release("6.10.0"), &[]),
        (|m| m.btf = false, &["Missing kernel types (BTF)"]),
        (|m| m.uprobe_event_type = None, &["Missing uprobes"]),
        (
            |m| m.capabilities = 0,
            &["Missing privileges", "Warn deleted libraries"],
        ),
        (
            |m| m.capabilities = Capability::REQUIRED.iter().map(|c| c.mask()).sum(),
            &["Warn deleted libraries"],
        ),
        (
            |m| m.initial_user_namespace = Some(false),
            &["Missing namespaces"],
        ),
        (
            |m| m.initial_pid_namespace = Some(false),
            &["Missing namespaces"],
        ),
        (
            |m| m.lockdown = Some(Lockdown::Confidentiality),
            &["Warn lockdown"],
        ),
        (|m| m.lockdown = Some(Lockdown::Integrity), &[]),
        (|m| m.tracefs = None, &["Warn tracefs"]),
        (|m| m.bpf_jit_enable = Some(0), &["Warn BPF compiler (JIT)"]),
        (
            |m| m.cgroup_memory_limit = Some(64 << 20),
            &["Warn cgroup memory limit"],
        ),
        (|m| m.ptrace_scope = Some(3), &["Warn ptrace"]),
        (|m| m.perf_event_paranoid = Some(4), &[]),
        (|m| m.initial_pid_namespace = None, &["Warn namespaces"]),
    ];
    for (change, expected) in table {
        let mut machine = able_machine();
        change(&mut machine);
        assert_eq!(trouble(&machine), expected, "{machine:?}");
    }
}

#[test]
fn high_perf_paranoia_matters_without_the_admin_capability() {
    let machine = Facts {
        perf_event_paranoid: Some(4),
        capabilities: !Capability::SysAdmin.mask(),
        ..able_machine()
    };
    assert_eq!(trouble(&machine), ["Warn perf events"]);
}

/// `doctor` and the refusal at the start of a trace never disagree, and trouble always has a remedy.
#[test]
fn findings_and_refusals_agree() {
    let changes: [fn(&mut Facts); 9] = [
        |_| (),
        |m| m.arch = "aarch64".into(),
        |m| m.kernel = Kernel::from_release("5.15.0"),
        |m| m.btf = false,
        |m| m.uprobe_event_type = None,
        |m| m.capabilities = 0,
        |m| m.initial_user_namespace = Some(false),
        |m| m.initial_pid_namespace = Some(false),
        |m| m.tracefs = None,
    ];
    let purpose = Purpose {
        action: "trace",
        command: "memlens",
    };
    for change in changes {
        let mut machine = able_machine();
        change(&mut machine);
        let findings = check(&machine);
        let missing = findings.iter().any(|f| f.state == State::Missing);
        assert_eq!(
            missing,
            refuse_if_unable(&machine, purpose).is_err(),
            "{machine:?}"
        );
        for finding in findings {
            let mended = finding.remedy.is_some();
            assert_eq!(mended, finding.state != State::Ok, "{finding:?}");
        }
    }
}

#[test]
fn remedies_name_the_command() {
    let machine = Facts {
        capabilities: 0,
        euid: 1000,
        ..able_machine()
    };
    let findings = check(&machine);
    let privileges = findings.iter().find(|f| f.what == "privileges");
    let expected = Finding {
        what: "privileges",
        state: State::Missing,
        present: "user 1000: CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE are missing".into(),
        needed: "CAP_BPF, CAP_PERFMON and CAP_SYS_PTRACE".into(),
        remedy: Some("run it as root: sudo memlens leaks -p PID".into()),
    };
    assert_eq!(privileges, Some(&expected));
}
