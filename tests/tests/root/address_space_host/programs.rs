//! Real programs that fork under load, against their maps.

use std::time::Duration;

use anyhow::{Result, ensure};
use memlens_tests::address_space::rested;
use memlens_tests::child::until;
use memlens_tests::{load, python};

use super::Stage;

/// A server that forks to save its data, under load: both account for their maps.
#[test]
fn redis_that_saves_in_a_child() -> Result<()> {
    let stage = Stage::enter()?;
    let folder = tempfile::tempdir()?;
    let port = load::free_port()?;
    let server = load::redis(folder.path(), port)?;
    let memlens = stage.trace(&[])?;
    load::redis_load(port, 20_000)?;
    for _ in 0..3 {
        load::redis_command(port, &["BGSAVE"])?;
        load::redis_load(port, 5_000)?;
        until("the child has saved", Duration::from_secs(30), || {
            Ok(load::children(server.pid())?.is_empty().then_some(()))
        })?;
    }
    let maps = rested(server.pid())?;
    let report = memlens.stop()?;
    report.check_complete()?;
    report.check_mapped(server.pid(), maps)?;
    ensure!(
        report.host_wide()?.ended.count >= 3,
        "{:?}",
        report.host_wide()?.ended
    );
    Ok(())
}

/// Workers that are forked from a program with threads, and that work on memory of their own.
const PYTHON: &str = "
import multiprocessing, sys, threading
kept = []
def busy():
    for _ in range(200): bytearray(3 << 20)
def work(number):
    kept.append([bytearray(1 << 20) for _ in range(20)])
    return number
if __name__ == '__main__':
    multiprocessing.set_start_method('fork')
    sys.stdin.readline()
    kept.append(bytearray(30 << 20))
    threads = [threading.Thread(target=busy) for _ in range(4)]
    [thread.start() for thread in threads]
    pool = multiprocessing.Pool(4)
    pool.map(work, range(40))
    [thread.join() for thread in threads]
    print('done', flush=True)
    sys.stdin.readline()
";

#[test]
fn python_with_forked_workers() -> Result<()> {
    let stage = Stage::enter()?;
    let mut python = python::start(PYTHON)?;
    let memlens = stage.trace(&[])?;
    python.work()?;
    let mut maps = vec![(python.pid(), rested(python.pid())?)];
    for worker in load::children(python.pid())? {
        maps.push((worker, rested(worker)?));
    }
    ensure!(maps.len() == 5, "{} processes", maps.len());
    let report = memlens.stop()?;
    report.check_complete()?;
    for (pid, maps) in maps {
        report.check_mapped(pid, maps)?;
    }
    Ok(())
}
