//! Which processes are in the trace: users, cgroups, exclusions, and words that mean nothing.

use std::os::unix::process::CommandExt;
use std::process::Command;

use anyhow::{Result, ensure};
use memlens_tests::cgroup::{Cgroup, hierarchies};
use memlens_tests::{Memlens, Victim, code, need};

use super::{LEAK, Stage, leak_each, start_probed, traced};

/// A user that every system has and that none of our processes runs as.
const NOBODY: u32 = 65_534;

/// By name, by PID and by cgroup; what is left is exact, also what starts later.
#[test]
fn exclusions() -> Result<()> {
    let stage = Stage::enter()?;
    let cgroup = Cgroup::new()?;
    let below = cgroup.below("/below")?;
    let mut by_name = Victim::start(leak_each("host-not-me").command(&["malloc"])?)?;
    let mut by_pid = Victim::start(leak_each("host-nor-me").command(&["malloc"])?)?;
    let mut by_cgroup = Victim::start(below.enter(leak_each("host-in").command(&["malloc"])?)?)?;
    let mut stays = Victim::start(leak_each("host-in").command(&["malloc"])?)?;
    let pid = by_pid.pid().to_string();
    let mut words = vec!["--exclude", "host-not-me", "--exclude", &pid];
    words.extend(["--exclude", cgroup.path()]);
    let memlens = stage.trace_without(&words)?;
    let mut later = Victim::start(leak_each("host-not-me").command(&["malloc"])?)?;
    let mut later_in = Victim::start(cgroup.enter(leak_each("host-in").command(&["malloc"])?)?)?;
    for victim in [
        &mut by_name,
        &mut by_pid,
        &mut by_cgroup,
        &mut stays,
        &mut later,
        &mut later_in,
    ] {
        victim.run()?;
    }
    let report = memlens.stop()?;
    report.check_process(stays.pid(), LEAK)?;
    for victim in [&by_name, &by_pid, &by_cgroup, &later, &later_in] {
        ensure!(
            !report.has_row(victim.pid()),
            "PID {} has a row",
            victim.pid()
        );
    }
    Ok(())
}

/// By number and by name; the user of a process that drops its rights is the one that it has then.
#[test]
fn only_one_user() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("leak_each");
    std::fs::copy(leak_each("host-user").build()?, &path)?;
    readable_by_all(folder.path())?;
    let start = |uid: u32| {
        let mut command = Command::new(&path);
        command.arg("malloc").uid(uid);
        Victim::start(command)
    };
    for user in ["nobody", "65534"] {
        let mut before = start(NOBODY)?;
        let mut other = start(0)?;
        let memlens = traced(&["--user", user], &[])?;
        let mut later = start(NOBODY)?;
        code::until_probed(later.pid(), "")?;
        for victim in [&mut before, &mut other, &mut later] {
            victim.run()?;
        }
        let report = memlens.stop()?;
        for victim in [&before, &later] {
            let row = report.check_process(victim.pid(), LEAK)?;
            assert_eq!(
                (row.uid, row.user.as_deref()),
                (Some(NOBODY), Some("nobody"))
            );
        }
        ensure!(!report.has_row(other.pid()), "root has a row");
        ensure!(
            report.host_wide()?.scope.contains(user),
            "{}",
            report.host_wide()?.scope
        );
    }
    Ok(())
}

fn readable_by_all(folder: &std::path::Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(folder, std::fs::Permissions::from_mode(0o755))?;
    Ok(())
}

/// A cgroup and a user: both must fit. The cgroup is named by its folder this time.
#[test]
fn a_user_in_a_cgroup() -> Result<()> {
    let cgroup = Cgroup::new()?;
    let mut inside = Victim::start(cgroup.enter(leak_each("host-both").command(&["malloc"])?)?)?;
    let mut outside = Victim::start(leak_each("host-both").command(&["malloc"])?)?;
    let folder = cgroup.folder().to_string_lossy().into_owned();
    let memlens = traced(&["--cgroup", &folder, "--user", "root"], &[])?;
    inside.run()?;
    outside.run()?;
    let report = memlens.stop()?;
    assert_eq!(report.subjects.len(), 1, "{:?}", report.subjects);
    report.check_process(inside.pid(), LEAK)?;
    let none = traced(&["--cgroup", &folder, "--user", "nobody"], &[])?;
    assert_eq!(none.stop()?.subjects.len(), 0);
    Ok(())
}

/// A cgroup that is empty when the trace begins is waited for, in every hierarchy.
#[test]
fn a_cgroup_that_fills_later() -> Result<()> {
    for root in hierarchies()? {
        let cgroup = Cgroup::within(
            &root,
            &format!("/memlens-test-later-{}", std::process::id()),
        )?;
        let memlens = traced(&["--cgroup", cgroup.path()], &[])?;
        let mut stays =
            start_probed(cgroup.enter(leak_each("host-later2").command(&["malloc"])?)?)?;
        stays.run()?;
        let report = memlens.stop()?;
        report.check_process(stays.pid(), LEAK)?;
        report.check_complete()?;
    }
    Ok(())
}

/// What is not there is named, with the way out, before anything is traced.
#[test]
fn what_is_not_there() -> Result<()> {
    need::root()?;
    let refused = |args: &[&str], words: &[&str]| {
        let mut all = vec!["leaks"];
        all.extend(args);
        Memlens::run(all)?.refused_with(words)
    };
    refused(
        &["--cgroup", "/no/such/cgroup"],
        &["no cgroup /no/such/cgroup", "/proc/PID/cgroup"],
    )?;
    // A folder that is no cgroup, beside the hierarchies and below one.
    let plain = tempfile::tempdir()?;
    refused(
        &["--cgroup", &plain.path().to_string_lossy()],
        &["no cgroup", "/sys/fs/cgroup"],
    )?;
    Memlens::run(["leaks", "--all", "--cpu-budget", "0"])?
        .misused_with(&["--cpu-budget", "off"])?;
    refused(
        &["--user", "no-such-user"],
        &["no-such-user", "/etc/passwd"],
    )?;
    Memlens::run(["leaks", "--all", "-p", "1"])?.misused_with(&["--pid", "--all"])?;
    Memlens::run(["leaks", "--exclude", "x"])?.misused_with(&["--exclude", "--all"])
}
