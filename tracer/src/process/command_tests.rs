//! Tests of starting commands stopped. They fork this very test program, so they look at PIDs of their own only.

use std::path::Path;
use std::time::{Duration, Instant};

use super::*;

fn argv(words: &[&str]) -> Vec<OsString> {
    words.iter().map(OsString::from).collect()
}

fn shell(script: &str) -> Stopped {
    Stopped::spawn(&argv(&["sh", "-c", script])).expect("sh exists")
}

fn exe(pid: u32) -> std::path::PathBuf {
    std::fs::read_link(format!("/proc/{pid}/exe")).expect("the child lives")
}

fn until(what: &str, mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(
            start.elapsed() < Duration::from_secs(10),
            "waited in vain for: {what}"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn waits_until_it_is_released_and_keeps_its_pid() {
    let folder = tempfile::tempdir().expect("folder");
    let file = folder.path().join("file");
    let stopped = Stopped::spawn(&argv(&[
        "sh",
        "-c",
        "echo \"$$ $1\" > \"$0\"; exit 7",
        file.to_str().expect("utf-8"),
        "a  b",
    ]))
    .expect("spawn");
    let pid = stopped.pid();
    std::thread::sleep(Duration::from_millis(50));
    assert_eq!(exe(pid), std::env::current_exe().expect("own exe"));
    assert!(!file.exists());
    let mut running = stopped.release().expect("release");
    assert_eq!(running.wait().expect("wait"), Exit::Code(7));
    assert_eq!(running.try_wait().expect("again"), Some(Exit::Code(7)));
    assert_eq!(
        std::fs::read_to_string(&file).expect("written"),
        format!("{pid} a  b\n")
    );
}

#[test]
fn after_release_the_new_program_runs() {
    let mut running = Stopped::spawn(&argv(&["sleep", "60"]))
        .expect("spawn")
        .release()
        .expect("release");
    // `release` returns when the exec is done, so there is nothing to wait for.
    assert_ne!(exe(running.pid), std::env::current_exe().expect("own exe"));
    assert_eq!(running.try_wait().expect("poll"), None);
    running.kill(Signal::SIGTERM).expect("kill");
    assert_eq!(running.wait().expect("wait"), Exit::Signal(libc::SIGTERM));
    running.kill(Signal::SIGTERM).expect("nothing left to kill");
}

#[test]
fn signals_are_back_to_their_defaults() {
    // Rust ignores SIGPIPE, and the test blocks SIGUSR1: neither may reach the command.
    let mut blocked = signal::SigSet::empty();
    blocked.add(Signal::SIGUSR1);
    blocked.thread_block().expect("block");
    let script = "grep -qE '^SigBlk:\\s*0+$' /proc/self/status && kill -PIPE $$; exit 3";
    let mut running = shell(script).release().expect("release");
    blocked.thread_unblock().expect("unblock");
    assert_eq!(running.wait().expect("wait"), Exit::Signal(libc::SIGPIPE));
}

#[test]
fn leaves_no_descriptor_behind() {
    let _kept_open = std::fs::File::open("/dev/null").expect("open");
    let folder = tempfile::tempdir().expect("folder");
    let list = folder.path().join("list");
    let first = shell("exit 0");
    let words = [
        "sh",
        "-c",
        "ls -l /proc/$$/fd > \"$0\"",
        list.to_str().expect("utf-8"),
    ];
    let mut second = Stopped::spawn(&argv(&words))
        .expect("spawn")
        .release()
        .expect("release");
    assert_eq!(second.wait().expect("wait"), Exit::Code(0));
    drop(first);
    let listed = std::fs::read_to_string(list).expect("listed");
    // Descriptors that the test runner itself was started with are the user's; those are not close-on-exec.
    let pipes = std::fs::read_dir("/proc/self/fd")
        .expect("own list")
        .flatten()
        .filter(|entry| {
            let number: i32 = entry
                .file_name()
                .to_str()
                .and_then(|n| n.parse().ok())
                .expect("number");
            // SAFETY: asks for the flags of a descriptor number, whatever it is.
            number > 2 && (unsafe { libc::fcntl(number, libc::F_GETFD) } & libc::FD_CLOEXEC == 0)
        });
    let inherited = pipes.count();
    let open = listed.lines().filter(|line| line.contains("->")).count();
    // 0, 1, 2, and the shell's own copy of a redirected descriptor.
    assert!(open <= 4 + inherited, "{listed}");
    assert!(
        !listed.contains("/dev/null")
            || std::fs::read_link("/proc/self/fd/0").is_ok_and(|t| t == Path::new("/dev/null")),
        "{listed}"
    );
}

#[test]
fn dropping_it_ends_and_reaps_the_child() {
    let stopped = shell("sleep 60");
    let pid = stopped.pid();
    drop(stopped);
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_failed_exec_is_one_line() {
    let error = Stopped::spawn(&argv(&["no-such-command-here"])).expect_err("no such");
    assert_eq!(
        error.to_string(),
        "cannot run no-such-command-here: no such file or directory"
    );

    // Found and executable, but its interpreter does not exist: the kernel says so at exec.
    let folder = tempfile::tempdir().expect("folder");
    let script = executable(folder.path(), "#!/no/such/interpreter\n");
    let stopped = Stopped::spawn(std::slice::from_ref(&script)).expect("spawn");
    let pid = stopped.pid();
    let error = stopped.release().expect_err("no interpreter");
    assert_eq!(
        error.to_string(),
        format!("cannot run {}: no such file or directory", script.display())
    );
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
}

#[test]
fn a_text_without_a_first_line_goes_to_the_shell() {
    let folder = tempfile::tempdir().expect("folder");
    let script = executable(folder.path(), "exit $1\n");
    let mut running = Stopped::spawn(&[script, "9".into()])
        .expect("spawn")
        .release()
        .expect("release");
    assert_eq!(running.wait().expect("wait"), Exit::Code(9));
}

/// Writes a file that is executable. Another test's child may hold it open for writing for a moment (the fork copies
/// the descriptor), which `exec` refuses with ETXTBSY; so a shell writes it, whose descriptors no test's fork sees.
fn executable(folder: &Path, text: &str) -> OsString {
    let path = folder.join("script");
    let status = std::process::Command::new("sh")
        .args(["-c", "printf '%s' \"$1\" > \"$0\"; chmod 755 \"$0\""])
        .arg(&path)
        .arg(text)
        .status()
        .expect("run sh");
    assert!(status.success());
    path.into()
}

/// Starts a command in a forked copy of this program, ends that copy by SIGKILL, and returns the command's PID.
fn orphan(release: bool) -> u32 {
    let (mut reader, writer) = io::pipe().expect("pipe");
    // SAFETY: the copy allocates, which glibc allows after a fork (its fork handlers keep the allocator's locks
    // consistent), touches no other lock, and leaves by `_exit` or a signal.
    match unsafe { fork() }.expect("fork") {
        ForkResult::Child => {
            let stopped = Stopped::spawn(&argv(&["sleep", "30"])).unwrap_or_else(|_| exit_now(9));
            let pid = stopped.pid();
            let running = release.then(|| stopped.release());
            let mut out = &writer;
            let _ = out.write_all(&pid.to_ne_bytes());
            let _ = signal::kill(Pid::this(), Signal::SIGKILL);
            drop(running);
            exit_now(9)
        }
        ForkResult::Parent { child } => {
            drop(writer);
            assert_eq!(
                wait(child, WaitPidFlag::empty()).expect("wait"),
                Some(Exit::Signal(libc::SIGKILL))
            );
            let mut pid = [0; 4];
            reader.read_exact(&mut pid).expect("pid");
            u32::from_ne_bytes(pid)
        }
    }
}

fn is_alive(pid: u32) -> bool {
    super::super::info::read(pid).is_ok_and(|info| info.state != super::super::info::State::Zombie)
}

#[test]
fn released_it_outlives_its_starter() {
    let pid = orphan(true);
    std::thread::sleep(Duration::from_millis(50));
    assert!(is_alive(pid));
    signal::kill(Pid::from_raw(pid.cast_signed()), Signal::SIGKILL).expect("clean up");
}

#[test]
fn unreleased_it_dies_with_its_starter() {
    let pid = orphan(false);
    until("the child's end", || !is_alive(pid));
}
