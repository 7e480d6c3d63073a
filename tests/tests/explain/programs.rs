//! `memlens explain` of real programs: the ledger adds up, and where memory is native it says so.

#[path = "../root/unwinding/busy.rs"]
#[expect(
    dead_code,
    reason = "made for the tests of stacks, which use all of it"
)]
mod busy;

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use busy::Busy;
use memlens::profile::FindingKind;
use memlens_tests::child::{Owned, until_unchanged};
use memlens_tests::ledger::{explain, explain_at_work, explain_with, signed};
use memlens_tests::{Report, Victim, foreign, load, need};

/// A program that says a word when it is ready, and again after each line that it reads.
struct Steps {
    child: Owned,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
}

impl Steps {
    fn start(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = Owned::start(&mut command)?;
        let input = child.handle().stdin.take().context("no input")?;
        let output = child.handle().stdout.take().context("no output")?;
        let mut steps = Self {
            child,
            input,
            output: BufReader::new(output),
        };
        steps.wait()?;
        Ok(steps)
    }

    fn wait(&mut self) -> Result<()> {
        let mut line = String::new();
        let read = self.output.read_line(&mut line)?;
        ensure!(read > 0, "{} ended", self.child.what());
        Ok(())
    }

    fn step(&mut self) -> Result<()> {
        writeln!(self.input, "go")?;
        self.wait()
    }

    /// Explains it before and after a step that makes native memory grow by so many bytes, and compares.
    fn grows_natively(&mut self, by: u64) -> Result<Report> {
        let folder = tempfile::tempdir()?;
        let before = folder.path().join("before.json");
        let first = explain(self.child.pid())?;
        first.check_ledger(self.child.pid())?;
        std::fs::write(&before, first.json.to_string())?;
        self.step()?;
        let second = explain_with(self.child.pid(), &["--diff".as_ref(), before.as_os_str()])?;
        second.check_ledger(self.child.pid())?;
        let native = signed(second.section("ledger_change"), "/native_bytes")?;
        let by = by.cast_signed();
        ensure!(
            (by..by + by / 10).contains(&native),
            "native memory grew by {native}, not {by}"
        );
        second.check_finding(FindingKind::Change, &["native side", "memlens leaks -p"])?;
        Ok(second)
    }
}

#[test]
fn node_with_growing_buffers() -> Result<()> {
    let script = "global.kept = []; console.log('ready');\n\
        require('readline').createInterface({input: process.stdin}).on('line', () => {\n\
        \x20 for (let i = 0; i < 200; i++) global.kept.push(Buffer.alloc(500000, 1));\n\
        \x20 console.log('grown');\n\
        });\n";
    let mut command = Command::new(need::program("node").or_else(|_| need::program("nodejs"))?);
    command.args(["-e", script]);
    let explained = Steps::start(command)?.grows_natively(100_000_000)?;
    let heap = explained.runtime_number("heap_resident_bytes")?;
    ensure!((1 << 20..100 << 20).contains(&heap), "V8's heap is {heap}");
    explained.check_explains(&["V8's own heap", "most is on the native side"])
}

#[test]
fn java_with_direct_buffers() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let source = folder.path().join("Direct.java");
    let text = "import java.nio.ByteBuffer;\n\
        public class Direct {\n\
        \x20 public static void main(String[] words) throws Exception {\n\
        \x20   var kept = new java.util.ArrayList<ByteBuffer>();\n\
        \x20   var onHeap = new byte[10][1000000];\n\
        \x20   System.out.println(\"ready\");\n\
        \x20   while (System.in.read() >= 0) {\n\
        \x20     while (System.in.available() > 0) System.in.read();\n\
        \x20     for (int i = 0; i < 100; i++) {\n\
        \x20       var buffer = ByteBuffer.allocateDirect(1000000);\n\
        \x20       while (buffer.hasRemaining()) buffer.put((byte) 1);\n\
        \x20       kept.add(buffer);\n\
        \x20     }\n\
        \x20     System.out.println(\"grown \" + onHeap.length);\n\
        \x20   }\n\
        \x20 }\n\
        }\n";
    std::fs::write(&source, text)?;
    let compiler = Command::new(need::program("javac")?)
        .arg("-d")
        .args([folder.path(), &source])
        .status()?;
    ensure!(compiler.success(), "javac: {compiler}");
    let mut command = Command::new(need::program("java")?);
    command
        .args([
            "-XX:+UseSerialGC",
            "-Xmx64m",
            "-XX:MaxDirectMemorySize=512m",
            "-cp",
        ])
        .arg(folder.path())
        .arg("Direct");
    let explained = Steps::start(command)?.grows_natively(100_000_000)?;
    let heap = explained.runtime_number("heap_resident_bytes")?;
    ensure!(
        (10_000_000..=64 << 20).contains(&heap),
        "the Java heap is {heap}"
    );
    // What the JVM publishes itself: its heap is committed within what was found of it.
    let figures = explained.runtime()["figures"]
        .as_array()
        .context("no figures")?;
    let figure =
        |name: &str| figures.iter().find(|figure| figure["name"] == name)?["bytes"].as_u64();
    let ask = explained.runtime()["unreadable"]
        .as_str()
        .unwrap_or_default();
    ensure!(ask.contains("-XX:NativeMemoryTracking=summary"), "{ask}");
    let used = figure("heap used").context("no heap used")?;
    let reserved = explained.ledger("runtime_heap", "virtual_bytes");
    ensure!(
        used <= heap + (1 << 20) && heap <= reserved,
        "{used} {heap} {reserved}"
    );
    Ok(())
}

/// Ruby's heap is told from what its objects have in malloc's memory.
#[test]
fn ruby_with_a_growing_heap() -> Result<()> {
    // Short strings lie in the object itself, 40 bytes each; long ones are malloc's.
    let script = "long = []; $stdout.sync = true; puts 'ready'\n\
        while STDIN.gets\n\
        \x20 200_000.times { long << 'y' * 500 }; puts 'grown'\n\
        end\n";
    let mut command = Command::new(need::program("ruby")?);
    let objects = "$few = (0...200_000).map { |i| \"x#{i}\" }";
    command.args(["-e", &format!("{objects}\n{script}")]);
    let mut steps = Steps::start(command)?;
    let before = explain(steps.child.pid())?;
    let heap = before.runtime_number("heap_resident_bytes")?;
    ensure!(
        (8_000_000..32_000_000).contains(&heap),
        "Ruby's heap is {heap}"
    );
    steps.step()?;
    let after = explain(steps.child.pid())?;
    after.check_ledger(steps.child.pid())?;
    let grown = after.runtime_number("heap_resident_bytes")? - heap;
    ensure!(
        (4_000_000..16_000_000).contains(&grown),
        "it grew by {grown}"
    );
    let native =
        after.ledger("brk_heap", "resident_bytes") - before.ledger("brk_heap", "resident_bytes");
    ensure!(native >= 95_000_000, "the native side grew by {native}");
    after.check_explains(&["Ruby's own heap", "most is on the native side"])
}

/// Go's heap by its own counters; and without symbols, why not.
#[test]
fn go_with_and_without_symbols() -> Result<()> {
    let program = foreign::go(false)?;
    let mut victim = Victim::start(Command::new(&program))?;
    victim.go_to("done")?;
    let explained = explain(victim.pid())?;
    explained.check_ledger(victim.pid())?;
    let runtime = explained.runtime();
    ensure!(
        runtime["name"] == "Go" && runtime["unreadable"].is_null(),
        "{runtime}"
    );
    // It keeps a thousand slices of 10,000 bytes, which Go rounds up to 10,240.
    let live = explained.runtime_number("objects_bytes")?;
    ensure!(
        (10_240_000..14_000_000).contains(&live),
        "{live} bytes live"
    );
    let figure = |index: usize| explained.runtime_number(&format!("figures/{index}/bytes"));
    let (in_use, free) = (figure(0)?, figure(1)?);
    let resident = explained.runtime_number("heap_resident_bytes")?;
    ensure!(
        live <= in_use && in_use + free >= resident / 2,
        "{in_use} {free} {resident}"
    );
    let folder = tempfile::tempdir()?;
    let stripped = folder.path().join("go-stripped");
    let made = Command::new(need::program("strip")?)
        .arg("-o")
        .args([&stripped, &program])
        .status()?;
    ensure!(made.success(), "strip: {made}");
    let mut victim = Victim::start(Command::new(&stripped))?;
    victim.go_to("done")?;
    let explained = explain(victim.pid())?;
    let why = explained.runtime()["unreadable"]
        .as_str()
        .unwrap_or_default();
    ensure!(
        why.contains("no debug information") && why.contains("ReadMemStats"),
        "{why}"
    );
    // Of each slice one page was touched.
    ensure!(explained.runtime_number("heap_resident_bytes")? > 1000 * 4096);
    Ok(())
}

/// An extension that leaks: malloc, through ctypes.
#[test]
fn python_with_a_leaking_extension() -> Result<()> {
    let script = "import ctypes, sys\n\
        libc = ctypes.CDLL(None)\n\
        libc.malloc.restype = ctypes.c_void_p\n\
        kept = [str(i) * 5 for i in range(300000)]\n\
        print('ready', flush=True)\n\
        for line in sys.stdin:\n\
        \x20   for i in range(50000): ctypes.memset(libc.malloc(2000), 1, 2000)\n\
        \x20   print('grown', flush=True)\n";
    let python = Path::new("/usr/bin/python3");
    ensure!(python.exists(), "/usr/bin/python3 is not installed");
    let mut command = Command::new(python);
    command.args(["-c", script]);
    let explained = Steps::start(command)?.grows_natively(100_000_000)?;
    let objects = explained.runtime_number("objects_bytes")?;
    let heap = explained.runtime_number("heap_resident_bytes")?;
    // 300,000 strings of some 80 bytes, and what CPython itself has.
    ensure!(
        (20 << 20..60 << 20).contains(&objects),
        "{objects} bytes of objects"
    );
    ensure!(objects <= heap, "{objects} bytes of objects in {heap}");
    explained.check_explains(&["CPython's own heap", "native"])
}

#[test]
fn redis_server() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let port = load::free_port()?;
    let server = load::redis(folder.path(), port)?;
    load::redis_load(port, 20_000)?;
    // jemalloc gives memory back for some seconds after the load: it is explained once that is over.
    let (still, limit) = (Duration::from_secs(1), Duration::from_secs(60));
    until_unchanged("redis-server is at rest", still, limit, || {
        explain(server.pid())?.process_total("rss_bytes")
    })?;
    let explained = explain(server.pid())?;
    explained.check_ledger(server.pid())?;
    let own = explained.ledger("allocator", "resident_bytes");
    let all = explained.process_total("anonymous_bytes")?;
    ensure!(own > all / 2, "jemalloc has {own} of {all} anonymous bytes");
    explained.allocator("jemalloc")?;
    Ok(())
}

#[test]
fn nginx() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let port = load::free_port()?;
    let master = load::nginx(folder.path(), port)?;
    load::http_load(port, 50)?;
    let workers = load::children(master.pid())?;
    for pid in workers.into_iter().chain([master.pid()]) {
        let explained = explain(pid)?;
        explained.check_ledger(pid)?;
        ensure!(
            explained.arenas("in_use_bytes")? > 10_000,
            "nginx has a heap"
        );
        ensure!(explained.arenas("unknown_bytes")? == 0);
    }
    Ok(())
}

/// A backend at work, with shared memory.
#[test]
fn postgres() -> Result<()> {
    need::root()?;
    let mut postgres = Busy::postgres()?;
    let explained = explain_at_work(postgres.pid())?;
    ensure!(
        explained.ledger("shared", "virtual_bytes") > 16 << 20,
        "no shared memory"
    );
    ensure!(
        explained.arenas("in_use_bytes")? > 100_000,
        "a backend has a heap"
    );
    postgres.check()
}
