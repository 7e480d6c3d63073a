//! Snapshots of trees that were made up: what is missing is said, and what hides is noted.

use super::*;
use crate::sources::machine::root::tests::Tree;

const MEMINFO: &str = include_str!("samples/meminfo.6.18.txt");
const SHELL: &str = include_str!("samples/status.bash.txt");

fn tree() -> Tree {
    Tree::new()
        .with("proc/meminfo", MEMINFO)
        .with("proc/uptime", "1000.00 1900.00\n")
        .with("proc/7/status", SHELL)
        .with(
            "proc/7/stat",
            "7 (bash) S 1 7 7 0 -1 0 1 2 3 4 5 6 7 8 20 0 1 0 40000 4722688 897 0",
        )
}

fn sampler(tree: &Tree) -> Sampler {
    Sampler::new(tree.root(), Extras::default())
}

#[test]
fn a_machine_with_the_least_is_read() {
    let tree = tree();
    let mut sampler = sampler(&tree);
    let snapshot = sampler.snapshot().expect("a snapshot");
    assert_eq!(snapshot.processes.len(), 1);
    assert_eq!((snapshot.pressure, snapshot.oom_kills), (None, None));
    assert_eq!(
        sampler.notes(),
        ["no memory cgroups are mounted: limits of containers are not seen"]
    );
    let ticks = procfs::ticks_per_second();
    let start = 1000 * ticks - 30 * ticks;
    assert_eq!(sampler.age(start), Some(Duration::from_secs(30)));
    assert_eq!(sampler.age(2000 * ticks), None);
}

#[test]
fn everything_that_the_kernel_tells_is_taken() {
    let tree = tree()
        .with("proc/pressure/memory", include_str!("samples/pressure.txt"))
        .with("proc/vmstat", "oom_kill 3\n");
    let snapshot = sampler(&tree).snapshot().expect("a snapshot");
    assert!(snapshot.pressure.is_some());
    assert_eq!(snapshot.oom_kills, Some(3));
}

#[test]
fn without_meminfo_there_is_no_snapshot() {
    let missing = sampler(&Tree::new()).snapshot().expect_err("nothing there");
    assert!(
        format!("{missing:#}").contains("is /proc mounted?"),
        "{missing:#}"
    );
    let broken = sampler(&Tree::new().with("proc/meminfo", "MemTotal: x kB\n")).snapshot();
    let text = format!("{:#}", broken.expect_err("makes no sense"));
    assert!(!text.contains('\n') && text.len() < 200, "{text}");
}

#[test]
fn hidepid_is_read_off_the_mounts() {
    let hides = |options: &str| hides_processes(&format!("proc /proc proc {options} 0 0\n"));
    assert!(hides("rw,nosuid,hidepid=2") && hides("rw,hidepid=invisible"));
    assert!(!hides("rw,nosuid") && !hides("rw,hidepid=0") && !hides("rw,hidepid=off"));
    // The mount that lies on top counts.
    let mounts = "proc /proc proc rw,hidepid=2 0 0\nproc /proc proc rw 0 0\n";
    assert!(!hides_processes(mounts));
}

#[test]
fn containers_are_noted() {
    use std::os::unix::fs::symlink;
    let tree = tree()
        .with(
            "proc/self/mounts",
            "lxcfs /proc/meminfo fuse.lxcfs rw 0 0\ncgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n",
        )
        .with("sys/fs/cgroup/cgroup.controllers", "memory\n")
        .folder("proc/self/ns");
    symlink("pid:[4026532999]", tree.root().path("proc/self/ns/pid")).expect("is linked");
    let notes = sampler(&tree).notes();
    assert_eq!(notes.len(), 2, "{notes:?}");
    assert!(
        notes[0].starts_with("memlens runs in a PID namespace"),
        "{notes:?}"
    );
    assert!(notes[1].contains("lxcfs"), "{notes:?}");
}

/// Of the rows that are shown, what is too large or may not be read is said.
#[test]
fn a_pss_that_is_left_out_is_noted() {
    let tree = tree().with("proc/7/smaps_rollup", "Pss: 12 kB\n");
    let mut sampler = sampler(&tree);
    assert_eq!(sampler.pss(7, 1 << 20), Some(12 << 10));
    assert_eq!(sampler.pss(8, 1 << 20), None);
    assert_eq!(sampler.pss(7, 5 << 30), None);
    let notes = sampler.notes();
    assert!(
        notes[0].starts_with("the PSS of 1 process above 4 GiB is left out"),
        "{notes:?}"
    );
    sampler.refresh();
    assert_eq!(sampler.notes().len(), 1);
}
