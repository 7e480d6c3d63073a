//! `memlens doctor --unwind`: builds the unwind tables of a process as a trace would, and tells how far they reach.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use crate::doctor::{UnsupportedRows, UnwindReport, UnwindRow, Walk};
use crate::engine::unwinder::{build_tables, own_vdso};
use crate::process::ProcessError;
use crate::process::files::{self, OpenedFile};
use crate::process::maps::{self, FileId, Mapping, MappingName};
use crate::unwind::{self, Table, TableError};

/// What is known of the files seen so far.
#[derive(Default)]
pub struct Coverage {
    known: HashMap<FileId, UnwindRow>,
    vdso: Option<UnwindRow>,
}

impl Coverage {
    /// Looks at all the code that a process has mapped.
    ///
    /// # Errors
    /// [`ProcessError`] if its mappings cannot be read.
    pub fn of(&mut self, pid: u32, comm: &str) -> Result<UnwindReport, ProcessError> {
        let maps = maps::read(pid)?;
        let (built, build_time) = self.build_missing(pid, &maps);
        let mut rows: Vec<(u64, UnwindRow)> = maps::executable_files(&maps)
            .into_iter()
            .filter_map(|mapped| {
                let mut row = self.known.get(&mapped.id)?.clone();
                row.file = mapped.path.display().to_string();
                if row.code_bytes == 0 {
                    row.code_bytes = executable_bytes(&maps, |mapping| mapping.file == mapped.id);
                }
                Some((mapped.range.start, row))
            })
            .collect();
        if let Some(mapping) = maps.iter().find(|mapping| is_vdso(mapping)) {
            let row = self.vdso.get_or_insert_with(vdso_row);
            rows.push((mapping.start, row.clone()));
        }
        rows.sort_by_key(|(start, _)| *start);
        let mut rows: Vec<UnwindRow> = rows.into_iter().map(|(_, row)| row).collect();
        rows.extend(anonymous_row(&maps));
        Ok(UnwindReport::new(
            pid,
            comm.to_owned(),
            rows,
            built,
            build_time,
        ))
    }

    /// Builds the tables of files that are new; how many, and how long it took.
    fn build_missing(&mut self, pid: u32, maps: &[Mapping]) -> (u64, Duration) {
        let start = Instant::now();
        let (mut ids, mut opened) = (Vec::new(), Vec::<OpenedFile>::new());
        for mapped in maps::executable_files(maps) {
            if self.known.contains_key(&mapped.id) {
                continue;
            }
            match files::open(pid, &mapped) {
                Ok(file) => {
                    ids.push(mapped.id);
                    opened.push(file);
                }
                Err(error) => {
                    let row = without_table(Walk::Cut, error.to_string());
                    self.known.insert(mapped.id, row);
                }
            }
        }
        let tables = build_tables(opened);
        let time = start.elapsed();
        let built = tables.iter().filter(|table| table.is_ok()).count() as u64;
        for (id, table) in ids.into_iter().zip(tables) {
            self.known.insert(id, row(table));
        }
        (built, time)
    }
}

/// The row of a file; its name is filled in for each process.
fn row(table: Result<Table, TableError>) -> UnwindRow {
    let table = match table {
        Ok(table) => table,
        Err(error) => {
            let walk = match error {
                TableError::NoFrameInformation => Walk::FramePointers,
                _ => Walk::Cut,
            };
            return without_table(walk, error.to_string());
        }
    };
    let stats = &table.stats;
    let unsupported = stats.reasons().map(|(reason, rows)| UnsupportedRows {
        reason: reason.clause().to_owned(),
        rows,
    });
    UnwindRow {
        file: String::new(),
        walk: match stats.damage {
            None => Walk::Table,
            Some(_) => Walk::Damaged,
        },
        rows: table.rows.len() as u64,
        table_bytes: table.bytes() as u64,
        code_bytes: stats.code_bytes,
        covered_bytes: stats.covered_bytes,
        bare_bytes: stats.bare_bytes,
        unsupported: unsupported.collect(),
        why: stats.damage.as_ref().map(ToString::to_string),
    }
}

fn without_table(walk: Walk, why: String) -> UnwindRow {
    UnwindRow {
        file: String::new(),
        walk,
        rows: 0,
        table_bytes: 0,
        code_bytes: 0,
        covered_bytes: 0,
        bare_bytes: 0,
        unsupported: Vec::new(),
        why: Some(why),
    }
}

fn vdso_row() -> UnwindRow {
    // As in a trace, the image is our own: it is the same in every 64-bit process.
    let built = own_vdso().map_or_else(
        || {
            without_table(
                Walk::FramePointers,
                "its image could not be read".to_owned(),
            )
        },
        |image| row(unwind::build(&image)),
    );
    UnwindRow {
        file: "[vdso]".to_owned(),
        ..built
    }
}

/// Code without a file, if there is any.
fn anonymous_row(maps: &[Mapping]) -> Option<UnwindRow> {
    let regions = maps.iter().filter(|mapping| is_anonymous_code(mapping));
    let (regions, bytes) = (regions.count(), executable_bytes(maps, is_anonymous_code));
    let noun = if regions == 1 { "region" } else { "regions" };
    let why = format!(
        "{regions} {noun} without a file, such as a just-in-time compiler's code: there are no tables for it"
    );
    (regions > 0).then(|| UnwindRow {
        file: "anonymous code".to_owned(),
        code_bytes: bytes,
        ..without_table(Walk::FramePointers, why)
    })
}

fn executable_bytes(maps: &[Mapping], is_wanted: impl Fn(&Mapping) -> bool) -> u64 {
    maps.iter()
        .filter(|mapping| mapping.execute && is_wanted(mapping))
        .map(|mapping| mapping.end - mapping.start)
        .sum()
}

fn is_vdso(mapping: &Mapping) -> bool {
    mapping.execute && matches!(&mapping.name, MappingName::Special(name) if name == "[vdso]")
}

/// Executable memory of the program's own that has no file.
fn is_anonymous_code(mapping: &Mapping) -> bool {
    // The kernel's own pages hold no frames of the program.
    let is_kernels = |name: &str| matches!(name, "[vdso]" | "[vsyscall]" | "[uprobes]");
    mapping.execute
        && match &mapping.name {
            MappingName::File { .. } => false,
            MappingName::Special(name) => !is_kernels(name),
            MappingName::Anonymous => true,
        }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_code_is_covered_and_known_files_are_not_built_again() {
        let pid = std::process::id();
        let mut coverage = Coverage::default();
        let first = coverage.of(pid, "me").expect("own maps");
        let find = |suffix: &str| {
            let found = first.files.iter().find(|row| row.file.contains(suffix));
            found.unwrap_or_else(|| panic!("{suffix} in {:?}", first.files))
        };
        let libc = find("libc.so");
        assert_eq!(libc.walk, Walk::Table);
        assert!(libc.rows > 1_000 && libc.table_bytes > 8 * libc.rows);
        assert!(libc.covered_bytes * 100 > libc.code_bytes * 99, "{libc:?}");
        assert_eq!(find("[vdso]").walk, Walk::Table);
        assert!(first.totals.built >= 2 && first.totals.build_us > 0);
        let second = coverage.of(pid, "me").expect("own maps");
        assert_eq!(second.totals.built, 0);
        assert_eq!(second.files.len(), first.files.len());
    }

    #[test]
    fn code_without_a_file_is_one_row() {
        let maps = maps::parse(
            b"1000-2000 rwxp 0 00:00 0 \n\
              3000-5000 r-xp 0 00:00 0 [anon:v8]\n\
              6000-7000 rw-p 0 00:00 0 [heap]\n\
              7000-8000 --xp 0 00:00 0 [uprobes]\n\
              9000-a000 r-xp 0 00:00 0 [vdso]\n",
        )
        .expect("maps");
        let row = anonymous_row(&maps).expect("there is some");
        assert_eq!((row.walk, row.code_bytes), (Walk::FramePointers, 0x3000));
        assert!(row.why.expect("says why").starts_with("2 regions"));
        assert_eq!(anonymous_row(&maps[2..]), None);
    }

    #[test]
    fn reasons_without_a_table_tell_how_stacks_go_on() {
        assert_eq!(
            row(Err(TableError::NoFrameInformation)).walk,
            Walk::FramePointers
        );
        assert_eq!(row(Err(TableError::NoCode)).walk, Walk::Cut);
    }
}
