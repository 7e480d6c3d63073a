//! Containers: their own namespaces, their own C library, their names.

use std::path::Path;
use std::process::Command;

use anyhow::{Result, ensure};
use memlens::profile::{Runtime, Subject};
use memlens_tests::cgroup::{Cgroup, container_id, hierarchies};
use memlens_tests::container::{Container, Image};
use memlens_tests::{HeapFigures as _, Live, Memlens, Program, Victim, code, need};

use super::{LEAK, Stage, leak_each, traced};

/// A row is of this container.
fn check_place(row: &Subject, container: &Container) -> Result<()> {
    let named = row.place.container.as_ref();
    ensure!(
        named.is_some_and(|named| named.runtime == Runtime::Docker && named.id == container.id()),
        "{named:?}, not docker's {}",
        container.id()
    );
    ensure!(row.place.label() == container.name(), "{:?}", row.place);
    Ok(())
}

/// A container whose C library nobody else has starts during the trace, and leaks two seconds later: exactly that, with
/// its name.
#[test]
fn one_that_starts_during_the_trace() -> Result<()> {
    let image = Image::new(&Program::new("leak_soon"))?;
    let container = Container::on(&image)?;
    let memlens = Memlens::leaks_of(&["--all"], &[])?;
    let (mut victim, pid) = container.start(&["2000"])?;
    victim.expect("done")?;
    let report = memlens.stop()?;
    let row = report.check_process(pid, LEAK)?;
    check_place(row, &container)?;
    ensure!(row.started_in_trace, "{row:?}");
    report.check_function_of(pid, "leak_late", LEAK)?;
    let since = row.first_seen;
    ensure!(!since.is_zero(), "it is not said since when it is traced");
    Ok(())
}

/// Five at once, each with a C library of its own.
#[test]
fn several_that_start_together() -> Result<()> {
    let stage = Stage::enter()?;
    let program = Program::new("leak_soon");
    let images = (0..5)
        .map(|_| Image::new(&program))
        .collect::<Result<Vec<_>>>()?;
    let containers = images
        .iter()
        .map(Container::on)
        .collect::<Result<Vec<_>>>()?;
    let memlens = stage.trace(&[])?;
    let mut running = Vec::new();
    for container in &containers {
        running.push(container.start(&["500"])?);
    }
    for (victim, _) in &mut running {
        victim.expect("done")?;
    }
    let report = memlens.stop()?;
    for ((_, pid), container) in running.iter().zip(&containers) {
        check_place(report.check_process(*pid, LEAK)?, container)?;
    }
    Ok(())
}

/// Containers on overlays above one image share its C library, also with a process that has it without an overlay. The
/// kernel knows one file, `stat` shows three: each block is counted once.
#[test]
fn overlays_share_a_file() -> Result<()> {
    let stage = Stage::enter()?;
    let image = Image::new(&leak_each("contained"))?;
    let before = [Container::over(&image)?, Container::on(&image)?];
    let later = Container::over(&image)?;
    let mut running = Vec::new();
    for container in &before {
        running.push((container.start(&["malloc", "3"])?, container));
    }
    let memlens = stage.trace(&[])?;
    running.push((later.start(&["malloc", "3"])?, &later));
    for ((_, pid), _) in &running {
        code::until_probed(*pid, "libc.so")?;
    }
    for ((victim, _), _) in &mut running {
        victim.run()?;
    }
    let report = memlens.stop()?;
    for ((_, pid), container) in &running {
        let row = report.check_process(*pid, Live::new(90_000, 3))?;
        check_place(row, container)?;
        report.check_function_of(*pid, "leak_malloc", Live::new(90_000, 3))?;
        assert_eq!(row.allocated().blocks, 3, "blocks are counted twice");
    }
    Ok(())
}

/// A file that was copied up when it was changed is another file than the one below.
#[test]
fn an_overlay_with_a_library_of_its_own() -> Result<()> {
    let stage = Stage::enter()?;
    let image = Image::new(&leak_each("contained"))?;
    let shared = Container::over(&image)?;
    let (mut first, first_pid) = shared.start(&["malloc"])?;
    let changed = Container::over(&image)?;
    let memlens = stage.trace(&[])?;
    // Copied up by the change of its time, in the container's own mount namespace, before the victim runs.
    let libc = need::library("libc.so.6")?;
    let (mut second, second_pid) =
        changed.start_after(&format!("touch .{}", libc.display()), &["malloc"])?;
    code::until_probed(second_pid, "libc.so")?;
    first.run()?;
    second.run()?;
    let report = memlens.stop()?;
    check_place(report.check_process(first_pid, LEAK)?, &shared)?;
    check_place(report.check_process(second_pid, LEAK)?, &changed)
}

/// The file system with the program and its C library was unmounted: no path leads there, in no namespace; the mappings
/// are left.
#[test]
fn a_libc_without_a_path() -> Result<()> {
    let stage = Stage::enter()?;
    let image = Image::new(&leak_each("contained"))?;
    let folder = tempfile::tempdir()?;
    let libraries = need::library("libc.so.6")?;
    let libraries = libraries.parent().unwrap_or(Path::new("/"));
    let script = format!(
        "mount -t tmpfs none \"$1\" && cp -a \"$2\"/. \"$1\" && cd / && \
         exec \"$1/lib64/ld-linux-x86-64.so.2\" --library-path \"$1{}\" \"$1/contained\" malloc",
        libraries.display()
    );
    let mut command = Command::new(need::program("unshare")?);
    command
        .args(["--mount", "--propagation", "private", "sh", "-c"])
        .args([&script, "sh"])
        .args([folder.path(), image.path()]);
    let mut victim = Victim::start(command)?;
    let pid = victim.pid();
    let inside = format!("/proc/{pid}/root{}/contained", folder.path().display());
    ensure!(Path::new(&inside).exists(), "{inside} is not there");
    let status = Command::new(need::program("nsenter")?)
        .args(["--mount", "--target", &pid.to_string()])
        .args(["umount", "--lazy"])
        .arg(folder.path())
        .status()?;
    ensure!(status.success(), "umount: {status}");
    ensure!(!Path::new(&inside).exists(), "{inside} is still there");
    let memlens = stage.trace(&[])?;
    victim.run()?;
    let report = memlens.stop()?;
    report.check_process(pid, LEAK)?;
    report.check_function_of(pid, "leak_malloc", LEAK)
}

/// Only one container, by its cgroup; what it starts is in it, what runs outside is not.
#[test]
fn only_one_container() -> Result<()> {
    let image = Image::new(&leak_each("contained"))?;
    let container = Container::on(&image)?;
    let other = Container::on(&image)?;
    let (mut before, before_pid) = container.start(&["malloc"])?;
    let (mut outside, outside_pid) = other.start(&["malloc"])?;
    let memlens = traced(&["--cgroup", container.cgroup().path()], &[])?;
    let (mut later, later_pid) = container.start(&["malloc", "2"])?;
    code::until_probed(later_pid, "libc.so")?;
    for victim in [&mut before, &mut outside, &mut later] {
        victim.run()?;
    }
    let report = memlens.stop()?;
    check_place(report.check_process(before_pid, LEAK)?, &container)?;
    report.check_process(later_pid, Live::new(60_000, 2))?;
    ensure!(!report.has_row(outside_pid), "another container has a row");
    for row in &report.subjects {
        ensure!(row.place.label() == container.name(), "{row:?}");
    }
    ensure!(
        report
            .host_wide()?
            .scope
            .contains(container.cgroup().path()),
        "{}",
        report.host_wide()?.scope
    );
    report.check_complete()
}

/// Whatever hierarchy a runtime has put its cgroup in, and however it calls it.
#[test]
fn names_in_every_hierarchy() -> Result<()> {
    let stage = Stage::enter()?;
    // Before those within, so that they are dropped after them.
    let outer = format!("/memlens-test-names-{}", std::process::id());
    let outer = hierarchies()?
        .iter()
        .map(|root| Cgroup::within(root, &outer))
        .collect::<Result<Vec<_>>>()?;
    let mut running = Vec::new();
    for outer in &outer {
        for (folder, prefix, suffix, runtime) in [
            ("docker", "", "", Runtime::Docker),
            ("memlens-test.slice", "libpod-", ".scope", Runtime::Podman),
            (
                "memlens-test.slice",
                "cri-containerd-",
                ".scope",
                Runtime::Containerd,
            ),
            ("memlens-test.slice", "crio-", ".scope", Runtime::Crio),
        ] {
            let id = container_id();
            let cgroup = outer.below(&format!("/{folder}/{prefix}{id}{suffix}"))?;
            let command = cgroup.enter(leak_each("host-named").command(&["malloc"])?)?;
            running.push((Victim::start(command)?, cgroup, runtime, id));
        }
    }
    let memlens = stage.trace(&[])?;
    for (victim, ..) in &mut running {
        victim.run()?;
    }
    let report = memlens.stop()?;
    for (victim, cgroup, runtime, id) in &running {
        let row = report.check_process(victim.pid(), LEAK)?;
        let named = row.place.container.as_ref();
        ensure!(
            named.is_some_and(|named| named.runtime == *runtime && named.id == *id),
            "{named:?} for {}",
            cgroup.folder().display()
        );
        let expected = format!("{}:{}", runtime.name(), &id[..12]);
        assert_eq!(row.place.label(), expected);
    }
    Ok(())
}
