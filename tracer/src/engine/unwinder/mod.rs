//! Unwind tables for the traced processes: each file's is built once, in the background, and each process's mappings
//! are published to the kernel whenever they change.
//!
//! A mapping whose table is still being built is left out of what is published. The kernel side then asks the kernel
//! which file is there, and the walk goes on as soon as that file's table is stored; until then the stack is cut and
//! marked. When the last of its tables has come, the process is published again.

mod builder;
mod capacity;
mod files;
#[cfg(test)]
mod files_tests;
mod generated;

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use tracer_common::unwind::{FileKey, FileTable, Rule};

use self::builder::{Builder, Outcome, Urgency};
use self::capacity::Capacity;
use self::files::{Files, Key, State, Stored};
use self::generated::Generated;
use super::console::Step;
use crate::bpf::{MappingsFull, TableSize, Tracer};
use crate::process::files::{self as process_files, FileError, OpenedFile};
use crate::process::maps::{self, FileId, MappedFile, Mapping, MappingName};
use crate::profile::TableUse;
use crate::unwind::{self, Code, Segment, Size, Table, TableError};

pub use self::builder::build_tables;
pub use self::capacity::Extent;

/// How often the progress is told while tables are built before a trace.
const TOLD_EVERY: Duration = Duration::from_millis(100);

/// Builds tables and publishes mappings.
pub struct Unwinder {
    files: Files,
    /// Names the files by key and path.
    builder: Builder<(Key, PathBuf)>,
    capacity: Capacity,
    /// Code that runtimes have generated.
    generated: Generated,
    /// Live processes whose mappings had no room.
    unplaced: BTreeSet<u32>,
    notes: Vec<String>,
}

impl Unwinder {
    /// An unwinder whose tables take at most `memory` bytes in the kernel.
    pub fn new(memory: u64) -> Self {
        let mut files = Files::default();
        let vdso = own_vdso().and_then(|image| unwind::build(&image).ok());
        files.set(
            Key::Vdso,
            vdso.map_or(State::Uniform(Rule::NO_FDE), State::Built),
        );
        Self {
            files,
            builder: Builder::new(),
            capacity: Capacity::new(memory),
            generated: Generated::default(),
            unplaced: BTreeSet::new(),
            notes: Vec::new(),
        }
    }

    /// Has the tables built that a process needs and that nobody else has needed before.
    pub fn want(&mut self, pid: u32) {
        if let Ok(maps) = maps::read(pid) {
            self.want_mapped(pid, &maps);
        }
    }

    /// As [`Self::want`], for one whose mappings have been read.
    pub fn want_mapped(&mut self, pid: u32, maps: &[Mapping]) {
        // First, since a file with more users may now displace others.
        let keys = maps.iter().filter_map(key).chain(self.generated.keys(pid));
        self.files.uses(pid, keys.collect());
        let mapped = maps::executable_files(maps);
        self.generated.expect(pid, maps, &mapped);
        for (number, file) in mapped.iter().enumerate() {
            let key = Key::File(file.id);
            if !self.is_to_be_built(&key) {
                continue;
            }
            match process_files::open(pid, file) {
                // Libraries lie above the executable.
                Ok(opened) => self.build(key, urgency(number, file), &file.path, opened),
                // It may still be there for another process, or at another look.
                Err(FileError::Gone { .. }) => {}
                Err(_) => self.files.set(key, State::Uniform(Rule::NO_TABLE)),
            }
        }
    }

    /// Has the tables built of what a process has mapped, for others that may need them: nobody counts as their user
    /// yet.
    ///
    /// Files on filesystems without a device of their own wait until they are needed: what `/proc` calls them is not
    /// what the kernel calls them (see `process::identity`).
    pub fn expect(&mut self, pid: u32, maps: &[Mapping]) {
        let mapped = maps::executable_files(maps);
        self.generated.expect(pid, maps, &mapped);
        for (number, file) in mapped.iter().enumerate() {
            let key = Key::File(file.id);
            if file.id.dev.0 != 0
                && self.is_to_be_built(&key)
                && let Ok(opened) = process_files::open(pid, file)
            {
                self.build(key, urgency(number, file), &file.path, opened);
            }
        }
    }

    /// Has the tables built of files that a command is about to map, the executable first.
    pub fn want_files(&mut self, paths: &[PathBuf]) {
        for (number, path) in paths.iter().enumerate() {
            let Ok(file) = File::open(path) else { continue };
            let Some(id) = file_id(&file) else { continue };
            let urgency = match number {
                0 => Urgency::Executable,
                _ => Urgency::Library,
            };
            let opened = OpenedFile {
                path: path.clone(),
                file,
            };
            if self.is_to_be_built(&Key::File(id)) {
                self.build(Key::File(id), urgency, path, opened);
            }
        }
    }

    /// Waits until all tables are built that are wanted by now.
    pub fn finish(&mut self, step: &Step) {
        self.finish_within(step, Duration::MAX);
    }

    /// The same, but no longer than this.
    pub fn finish_within(&mut self, step: &Step, most: Duration) {
        let began = Instant::now();
        let all = self.builder.left();
        while self.builder.left() > 0 && began.elapsed() < most {
            let built = all - self.builder.left();
            step.at(format!("building unwind tables: {built} of {all} files"));
            let left = most.saturating_sub(began.elapsed());
            for (named, outcome) in self.builder.wait(TOLD_EVERY.min(left)) {
                self.arrived(named, outcome);
            }
        }
    }

    /// Room that the tables need which are built or wanted by now, and some for files that are mapped later.
    pub fn size(&self, extent: Extent) -> TableSize {
        let mut need = self.generated.expected();
        for (_, state) in self.files.states() {
            match state {
                State::Wanted(size) => need += *size,
                State::Built(table) => need += Size::of(table),
                _ => {}
            }
        }
        self.capacity.size(need, extent)
    }

    /// Waits until tables have been built, for [`Self::collect`]. Nothing is lost if the wait is given up.
    pub async fn ready(&self) {
        self.builder.ready().await;
    }

    /// Moves the tables that are built by now into the kernel. Returns the processes that have got the last table that
    /// they were waiting for: publish their mappings again.
    pub fn collect(&mut self, tracer: &mut Tracer) -> BTreeSet<u32> {
        let mut concerned = BTreeSet::new();
        for ((key, path), outcome) in self.builder.take() {
            concerned.extend(self.files.users(&key));
            self.arrived((key, path), outcome);
        }
        for key in self.files.built() {
            self.store(tracer, key);
        }
        concerned.retain(|pid| !self.files.is_waiting(*pid));
        concerned
    }

    /// Publishes what a process has mapped by now. Tables that are not there yet are built, see [`Self::ready`].
    pub fn publish(&mut self, tracer: &mut Tracer, pid: u32) {
        if let Ok(maps) = maps::read(pid) {
            self.publish_mapped(tracer, pid, &maps);
        }
    }

    /// As [`Self::publish`], for a process whose mappings have been read.
    pub fn publish_mapped(&mut self, tracer: &mut Tracer, pid: u32, maps: &[Mapping]) {
        self.want_mapped(pid, maps);
        let (files, generated) = (&self.files, &self.generated);
        let maps = generated.split(pid, maps);
        let mappings = unwind::mappings(&maps, |mapping| {
            if mapping.name == MappingName::Anonymous {
                return generated.code(pid, mapping, files);
            }
            match key(mapping).and_then(|key| files.state(&key)) {
                Some(State::Stored(stored)) => Code::Table {
                    segments: &stored.segments,
                    base: stored.base,
                    first_bucket: stored.place.buckets.first,
                    buckets: stored.place.buckets.count,
                },
                Some(State::Uniform(rule)) => Code::Uniform(*rule),
                Some(State::LeftOut(_)) => Code::Uniform(Rule::NO_TABLE),
                Some(State::Wanted(_) | State::Built(_)) | None => Code::Unknown,
            }
        });
        match tracer.publish_mappings(pid, &mappings) {
            Ok(()) => drop(self.unplaced.remove(&pid)),
            Err(MappingsFull) => drop(self.unplaced.insert(pid)),
        }
        self.generated.retire(tracer);
    }

    /// Forgets what another program of the process had generated.
    pub fn forget_generated(&mut self, pid: u32) {
        self.generated.ended(pid);
    }

    /// Takes the table of a heap of generated code in the place of the one before; to be published.
    pub fn set_generated(&mut self, tracer: &mut Tracer, pid: u32, heap: u64, table: Table) {
        let key = self.generated.set(pid, heap, &table);
        if let Some(State::Stored(old)) = self.files.state(&key) {
            self.generated.replaced(old.place);
        }
        self.files.set(key, State::Built(table));
        self.store(tracer, key);
    }

    /// Forgets a process that has ended; the tables of its files stay while nobody else needs their room. Returns the
    /// processes that may get a table now that had no room before: publish their mappings again.
    pub fn release(&mut self, tracer: &mut Tracer, pid: u32) -> BTreeSet<u32> {
        tracer.release_mappings(pid);
        self.generated.ended(pid);
        self.unplaced.remove(&pid);
        if !self.files.ended(pid) {
            return BTreeSet::new();
        }
        let fits = |(key, size): &(Key, Size)| self.capacity.has(&self.files, key, *size);
        let returning: Vec<Key> = self
            .files
            .left_out()
            .filter(fits)
            .map(|(key, _)| key)
            .collect();
        returning
            .iter()
            .flat_map(|key| self.files.users(key))
            .collect()
    }

    /// Sentences about what has no table.
    pub fn notes(&self) -> Vec<String> {
        let full = self.capacity.note(self.files.left_out().count() as u64);
        let unplaced = match self.unplaced.len() {
            0 => None,
            1 => Some("1 process".to_owned()),
            many => Some(format!("{many} processes")),
        };
        let unplaced = unplaced.map(|processes| {
            format!("{MappingsFull}: stacks of {processes} are cut in code that has no file")
        });
        let notes = self.notes.iter().cloned();
        notes.chain(full).chain(unplaced).collect()
    }

    /// What the tables take.
    pub fn table_use(&self) -> TableUse {
        self.capacity.table_use(&self.files)
    }

    fn note(&mut self, note: String) {
        if !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    /// Whether a file's table is to be built: it is not known, or had no room and may have some now.
    fn is_to_be_built(&self, key: &Key) -> bool {
        match self.files.state(key) {
            None => true,
            Some(State::LeftOut(size)) => self.capacity.has(&self.files, key, *size),
            Some(_) => false,
        }
    }

    fn build(&mut self, key: Key, urgency: Urgency, path: &Path, opened: OpenedFile) {
        let estimate = process_files::bytes(&opened)
            .ok()
            .and_then(|image| unwind::estimate(&image).ok());
        self.files
            .set(key, State::Wanted(estimate.unwrap_or_default()));
        self.builder.want((key, path.to_owned()), urgency, opened);
    }

    /// Notes what came of a file.
    fn arrived(&mut self, (key, path): (Key, PathBuf), outcome: Outcome) {
        let state = match outcome {
            Ok(table) => {
                let stats = &table.stats;
                if let Some(damage) = &stats.damage
                    && damage.is_wide(stats.code_bytes)
                {
                    let path = path.display();
                    self.note(format!("{path}: {damage}: stacks through them are cut"));
                }
                State::Built(table)
            }
            Err(TableError::NoFrameInformation) => State::Uniform(Rule::NO_FDE),
            Err(error) => {
                let path = path.display();
                self.note(format!("{path}: {error}: stacks through it are cut"));
                State::Uniform(Rule::NO_TABLE)
            }
        };
        self.files.set(key, state);
    }

    /// Moves a built table into the kernel, in the place of others if need be.
    fn store(&mut self, tracer: &mut Tracer, key: Key) {
        let Some(table) = self.files.take_built(&key) else {
            return;
        };
        let state = match self.capacity.store(tracer, &mut self.files, &key, &table) {
            Some(place) => {
                let stored = Stored {
                    segments: table.segments,
                    base: table.base,
                    place,
                };
                publish_file(tracer, key, &stored);
                State::Stored(stored)
            }
            None => State::LeftOut(Size::of(&table)),
        };
        self.files.set(key, state);
    }
}

/// How urgent a file's table is, by its place among those that a process has mapped.
fn urgency(number: usize, file: &MappedFile) -> Urgency {
    let name = file.path.file_name().unwrap_or_default().to_string_lossy();
    let is_libc = ["libc.so", "libc-", "ld-", "libc.musl"]
        .iter()
        .any(|start| name.starts_with(start));
    match number {
        0 => Urgency::Executable,
        _ if is_libc => Urgency::Libc,
        _ => Urgency::Library,
    }
}

/// Tells the kernel which file a table is of, so that stacks are whole through mappings that are newer than what is
/// published.
fn publish_file(tracer: &mut Tracer, key: Key, stored: &Stored) {
    // With several executable segments it takes the program headers to tell a mapping's place.
    let (Some(key), [segment]) = (file_key(key), stored.segments.as_slice()) else {
        return;
    };
    let table = FileTable {
        delta: delta(segment, stored.base),
        first_bucket: stored.place.buckets.first,
        buckets: stored.place.buckets.count,
    };
    // Full: such stacks are cut, and marked, until the mappings are published.
    let _ = tracer.publish_file(key, table);
}

/// What [`FileTable::delta`] is for a file with this segment.
const fn delta(segment: &Segment, base: u64) -> u64 {
    segment
        .offset
        .wrapping_sub(segment.address)
        .wrapping_add(base)
}

/// What the kernel side knows a file by.
fn file_key(key: Key) -> Option<FileKey> {
    match key {
        Key::File(id) => Some(FileKey::new(id.dev.0, id.dev.1, id.inode)),
        Key::Vdso | Key::Generated(..) => None,
    }
}

fn key(mapping: &Mapping) -> Option<Key> {
    match &mapping.name {
        _ if !mapping.execute => None,
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

/// Waits until unwind tables have been built, for [`Unwinder::collect`]; for ever where none are used.
pub async fn ready(unwinder: &Option<Unwinder>) {
    match unwinder {
        Some(unwinder) => unwinder.ready().await,
        None => std::future::pending().await,
    }
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
