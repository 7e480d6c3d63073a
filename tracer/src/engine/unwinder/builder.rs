//! Unwind tables built in the background, on all CPUs, the most urgent file first.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use tokio::sync::Notify;

use crate::process::files::{self, OpenedFile};
use crate::unwind::{self, Table, TableError};

/// Files of lower numbers are built first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Urgency {
    /// The executable, which is in nearly every stack.
    Executable,
    /// The C library and its loader, which are in most.
    Libc,
    /// Any other library.
    Library,
}

/// What came of a file.
pub type Outcome = Result<Table, TableError>;

/// Threads that build tables; `K` tells the files apart.
pub struct Builder<K> {
    shared: Arc<Shared<K>>,
    workers: usize,
    /// Files given to it so far.
    wanted: u64,
    /// Files that it has given back.
    done: u64,
}

struct Shared<K> {
    desk: Mutex<Desk<K>>,
    /// Something is to be done, or there will never be any more.
    work: Condvar,
    /// Something has been done, for one who waits on a thread, and for one who awaits.
    done: Condvar,
    told: Notify,
}

struct Desk<K> {
    jobs: BTreeMap<(Urgency, u64), (K, OpenedFile)>,
    done: Vec<(K, Outcome)>,
    closed: bool,
}

impl<K> Shared<K> {
    /// No code that can panic runs under the lock, so what it guards is whole in any case.
    fn desk(&self) -> MutexGuard<'_, Desk<K>> {
        self.desk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<K: Send + 'static> Builder<K> {
    /// A builder without threads; they begin with the first files.
    pub fn new() -> Self {
        let desk = Desk {
            jobs: BTreeMap::new(),
            done: Vec::new(),
            closed: false,
        };
        Self {
            shared: Arc::new(Shared {
                desk: Mutex::new(desk),
                work: Condvar::new(),
                done: Condvar::new(),
                told: Notify::new(),
            }),
            workers: 0,
            wanted: 0,
            done: 0,
        }
    }

    /// Has a file's table built.
    pub fn want(&mut self, key: K, urgency: Urgency, file: OpenedFile) {
        let number = self.wanted;
        self.wanted += 1;
        self.shared
            .desk()
            .jobs
            .insert((urgency, number), (key, file));
        self.shared.work.notify_one();
        let most = thread::available_parallelism().map_or(1, usize::from);
        if self.workers < most && self.left() > self.workers as u64 {
            let shared = Arc::clone(&self.shared);
            let thread = thread::Builder::new().name("unwind tables".into());
            if thread.spawn(move || work(&shared)).is_ok() {
                self.workers += 1;
            }
        }
    }

    /// Files whose tables are not there yet.
    pub const fn left(&self) -> u64 {
        self.wanted - self.done
    }

    /// Waits until a table is there, or files have failed. Nothing is lost if the wait is given up.
    pub async fn ready(&self) {
        self.shared.told.notified().await;
    }

    /// What has come since the last call.
    pub fn take(&mut self) -> Vec<(K, Outcome)> {
        let done = std::mem::take(&mut self.shared.desk().done);
        self.done += done.len() as u64;
        done
    }

    /// Waits on this thread until something has come, or for so long.
    pub fn wait(&mut self, most: Duration) -> Vec<(K, Outcome)> {
        if self.workers == 0 {
            self.build_here();
        }
        let desk = self.shared.desk();
        let until = |desk: &mut Desk<K>| desk.done.is_empty();
        drop(self.shared.done.wait_timeout_while(desk, most, until));
        self.take()
    }

    /// Where no thread could be started, the work is done by the one who waits for it.
    fn build_here(&self) {
        let mut desk = self.shared.desk();
        while let Some((_, (key, file))) = desk.jobs.pop_first() {
            desk.done.push((key, build(&file)));
        }
    }
}

impl<K> Drop for Builder<K> {
    fn drop(&mut self) {
        let mut desk = self.shared.desk();
        desk.closed = true;
        desk.jobs.clear();
        drop(desk);
        self.shared.work.notify_all();
    }
}

/// One worker, until the builder is dropped.
fn work<K>(shared: &Shared<K>) {
    let mut desk = shared.desk();
    loop {
        if let Some((_, (key, file))) = desk.jobs.pop_first() {
            drop(desk);
            let outcome = build(&file);
            drop(file);
            desk = shared.desk();
            desk.done.push((key, outcome));
            shared.done.notify_all();
            shared.told.notify_one();
        } else if desk.closed {
            return;
        } else {
            desk = shared
                .work
                .wait(desk)
                .unwrap_or_else(PoisonError::into_inner);
        }
    }
}

/// Builds one file's table. A fault in it costs this file its table, and not the trace.
fn build(file: &OpenedFile) -> Outcome {
    let build = || {
        files::bytes(file)
            .map_err(|error| unreadable(error.to_string()))
            .and_then(|image| unwind::build(&image))
    };
    catch_unwind(AssertUnwindSafe(build))
        .unwrap_or_else(|_| Err(unreadable("its reader failed".to_owned())))
}

fn unreadable(error: String) -> TableError {
    TableError::Malformed {
        what: "the file",
        offset: 0,
        error,
    }
}

/// Builds the tables of files, and returns them in the order of the files.
pub fn build_tables(opened: Vec<OpenedFile>) -> Vec<Outcome> {
    let mut tables = vec![Err(unreadable("it was not read".to_owned())); opened.len()];
    let mut builder = Builder::new();
    for (number, file) in opened.into_iter().enumerate() {
        builder.want(number, Urgency::Library, file);
    }
    while builder.left() > 0 {
        for (number, table) in builder.wait(Duration::MAX) {
            tables[number] = table;
        }
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs::File;
    use std::path::PathBuf;

    fn opened(path: &str) -> OpenedFile {
        OpenedFile {
            path: path.into(),
            file: File::open(path).expect("a file"),
        }
    }

    fn fixture(name: &str) -> String {
        let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/attach/fixtures");
        folder.join(name).display().to_string()
    }

    #[test]
    fn tables_come_in_the_order_of_the_files() {
        let (library, text) = (fixture("tiny.so"), fixture("README.md"));
        let paths = [&library, &text, &library, &library, &text];
        let tables = build_tables(paths.iter().map(|path| opened(path)).collect());
        let built: Vec<bool> = tables.iter().map(Result::is_ok).collect();
        assert_eq!(built, [true, false, true, true, false]);
        assert_eq!(tables[0], tables[2]);
    }

    #[test]
    fn urgent_files_are_taken_first() {
        // Without threads the order can be seen.
        let builder = Builder::new();
        let mut desk = builder.shared.desk();
        let urgencies = [
            Urgency::Library,
            Urgency::Libc,
            Urgency::Executable,
            Urgency::Library,
        ];
        for (number, urgency) in (0..).zip(urgencies) {
            desk.jobs
                .insert((urgency, number), (number, opened(&fixture("tiny.so"))));
        }
        drop(desk);
        builder.build_here();
        let order: Vec<u64> = builder.shared.desk().done.iter().map(|(k, _)| *k).collect();
        assert_eq!(order, [2, 1, 0, 3]);
    }

    #[test]
    fn one_who_awaits_is_told() {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build()
            .expect("a runtime");
        runtime.block_on(async {
            let mut builder = Builder::new();
            for number in 0..20 {
                builder.want(number, Urgency::Library, opened(&fixture("tiny.so")));
            }
            let mut seen = Vec::new();
            while builder.left() > 0 {
                let told = tokio::time::timeout(Duration::from_secs(10), builder.ready());
                told.await.expect("told in time");
                seen.extend(builder.take().into_iter().map(|(number, _)| number));
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..20).collect::<Vec<_>>());
        });
    }
}
