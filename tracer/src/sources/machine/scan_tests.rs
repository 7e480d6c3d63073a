//! Passes over trees that were made up, with processes that vanish, hide or make no sense, and over this machine.

use super::*;
use crate::sources::machine::root::tests::Tree;

const SHELL: &str = include_str!("samples/status.bash.txt");
const KERNEL_THREAD: &str = include_str!("samples/status.kthreadd.txt");
const ZOMBIE: &str = include_str!("samples/status.zombie.txt");
const ROLLUP: &str = include_str!("samples/smaps_rollup.bash.txt");

fn stat(pid: u32, start: u64) -> String {
    format!("{pid} (bash) S 1 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 {start} 4722688 897 0")
}

impl Tree {
    fn process(self, pid: u32, start: u64) -> Self {
        self.with(&format!("proc/{pid}/status"), SHELL)
            .with(&format!("proc/{pid}/stat"), stat(pid, start))
            .with(&format!("proc/{pid}/fd/0"), "")
    }
}

fn pass(tree: &Tree) -> Pass {
    Scanner::new(&tree.root(), Extras::default())
        .pass()
        .expect("the list is there")
}

fn keys(pass: &Pass) -> Vec<(u32, u64)> {
    let keys = pass.processes.iter().map(|sample| sample.key);
    keys.map(|key| (key.pid, key.start)).collect()
}

#[test]
fn processes_are_found_and_kernel_threads_and_zombies_left_out() {
    let tree = Tree::new()
        .process(31, 900)
        .process(4, 100)
        .with("proc/2/status", KERNEL_THREAD)
        .with("proc/77/status", ZOMBIE)
        .with("proc/meminfo", "")
        .folder("proc/self");
    let pass = pass(&tree);
    assert_eq!(keys(&pass), [(4, 100), (31, 900)]);
    assert_eq!((pass.unreadable, pass.denied), (0, 0));
    assert_eq!(pass.processes[0].name, "bash");
}

/// Each stage at which a process may have gone, and each text that is broken.
#[test]
fn what_vanishes_is_left_out_and_what_is_broken_is_counted() {
    let tree = Tree::new()
        .process(1, 1)
        .folder("proc/10")
        .with("proc/11/status", "")
        .with("proc/12/status", SHELL)
        .with("proc/13/status", SHELL)
        .with("proc/13/stat", "")
        .with("proc/14/status", SHELL)
        .with("proc/14/stat", "14 (cut")
        .with("proc/15/status", "\u{0}\u{1}garbage")
        .folder("proc/16/status");
    let pass = pass(&tree);
    assert_eq!(keys(&pass), [(1, 1)]);
    assert_eq!(pass.unreadable, 3);
}

/// The first thread is a zombie, and the memory is still there.
#[test]
fn a_process_whose_first_thread_has_exited_is_found() {
    let tree = Tree::new()
        .with(
            "proc/5/status",
            ZOMBIE.replace("Threads:\t1", "Threads:\t3"),
        )
        .with("proc/5/stat", stat(5, 50))
        .with("proc/5/task/5/status", ZOMBIE)
        .with("proc/5/task/6/status", SHELL);
    assert_eq!(keys(&pass(&tree)), [(5, 50)]);
}

#[test]
fn a_pid_that_comes_again_is_another_process() {
    let tree = Tree::new().process(9, 100);
    let mut scanner = Scanner::new(&tree.root(), Extras::default());
    assert_eq!(keys(&scanner.pass().expect("a pass")), [(9, 100)]);
    // The same folder: the start is not read again.
    let tree = tree.with("proc/9/stat", stat(9, 777));
    assert_eq!(keys(&scanner.pass().expect("a pass")), [(9, 100)]);
    // Kept aside, so that its inode cannot be given out again.
    std::fs::rename(tree.root().path("proc/9"), tree.root().path("proc/old")).expect("is moved");
    let _tree = tree.process(9, 777);
    assert_eq!(keys(&scanner.pass().expect("a pass")), [(9, 777)]);
}

#[test]
fn extras_are_read_where_asked_for() {
    let tree = Tree::new()
        .process(9, 1)
        .with("proc/9/smaps_rollup", ROLLUP)
        .with("proc/9/cgroup", "0::/system.slice/api.service\n")
        .process(10, 1);
    let extras = Extras {
        pss: true,
        places: true,
    };
    let mut scanner = Scanner::new(&tree.root(), extras);
    let samples = scanner.pass().expect("a pass").processes;
    assert_eq!(samples[0].figures.pss, Some(647 << 10));
    assert_eq!(samples[0].place.as_deref(), Some("api.service"));
    assert_eq!(
        (samples[1].figures.pss, samples[1].place.as_deref()),
        (None, None)
    );
    let tree = tree.with("proc/9/cgroup", "0::/system.slice/web.service\n");
    let place = |scanner: &mut Scanner| scanner.pass().expect("a pass").processes[0].place.clone();
    assert_eq!(place(&mut scanner).as_deref(), Some("api.service"));
    scanner.forget_places();
    assert_eq!(place(&mut scanner).as_deref(), Some("web.service"));
    drop(tree);
}

#[test]
fn without_a_list_there_is_no_pass() {
    let mut scanner = Scanner::new(&Tree::new().root(), Extras::default());
    assert!(scanner.pass().is_err());
}

#[test]
fn this_machine_is_read_and_the_test_is_among_its_processes() {
    let mut scanner = Scanner::new(
        &Root::machine(),
        Extras {
            pss: true,
            places: true,
        },
    );
    let own = std::process::id();
    let held = std::fs::File::open("/proc/self/status").expect("a descriptor");
    for _ in 0..2 {
        let pass = scanner.pass().expect("a pass");
        let this = pass
            .processes
            .iter()
            .find(|sample| sample.key.pid == own)
            .expect("this test");
        assert!(this.figures.rss > 1 << 20 && this.figures.virtual_size >= this.figures.rss);
        assert!(
            this.figures
                .pss
                .is_some_and(|pss| pss > 0 && pss <= this.figures.rss + (1 << 20))
        );
        assert!(this.figures.threads >= 1 && this.place.is_some());
        if scanner.counts_fds() {
            let counted = scanner.fds(own).expect("own descriptors");
            let size = this.figures.fds.expect("the kernel tells");
            assert!(size >= 4 && size.abs_diff(counted) < 64, "{size} {counted}");
        }
    }
    drop(held);
}
