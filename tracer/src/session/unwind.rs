//! Unwind tables for the traced processes: each file's is built once, each process's mappings are published to the
//! kernel whenever they change.

use std::collections::HashMap;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::thread;

use tracer_common::unwind::{FileKey, FileTable, Rule};

use crate::bpf::{TableSize, Tracer};
use crate::process::files::{self, OpenedFile};
use crate::process::maps::{self, FileId, Mapping, MappingName};
use crate::unwind::{self, Code, Segment, Table, TableError};

/// Bytes of a row or a bucket.
const ENTRY_BYTES: u64 = 8;
/// Room for files that are mapped later, besides a quarter of what is there at the start: 2 and 1 MiB.
const SPARE: TableSize = TableSize {
    rows: 1 << 18,
    buckets: 1 << 17,
};

/// Which table a mapping needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Key {
    File(FileId),
    /// The same image in every 64-bit process.
    Vdso,
}

/// What is known of a file's code.
enum Known {
    /// Built, not in the kernel yet.
    Built(Table),
    /// In the kernel.
    Stored {
        segments: Vec<Segment>,
        base: u64,
        first_bucket: u32,
        buckets: u32,
    },
    /// One rule holds in all of it.
    Uniform(Rule),
}

/// Builds tables and publishes mappings.
pub struct Unwinder {
    known: HashMap<Key, Known>,
    /// Most bytes for rows and buckets.
    memory: u64,
    notes: Vec<String>,
}

impl Unwinder {
    /// An unwinder whose tables take at most `memory` bytes in the kernel.
    pub fn new(memory: u64) -> Self {
        Self {
            known: HashMap::new(),
            memory,
            notes: Vec::new(),
        }
    }

    /// Builds the tables of what a process has mapped.
    pub fn prepare(&mut self, pid: u32) {
        if let Ok(maps) = maps::read(pid) {
            self.build_missing(pid, &maps);
        }
    }

    /// Builds the tables of files that a command is about to map.
    pub fn prepare_files(&mut self, paths: &[PathBuf]) {
        let mut wanted = Vec::new();
        for path in paths {
            let Ok(file) = File::open(path) else { continue };
            let Some(id) = file_id(&file) else { continue };
            if !self.known.contains_key(&Key::File(id)) {
                wanted.push((
                    Key::File(id),
                    path.clone(),
                    OpenedFile {
                        path: path.clone(),
                        file,
                    },
                ));
            }
        }
        self.build_all(wanted);
    }

    /// Room that the tables built so far need, and some more.
    pub fn size(&self) -> TableSize {
        let (mut rows, mut buckets) = (0u64, 0u64);
        for known in self.known.values() {
            if let Known::Built(table) = known {
                rows += table.rows.len() as u64;
                buckets += table.buckets.len() as u64;
            }
        }
        let room = |used: u64, spare: u32| used + used / 4 + u64::from(spare);
        let (rows, buckets) = (room(rows, SPARE.rows), room(buckets, SPARE.buckets));
        // Within the user's limit rows and buckets shrink alike.
        let most = self.memory / ENTRY_BYTES;
        let shrink = |entries: u64| {
            let entries =
                u128::from(entries) * u128::from(most) / u128::from((rows + buckets).max(most));
            u32::try_from(entries).unwrap_or(u32::MAX)
        };
        TableSize {
            rows: shrink(rows),
            buckets: shrink(buckets),
        }
    }

    /// Moves the tables that are built into the kernel.
    pub fn store(&mut self, tracer: &mut Tracer) {
        self.store_built(tracer);
    }

    /// Publishes what a process has mapped by now; what is wrong is noted.
    pub fn publish(&mut self, tracer: &mut Tracer, pid: u32) {
        let Ok(maps) = maps::read(pid) else { return };
        self.build_missing(pid, &maps);
        self.store_built(tracer);
        let known = &self.known;
        let mappings = unwind::mappings(&maps, |mapping| {
            match key(mapping).and_then(|key| known.get(&key)) {
                Some(Known::Stored {
                    segments,
                    base,
                    first_bucket,
                    buckets,
                }) => Code::Table {
                    segments,
                    base: *base,
                    first_bucket: *first_bucket,
                    buckets: *buckets,
                },
                Some(Known::Uniform(rule)) => Code::Uniform(*rule),
                _ => Code::Uniform(Rule::NO_TABLE),
            }
        });
        if let Err(error) = tracer.publish_mappings(pid, &mappings) {
            self.note(format!("stacks of process {pid} are cut: {error}"));
        }
    }

    /// Sentences about files without a table.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    fn build_missing(&mut self, pid: u32, maps: &[Mapping]) {
        self.known.entry(Key::Vdso).or_insert_with(|| {
            own_vdso()
                .and_then(|image| unwind::build(&image).ok())
                .map_or(Known::Uniform(Rule::NO_FDE), Known::Built)
        });
        let mut wanted = Vec::new();
        for mapped in maps::executable_files(maps) {
            let key = Key::File(mapped.id);
            if self.known.contains_key(&key) {
                continue;
            }
            match files::open(pid, &mapped) {
                Ok(opened) => wanted.push((key, mapped.path, opened)),
                Err(_) => drop(self.known.insert(key, Known::Uniform(Rule::NO_TABLE))),
            }
        }
        self.build_all(wanted);
    }

    /// Builds tables on all CPUs.
    fn build_all(&mut self, wanted: Vec<(Key, PathBuf, OpenedFile)>) {
        let (names, files): (Vec<_>, Vec<_>) = wanted
            .into_iter()
            .map(|(key, path, file)| ((key, path), file))
            .unzip();
        for ((key, path), table) in names.into_iter().zip(build_tables(&files)) {
            let known = match table {
                Ok(table) => {
                    if let Some(damage) = &table.stats.damage {
                        self.note(format!(
                            "{}: {} entries of its call frame information are damaged (the first at offset {:#x}: {}): \
                             stacks through them are cut",
                            path.display(), damage.entries, damage.offset, damage.error
                        ));
                    }
                    Known::Built(table)
                }
                Err(TableError::NoFrameInformation) => Known::Uniform(Rule::NO_FDE),
                Err(error) => {
                    self.note(format!(
                        "{}: {error}: stacks through it are cut",
                        path.display()
                    ));
                    Known::Uniform(Rule::NO_TABLE)
                }
            };
            self.known.insert(key, known);
        }
    }

    /// Moves built tables into the kernel.
    fn store_built(&mut self, tracer: &mut Tracer) {
        let mut failed = None;
        for (key, known) in &mut self.known {
            let Known::Built(table) = known else { continue };
            *known = match tracer.tables().store(&table.rows, &table.buckets) {
                Ok(first_bucket) => {
                    publish_file(tracer, *key, table, first_bucket);
                    Known::Stored {
                        segments: std::mem::take(&mut table.segments),
                        base: table.base,
                        first_bucket,
                        buckets: table.buckets.len() as u32,
                    }
                }
                Err(error) => {
                    failed = Some(error);
                    Known::Uniform(Rule::NO_TABLE)
                }
            };
        }
        if let Some(error) = failed {
            self.note(format!("some stacks are cut: {error}"));
        }
    }
}

/// Builds the tables of files on all CPUs, in the order of the files.
pub fn build_tables(opened: &[OpenedFile]) -> Vec<Result<Table, TableError>> {
    let workers = thread::available_parallelism()
        .map_or(1, usize::from)
        .min(opened.len().max(1));
    let next = std::sync::atomic::AtomicUsize::new(0);
    let work = || {
        let mut done = Vec::new();
        loop {
            let index = next.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            let Some(file) = opened.get(index) else {
                return done;
            };
            let table = files::bytes(file)
                .map_err(|error| unreadable(error.to_string()))
                .and_then(|image| unwind::build(&image));
            done.push((index, table));
        }
    };
    // A worker that dies takes what it has built along.
    let mut tables = vec![Err(unreadable("its reader failed".to_owned())); opened.len()];
    thread::scope(|scope| {
        let threads: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
        for (index, table) in threads
            .into_iter()
            .flat_map(|thread| thread.join().unwrap_or_default())
        {
            tables[index] = table;
        }
    });
    tables
}

fn unreadable(error: String) -> TableError {
    TableError::Malformed {
        what: "the file",
        offset: 0,
        error,
    }
}

/// Tells the kernel which file a table is of, so that stacks are whole through mappings that are newer than what is
/// published.
fn publish_file(tracer: &mut Tracer, key: Key, table: &Table, first_bucket: u32) {
    // With several executable segments it takes the program headers to tell a mapping's place.
    let (Key::File(id), [segment]) = (key, table.segments.as_slice()) else {
        return;
    };
    let table = FileTable {
        delta: segment
            .offset
            .wrapping_sub(segment.address)
            .wrapping_add(table.base),
        first_bucket,
        buckets: table.buckets.len() as u32,
    };
    // Full: such stacks are cut, and marked, until the mappings are published.
    let _ = tracer.publish_file(FileKey::new(id.dev.0, id.dev.1, id.inode), table);
}

fn key(mapping: &Mapping) -> Option<Key> {
    match &mapping.name {
        MappingName::File { .. } => Some(Key::File(mapping.file)),
        MappingName::Special(name) if name == "[vdso]" => Some(Key::Vdso),
        _ => None,
    }
}

/// Which file this is, as a process's maps tell it. On filesystems where `stat` tells another device than the maps
/// (overlayfs, btrfs) the table is built once more when the file is mapped.
fn file_id(file: &File) -> Option<FileId> {
    use std::os::unix::fs::MetadataExt;
    let metadata = file.metadata().ok()?;
    let device = metadata.dev();
    Some(FileId {
        dev: (libc::major(device), libc::minor(device)),
        inode: metadata.ino(),
    })
}

/// The image of our own `[vdso]`.
pub fn own_vdso() -> Option<Vec<u8>> {
    let maps = maps::read(std::process::id()).ok()?;
    let vdso = maps
        .iter()
        .find(|mapping| matches!(&mapping.name, MappingName::Special(name) if name == "[vdso]"))?;
    let mut image = vec![0; usize::try_from(vdso.end - vdso.start).ok()?];
    File::open("/proc/self/mem")
        .ok()?
        .read_exact_at(&mut image, vdso.start)
        .ok()?;
    Some(image)
}
