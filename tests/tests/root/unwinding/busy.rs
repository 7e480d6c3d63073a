//! Real programs that do the same work again and again until they are dropped.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use memlens_tests::child::{Owned, until, until_worked};
use memlens_tests::{load, need};
use tempfile::TempDir;

/// How long a program may take to begin.
const LIMIT: Duration = Duration::from_secs(30);

/// A program at work. Fields are dropped in this order: the load ends before the program, its files go last.
pub struct Busy {
    load: Option<Load>,
    pid: u32,
    program: Owned,
    client: Option<Owned>,
    _folder: TempDir,
}

/// A thread that keeps the program at work.
struct Load {
    /// It writes to the program, and waits for it to read.
    is_input: bool,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Load {
    /// Calls `work` until the end, or until it fails: the program has gone then.
    fn of(work: impl FnMut() -> Result<()> + Send + 'static) -> Self {
        Self::start(false, work)
    }

    fn start(is_input: bool, mut work: impl FnMut() -> Result<()> + Send + 'static) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        let thread =
            std::thread::spawn(
                move || {
                    while !stopped.load(Ordering::Relaxed) && work().is_ok() {}
                },
            );
        Self {
            is_input,
            stop,
            thread: Some(thread),
        }
    }

    /// Says the same words to a program's input again and again.
    fn saying(mut input: ChildStdin, words: String) -> Self {
        Self::start(true, move || {
            input.write_all(words.as_bytes()).map_err(Into::into)
        })
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // What it found wrong, the test finds as well.
            let _ = thread.join();
        }
    }
}

impl Busy {
    /// Debian's interpreter, every object from malloc.
    pub fn python() -> Result<Self> {
        let script = "import json, re\n\
            class Point:\n\
            \x20   def __init__(self, x): self.x = [x, str(x) * 20]\n\
            class Shell:\n\
            \x20   def __init__(self, x): self.x = x\n\
            \x20   def __repr__(self): return '<' + repr(self.x) + '>' * 9\n\
            def wrap(n): return Shell([wrap(n - 1)]) if n else 'core'\n\
            def walk(n): return [walk(n - 1), str(n) * 9] if n else json.dumps({'n': [1.5, 'x' * 99]})\n\
            def work():\n\
            \x20   points = [Point(i) for i in range(50)]\n\
            \x20   data = json.loads(json.dumps({str(p.x[0]): p.x for p in points}))\n\
            \x20   text = ' '.join(sorted(map(repr, data.values()), key=lambda t: t[::-1]))\n\
            \x20   return len(re.sub('([0-9]+)', lambda m: m.group(1) + '.', text)), walk(9), {**data}, repr(wrap(3)), repr(wrap(30))\n\
            while True: work()\n";
        let mut command = Command::new("/usr/bin/python3");
        command.env("PYTHONMALLOC", "malloc").args(["-c", script]);
        Self::alone(command)
    }

    /// Objects, closures, buffers and regular expressions, compiled and not.
    pub fn node() -> Result<Self> {
        let script = "const zlib = require('zlib'), crypto = require('crypto');\n\
            function tree(n) { return n ? {a: tree(n - 1), b: Buffer.alloc(9000 + n), c: 'x'.repeat(n)} : []; }\n\
            async function work() {\n\
            \x20 const text = JSON.stringify(tree(6)).replace(/[0-9]+/g, s => s + '.');\n\
            \x20 const packed = zlib.deflateSync(text);\n\
            \x20 crypto.createHash('sha256').update(packed).digest('hex');\n\
            \x20 [...Array(40).keys()].map(i => new Uint8Array(2000 + i)).sort((a, b) => b.length - a.length);\n\
            \x20 await new Promise(done => zlib.inflate(packed, done));\n\
            \x20 setImmediate(work);\n\
            }\n\
            work();\n";
        let mut command = Command::new(need::program("node").or_else(|_| need::program("nodejs"))?);
        command.args(["-e", script]);
        Self::alone(command)
    }

    fn alone(mut command: Command) -> Result<Self> {
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let program = Owned::start(&mut command)?;
        // What happens only at the start is over.
        until_worked(program.pid(), Duration::from_secs(1))?;
        Ok(Self {
            load: None,
            pid: program.pid(),
            program,
            client: None,
            _folder: tempfile::tempdir()?,
        })
    }

    /// The shell, fed with statements.
    pub fn sqlite() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let mut command = Command::new(need::program("sqlite3")?);
        command
            .arg("-batch")
            .arg(folder.path().join("test.db"))
            .stdin(Stdio::piped())
            .stdout(Stdio::null());
        let mut program = Owned::start(&mut command)?;
        let input = program.handle().stdin.take().context("no input")?;
        let words = "BEGIN; CREATE TABLE t(id INTEGER PRIMARY KEY, name TEXT, value BLOB);\n\
            INSERT INTO t(name, value) SELECT 'row ' || value, randomblob(200 + value) FROM generate_series(1, 60);\n\
            CREATE INDEX i ON t(name);\n\
            SELECT upper(name), count(*), group_concat(hex(value)) FROM t WHERE id % 3 = 1 GROUP BY substr(name, 5, 1) ORDER BY 2, 1;\n\
            UPDATE t SET name = (SELECT max(name) FROM t AS other WHERE other.id < t.id) WHERE id % 7 = 0;\n\
            WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n WHERE x < 30) SELECT json_group_array(json_object('x', x)) FROM n;\n\
            DELETE FROM t WHERE id % 2 = 0; DROP TABLE t; COMMIT;\n";
        let busy = Self {
            load: Some(Load::saying(input, words.to_string())),
            pid: program.pid(),
            program,
            client: None,
            _folder: folder,
        };
        until_worked(busy.pid, Duration::from_millis(500))?;
        Ok(busy)
    }

    /// The server, under redis-benchmark.
    pub fn redis() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let port = load::free_port()?;
        let program = load::redis(folder.path(), port)?;
        // What only a program as slow as under gdb does: it notes slow commands, and a timer halves the buffers of
        // clients that are older than five seconds.
        load::redis_command(port, &["CONFIG", "SET", "slowlog-log-slower-than", "-1"])?;
        load::redis_command(port, &["DEBUG", "REPLYBUFFER", "RESIZING", "0"])?;
        load::redis_load(port, 3_000)?;
        Ok(Self {
            load: Some(Load::of(move || load::redis_load(port, 100))),
            pid: program.pid(),
            program,
            client: None,
            _folder: folder,
        })
    }

    /// One backend of a server of its own, fed by psql through a socket in a folder of its own.
    pub fn postgres() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (uid, gid) = unprivileged()?;
        std::os::unix::fs::chown(folder.path(), Some(uid), Some(gid))?;
        let data = folder.path().join("data");
        let mut initdb = Command::new(postgres_program("initdb")?);
        initdb
            .args(["--no-sync", "--auth=trust", "--username=test", "-D"])
            .arg(&data)
            .uid(uid)
            .gid(gid)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null());
        let status = Owned::start(&mut initdb)?.wait(Duration::from_secs(120))?;
        ensure!(status.success(), "initdb: {status}");
        let mut server = Command::new(postgres_program("postgres")?);
        server
            .arg("-D")
            .arg(&data)
            .args(["-c", "listen_addresses=", "-c", "fsync=off", "-k"])
            .arg(folder.path())
            // By itself glibc soon serves even large blocks from memory that it keeps, and maps nothing any more.
            .env("MALLOC_MMAP_THRESHOLD_", "65536")
            .uid(uid)
            .gid(gid)
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mut program = Owned::start_server(&mut server)?;
        until("postgres listens", LIMIT, || {
            if let Some(status) = program.ended()? {
                bail!("postgres ended: {status}");
            }
            Ok(folder.path().join(".s.PGSQL.5432").exists().then_some(()))
        })?;
        let (client, input, pid) = psql(folder.path())?;
        let words = "BEGIN; CREATE TEMP TABLE t(id int PRIMARY KEY, name text, value jsonb);\n\
            INSERT INTO t SELECT n, repeat('row ' || n, 200), jsonb_build_object('n', n) FROM generate_series(1, 300) AS n;\n\
            SELECT name, count(*), array_agg(id ORDER BY id DESC) FROM t JOIN t AS u USING (name) GROUP BY name ORDER BY 1 LIMIT 9;\n\
            WITH RECURSIVE r(x) AS (SELECT 1 UNION SELECT x + 1 FROM r WHERE x < 50) SELECT string_agg(x::text, ',') FROM r;\n\
            DO $$ BEGIN FOR i IN 1..20 LOOP PERFORM regexp_replace(repeat('abc', i), '(b+)', i::text); END LOOP; END $$;\n\
            ROLLBACK;\n";
        let busy = Self {
            load: Some(Load::saying(input, words.to_string())),
            pid,
            program,
            client: Some(client),
            _folder: folder,
        };
        until_worked(busy.pid, Duration::from_secs(1))?;
        Ok(busy)
    }

    /// The process at work.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// The program was not hurt.
    pub fn check(&mut self) -> Result<()> {
        for program in std::iter::once(&mut self.program).chain(&mut self.client) {
            if let Some(status) = program.ended()? {
                bail!("{} ended: {status}", program.what());
            }
        }
        Ok(())
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        // Input that nobody reads any more wakes the load up. redis-benchmark would spin without its server: it ends
        // before.
        if self.load.as_ref().is_some_and(|load| load.is_input) {
            let reader = self.client.as_mut().unwrap_or(&mut self.program);
            let _ = reader.signal(libc::SIGKILL);
        }
        self.load = None;
    }
}

/// A client, its input, and the PID of the backend that serves it.
fn psql(folder: &Path) -> Result<(Owned, ChildStdin, u32)> {
    let mut command = Command::new(need::program("psql")?);
    command
        .args(["-X", "-q", "-A", "-t", "-U", "test", "-d", "postgres", "-h"])
        .arg(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null());
    let mut client = Owned::start(&mut command)?;
    let mut input = client.handle().stdin.take().context("no input")?;
    let output = client.handle().stdout.take().context("no output")?;
    writeln!(input, "SELECT pg_backend_pid();")?;
    let mut output = BufReader::new(output);
    let mut line = String::new();
    output.read_line(&mut line)?;
    let pid = line
        .trim()
        .parse()
        .with_context(|| format!("psql gave no PID: {line:?}"))?;
    // Answers are read and dropped, or the backend would wait for a reader.
    std::thread::spawn(move || std::io::copy(&mut output, &mut std::io::sink()));
    Ok((client, input, pid))
}

/// Debian keeps the server's programs out of the path.
fn postgres_program(name: &str) -> Result<std::path::PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql")
        .context("postgresql is not installed: `cargo xtask test` installs what the tests need")?;
    for version in versions {
        let path = version?.path().join("bin").join(name);
        if path.is_file() {
            return Ok(path);
        }
    }
    need::program(name)
}

/// User and group `nobody`: postgres refuses root.
fn unprivileged() -> Result<(u32, u32)> {
    let users = std::fs::read_to_string("/etc/passwd").context("cannot read /etc/passwd")?;
    let fields: Vec<&str> = users
        .lines()
        .find(|line| line.starts_with("nobody:"))
        .context("there is no user nobody")?
        .split(':')
        .collect();
    match fields[..] {
        [_, _, uid, gid, ..] => Ok((uid.parse()?, gid.parse()?)),
        _ => bail!("/etc/passwd has no numbers for nobody"),
    }
}
