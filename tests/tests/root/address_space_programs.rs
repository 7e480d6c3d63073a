//! `memlens vm` on real programs at work, and on memory that is hard to account for: what is tracked is what the maps
//! say.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use memlens::profile::Measure;
use memlens_tests::address_space::{PAGE, mapped, trace};
use memlens_tests::child::{send_signal, thread_states, until, until_worked};
use memlens_tests::{Memlens, Program, Report, Victim, foreign, load, need, paths, python};

use super::unwinding::busy::Busy;

/// How long a program may take.
const LIMIT: Duration = Duration::from_secs(60);
/// How much a program works while it is traced, in CPU time.
const WORK: Duration = Duration::from_secs(1);

/// A process that is stopped while this lives, so that its maps stay as they are.
struct Held(u32);

impl Held {
    fn of(pid: u32) -> Result<Self> {
        send_signal(pid, libc::SIGSTOP)?;
        let held = Self(pid);
        until("all threads are stopped", LIMIT, || {
            let is_stopped = |state: &char| *state == 'T';
            Ok(thread_states(pid)?.iter().all(is_stopped).then_some(()))
        })?;
        Ok(held)
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have been killed meanwhile.
        let _ = send_signal(self.0, libc::SIGCONT);
    }
}

/// Traces a program at work, which maps something, holds it, and compares the account with its maps.
fn check_at_work(pid: u32, work: impl FnOnce() -> Result<()>) -> Result<Report> {
    let report = check_balance(pid, work)?;
    ensure!(!report.mapped().is_empty(), "nothing was mapped");
    Ok(report)
}

/// Traces a program at work, holds it, and compares the account with its maps.
fn check_balance(pid: u32, work: impl FnOnce() -> Result<()>) -> Result<Report> {
    let memlens = trace(&["-p", &pid.to_string()])?;
    work()?;
    let held = Held::of(pid)?;
    let maps = mapped(pid)?;
    let report = memlens.stop()?;
    drop(held);
    report.check_complete()?;
    report.check_maps(maps)?;
    Ok(report)
}

/// Between two queries it may have given everything back: then it is looked at again.
#[test]
fn postgres_at_work() -> Result<()> {
    const LOOKS: usize = 30;
    let mut postgres = Busy::postgres()?;
    let mut stacks = 0;
    for _ in 0..LOOKS {
        let pid = postgres.pid();
        let report = check_balance(pid, || until_worked(pid, WORK))?;
        stacks += report.mapped().len();
        if stacks > 0 {
            break;
        }
    }
    ensure!(stacks > 0, "nothing was mapped in any of {LOOKS} looks");
    postgres.check()
}

#[test]
fn node_at_work() -> Result<()> {
    let mut node = Busy::node()?;
    check_at_work(node.pid(), || until_worked(node.pid(), WORK))?;
    node.check()
}

#[test]
fn java_at_work() -> Result<()> {
    let mut java = Victim::start(foreign::java()?)?;
    let pid = java.pid();
    let report = check_at_work(pid, || java.run().map(drop))?;
    // 40 MB of direct buffers and as much of the heap.
    let resident = report.totals().amount(Measure::VmResidentBytes);
    ensure!(resident > 40_000_000, "{resident} bytes");
    Ok(())
}

/// Redis saves through a child that it forks, again and again under load.
#[test]
fn redis_that_saves_in_the_background() -> Result<()> {
    need::root()?;
    let folder = tempfile::tempdir()?;
    let port = load::free_port()?;
    let mut server = load::redis(folder.path(), port)?;
    check_at_work(server.pid(), || {
        for _ in 0..4 {
            let mut save = Command::new(need::program("redis-cli")?);
            save.args(["-h", "127.0.0.1", "-p", &port.to_string(), "BGSAVE"]);
            let saved = save.output()?;
            let answer = String::from_utf8_lossy(&saved.stdout).into_owned();
            ensure!(answer.contains("Background saving"), "{answer}");
            load::redis_load(port, 3_000)?;
        }
        Ok(())
    })?;
    ensure!(folder.path().join("dump.rdb").exists(), "nothing was saved");
    ensure!(server.ended()?.is_none(), "redis-server ended");
    Ok(())
}

/// A pool of forked workers, shared memory, pipes and the threads that feed them.
const POOL: &str = "
import multiprocessing, sys
from multiprocessing import shared_memory
def work(name):
    memory = shared_memory.SharedMemory(name)
    memory.buf[0] = 1
    memory.close()
    return bytearray(200000)
if __name__ == '__main__':
    sys.stdin.readline()
    context = multiprocessing.get_context('fork')
    kept = []
    for _ in range(3):
        memory = shared_memory.SharedMemory(create=True, size=3 << 20)
        with context.Pool(4) as pool:
            kept += pool.map(work, [memory.name] * 40)
        memory.close()
        memory.unlink()
    print('done', flush=True)
    sys.stdin.readline()
";

#[test]
fn python_with_processes() -> Result<()> {
    let mut python = python::start(POOL)?;
    check_at_work(python.pid(), || python.work())?;
    ensure!(python.end(LIMIT)?.success(), "python3 was hurt");
    Ok(())
}

/// One part of the victim with memory that is hard to account for, done.
struct Hard {
    victim: Victim,
    memlens: Memlens,
    /// What it said with "done".
    said: String,
}

impl Hard {
    fn of(args: &[&str]) -> Result<Self> {
        need::root()?;
        let mut victim = Victim::start(Program::new("space_hard").command(args)?)?;
        let memlens = trace(&["-p", &victim.pid().to_string()])?;
        let said = victim.go_to("done")?;
        Ok(Self {
            victim,
            memlens,
            said,
        })
    }

    /// The report, which must agree with the maps.
    fn report(self) -> Result<Report> {
        let maps = mapped(self.victim.pid())?;
        let report = self.memlens.stop()?;
        report.check_complete()?;
        report.check_maps(maps)?;
        ensure!(self.victim.exit()?.success(), "the target was hurt");
        Ok(report)
    }
}

/// The report of a part, and what its function holds in pages: mapped, resident, without access.
fn check_hard(part: &str, expected: [u64; 3]) -> Result<Report> {
    let report = Hard::of(&[part])?.report()?;
    let found = report.pages_of(part);
    ensure!(
        found[..3] == expected,
        "{part}: {found:?}, not {expected:?}"
    );
    Ok(report)
}

#[test]
fn a_reservation_of_a_tebibyte() -> Result<()> {
    let pages = 1 << 28;
    let report = check_hard("reserve", [pages, 256, pages - 256])?;
    let reserved = report.totals().amount(Measure::VmReservedBytes);
    ensure!(reserved >= (pages - 256) * PAGE, "{reserved} bytes");
    Ok(())
}

#[test]
fn transparent_huge_pages() -> Result<()> {
    check_hard("thp", [1024, 1024, 0]).map(drop)
}

/// Some huge pages more for as long as this lives.
struct HugePages {
    before: u64,
}

const HUGE_PAGES: &str = "/proc/sys/vm/nr_hugepages";

impl HugePages {
    fn more(count: u64) -> Result<Self> {
        let before = fs::read_to_string(HUGE_PAGES)?.trim().parse()?;
        let pages = Self { before };
        fs::write(HUGE_PAGES, (before + count).to_string())?;
        let now: u64 = fs::read_to_string(HUGE_PAGES)?.trim().parse()?;
        ensure!(now >= before + count, "no memory for {count} huge pages");
        Ok(pages)
    }
}

impl Drop for HugePages {
    fn drop(&mut self) {
        // The pages go back at the latest with the machine.
        let _ = fs::write(HUGE_PAGES, self.before.to_string());
    }
}

#[test]
fn huge_pages_of_a_pool() -> Result<()> {
    need::root()?;
    let _pages = HugePages::more(3)?;
    check_hard("hugetlb", [1024, 1024, 0]).map(drop)
}

/// A swap of 16 MiB in compressed memory, for as long as this lives.
struct Swap {
    number: String,
    device: PathBuf,
    is_on: bool,
}

const ZRAM: &str = "/sys/class/zram-control";

impl Swap {
    fn on() -> Result<Self> {
        let number = fs::read_to_string(format!("{ZRAM}/hot_add"))
            .context("this test needs zram, for a swap: a kernel with CONFIG_ZRAM")?;
        let number = number.trim().to_owned();
        let mut swap = Self {
            device: PathBuf::from(format!("/dev/zram{number}")),
            number,
            is_on: false,
        };
        fs::write(
            format!("/sys/block/zram{}/disksize", swap.number),
            (16 << 20).to_string(),
        )?;
        until("the device is there", LIMIT, || {
            Ok(swap.device.exists().then_some(()))
        })?;
        swap.run("mkswap")?;
        swap.run("swapon")?;
        swap.is_on = true;
        Ok(swap)
    }

    fn run(&self, program: &str) -> Result<()> {
        let made = Command::new(need::program(program)?)
            .arg(&self.device)
            .output()?;
        let why = String::from_utf8_lossy(&made.stderr);
        ensure!(made.status.success(), "{program}: {why}");
        Ok(())
    }
}

impl Drop for Swap {
    fn drop(&mut self) {
        if self.is_on {
            // What fails here is seen by the test after it.
            let _ = self.run("swapoff");
        }
        let _ = fs::write(format!("{ZRAM}/hot_remove"), &self.number);
    }
}

#[test]
fn memory_in_the_swap() -> Result<()> {
    need::root()?;
    let _swap = Swap::on()?;
    let report = check_hard("swap", [64, 0, 0])?;
    let swapped = report.totals().amount(Measure::VmSwappedBytes);
    ensure!((64 * PAGE..80 * PAGE).contains(&swapped), "{swapped} bytes");
    Ok(())
}

/// A file of 64 pages that the page cache may drop.
fn clean_file(folder: &tempfile::TempDir) -> Result<PathBuf> {
    let path = folder.path().join("pages");
    fs::write(&path, vec![1u8; 64 * PAGE as usize])?;
    File::open(&path)?.sync_all()?;
    Ok(path)
}

/// Another process takes memory out: it is still mapped, and not resident.
#[test]
fn memory_that_another_process_takes_out() -> Result<()> {
    let folder = tempfile::tempdir_in(paths::target())?;
    let path = clean_file(&folder)?;
    let hard = Hard::of(&["file", &path.to_string_lossy()])?;
    let address = u64::from_str_radix(hard.said.trim_start_matches("0x"), 16)?;
    page_out(hard.victim.pid(), address, 64 * PAGE)?;
    let report = hard.report()?;
    ensure!(
        report.pages_of("file")[..2] == [64, 0],
        "{:?}",
        report.pages_of("file")
    );
    Ok(())
}

/// `process_madvise(MADV_PAGEOUT)`.
fn page_out(pid: u32, address: u64, len: u64) -> Result<()> {
    let range = libc::iovec {
        iov_base: address as *mut libc::c_void,
        iov_len: len as usize,
    };
    // SAFETY: pidfd_open takes two integers; the range is one of the other process, and outlives the call that reads
    // it.
    let advised = unsafe {
        let process = libc::syscall(libc::SYS_pidfd_open, pid, 0);
        let advised = libc::syscall(
            libc::SYS_process_madvise,
            process,
            &raw const range,
            1,
            libc::MADV_PAGEOUT,
            0,
        );
        libc::close(process as i32);
        advised
    };
    ensure!(
        advised == len as libc::c_long,
        "process_madvise: {advised}, {}",
        std::io::Error::last_os_error()
    );
    Ok(())
}

/// A debugger makes the program unmap a part: no stack of its own led there, and the account knows.
#[test]
fn memory_that_a_debugger_unmaps() -> Result<()> {
    let folder = tempfile::tempdir_in(paths::target())?;
    let path = clean_file(&folder)?;
    let hard = Hard::of(&["inject", &path.to_string_lossy()])?;
    let call = format!("call (int)munmap((void *)({} + 8192), 40960)", hard.said);
    let mut gdb = Command::new(need::program("gdb")?);
    gdb.args(["-nx", "-batch", "-p", &hard.victim.pid().to_string()]);
    let output = gdb.args(["-ex", &call]).output()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    ensure!(text.contains("$1 = 0"), "{text}");
    let report = hard.report()?;
    let found = report.pages_of("inject");
    ensure!(found[0] == 54 && found[3] == 10, "{found:?}");
    Ok(())
}

/// Children that borrow the program's memory until they are another program.
#[test]
fn children_in_the_same_memory() -> Result<()> {
    for (part, pages) in [("spawn", 60), ("vforks", 60)] {
        let report = Hard::of(&[part])?.report()?;
        let found = report.pages_of(part);
        ensure!(found[0] >= pages, "{part}: {found:?}");
    }
    Ok(())
}

/// A program that replaces itself while reports are being made, a hundred times.
#[test]
fn a_program_that_replaces_itself_during_reports() -> Result<()> {
    need::root()?;
    let mut victim = Victim::start(Program::new("space_hard").command(&["exec"])?)?;
    let pid = victim.pid().to_string();
    let words = ["vm", "0.1", "--json", "--top", "0", "-p", pid.as_str()];
    let mut memlens = Memlens::start(words)?;
    memlens.wait_until_tracing()?;
    victim.go_to("done")?;
    let maps = mapped(victim.pid())?;
    let ended = memlens.interrupt()?;
    let report = ended.last_report()?;
    report.check_complete()?;
    report.check_maps(maps)?;
    ensure!(report.pages_of("exec")[0] == 100, "{:?}", report.mapped());
    ensure!(
        ended.output.len() > 1,
        "only {} reports",
        ended.output.len()
    );
    Ok(())
}
