//! What to run next, with the PID filled in.

use crate::profile::Profile;
use crate::profile::hunt::NextCommand;

/// A longer hunt.
pub(super) fn longer(pid: Option<u32>) -> NextCommand {
    let command = match pid {
        Some(pid) => format!("memlens hunt {pid} --for 10m"),
        None => "memlens hunt --for 10m".to_owned(),
    };
    NextCommand::new(command, "the same for longer: a slower growth shows")
}

/// Another process that grows.
pub(super) fn other(pid: u32, command: &str) -> NextCommand {
    NextCommand::new(
        format!("memlens hunt {pid}"),
        format!("the same for {command}, which grows too"),
    )
}

/// The same, where the probes may cost more.
pub(super) fn dearer(pid: u32) -> NextCommand {
    NextCommand::new(
        format!("memlens hunt {pid} --slowdown 50"),
        "the same, with more of its CPU time for its probes",
    )
}

/// Stacks of the heap.
pub(super) fn heap(pid: u32) -> Vec<NextCommand> {
    vec![
        NextCommand::new(
            format!("memlens leaks -p {pid} --older 1m 2m 1"),
            "stacks whose blocks are older than a minute: what is in use is gone by then",
        ),
        NextCommand::new(
            format!("memlens leaks -p {pid} --sort growth --svg heap.svg 5m 1"),
            "what grows most in five minutes, and a flame graph of it",
        ),
    ]
}

/// Stacks that map memory.
pub(super) fn mappings(pid: u32) -> Vec<NextCommand> {
    vec![NextCommand::new(
        format!("memlens vm -p {pid}"),
        "which stacks map memory, every few seconds",
    )]
}

/// The parts of a process, and their stacks.
pub(super) fn explain(pid: u32) -> NextCommand {
    NextCommand::new(
        format!("memlens explain --trace 5m {pid}"),
        "the parts of its growth in five minutes, and the stacks of each",
    )
}

/// The ledger of a process.
pub(super) fn ledger(pid: u32) -> NextCommand {
    NextCommand::new(
        format!("memlens explain {pid}"),
        "its ledger: kernel, allocator, arena by arena, runtime",
    )
}

/// The kernel's memory.
pub(super) fn kernel() -> NextCommand {
    NextCommand::new(
        "memlens kernel",
        "which kernel stacks hold slab objects, pages and per-CPU memory",
    )
}

/// Shared memory of nobody in particular.
pub(super) fn shared() -> Vec<NextCommand> {
    vec![
        NextCommand::new("df -h -t tmpfs", "files in memory, by file system"),
        NextCommand::new("ipcs -m", "System V shared memory, and who made it"),
        NextCommand::new(
            "memlens host --by container",
            "which container or service is charged for it",
        ),
    ]
}

/// The machine, for longer.
pub(super) fn host() -> NextCommand {
    NextCommand::new(
        "memlens host 1m",
        "the machine and its processes every minute: slow growth shows",
    )
}

/// The tools of the language runtimes that a process has.
pub(super) fn runtime_tools(profile: &Profile, pid: u32) -> Vec<NextCommand> {
    let runtimes = profile.sections.ledger.iter();
    let runtimes = runtimes.flat_map(|ledger| &ledger.runtimes);
    runtimes
        .flat_map(|runtime| tools(&runtime.name, pid))
        .collect()
}

/// The tools of a runtime, by its name in the ledger.
fn tools(runtime: &str, pid: u32) -> Vec<NextCommand> {
    let name = runtime.split([' ', ',']).next().unwrap_or_default();
    let (command, what) = match name {
        "JVM" => (
            format!("jcmd {pid} GC.heap_dump /tmp/heap-{pid}.hprof"),
            "a heap dump, which shows what holds the objects (first: GC.class_histogram)",
        ),
        "V8" => (
            format!("kill -USR2 {pid}"),
            "a heap snapshot for Chrome's developer tools, if it was started with node --heapsnapshot-signal=SIGUSR2",
        ),
        "CPython" => (
            format!("memray attach {pid}"),
            "which Python lines hold objects; or tracemalloc, in the program",
        ),
        "Go" => (
            "go tool pprof http://HOST:PORT/debug/pprof/heap".to_owned(),
            "which Go stacks hold objects, where the program serves net/http/pprof",
        ),
        "Ruby" => (
            format!("rbtrace -p {pid} -e 'require \"objspace\"; ObjectSpace.dump_all'"),
            "a dump of all objects, where the program has rbtrace loaded",
        ),
        ".NET" => (
            format!("dotnet-gcdump collect -p {pid}"),
            "a dump of the managed heap",
        ),
        _ => return Vec::new(),
    };
    vec![NextCommand::new(command, what)]
}
