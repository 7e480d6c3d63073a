//! The mappings of a process, from `/proc/PID/maps`.
//!
//! Words for addresses, as this crate uses them:
//!
//! * AVMA, actual virtual memory address: where a byte is in the running process. Stacks hold these.
//! * SVMA, stated virtual memory address: where the ELF file says that the byte goes (`p_vaddr`, symbol values, DWARF).
//!   It is what `nm`, `objdump` and `addr2line` print. AVMA minus SVMA is the bias, one number per loaded file.
//! * File offset: where the byte is in the file. Probes are placed by it. It differs from the SVMA wherever a
//!   segment's `p_offset` differs from its `p_vaddr`.
//!
//! A mapping ties AVMA to file offset; the ELF program headers tie file offset to SVMA.

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use super::error::{self, ProcessError};

/// A file, whatever its name: the kernel's device and inode numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct FileId {
    /// Major and minor number of the device, as `/proc/PID/maps` prints them.
    pub dev: (u32, u32),
    /// Inode number.
    pub inode: u64,
}

/// What a mapping maps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MappingName {
    /// A file: the path as the process sees it.
    File {
        /// The path, without the kernel's " (deleted)".
        path: PathBuf,
        /// The file has no name any more.
        deleted: bool,
    },
    /// Memory that the kernel names: `[heap]`, `[stack]`, `[vdso]`, `[anon:...]`, `anon_inode:...`.
    Special(String),
    /// Memory without a name.
    Anonymous,
}

/// One line of `/proc/PID/maps`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mapping {
    /// First address (AVMA).
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// Reads are allowed.
    pub read: bool,
    /// Writes are allowed.
    pub write: bool,
    /// Execution is allowed.
    pub execute: bool,
    /// Writes go to the file (`s`), not to a private copy (`p`).
    pub shared: bool,
    /// Offset of `start` in the file.
    pub offset: u64,
    /// The file; `inode` is 0 where there is none.
    pub file: FileId,
    /// What is mapped.
    pub name: MappingName,
}

impl Mapping {
    /// Whether the AVMA is inside.
    pub fn contains(&self, address: u64) -> bool {
        (self.start..self.end).contains(&address)
    }

    /// File offset of an AVMA inside this mapping; `None` for one outside.
    pub fn file_offset(&self, address: u64) -> Option<u64> {
        self.contains(address)
            .then(|| (address - self.start).wrapping_add(self.offset))
    }

    /// The path, or the kernel's name; `None` for memory without a name.
    pub fn label(&self) -> Option<&Path> {
        match &self.name {
            MappingName::File { path, .. } => Some(path),
            MappingName::Special(name) => Some(Path::new(name)),
            MappingName::Anonymous => None,
        }
    }
}

/// A file that a process has mapped for execution.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MappedFile {
    /// Which file.
    pub id: FileId,
    /// Its path as the process sees it.
    pub path: PathBuf,
    /// The path does not name it any more.
    pub deleted: bool,
    /// One executable mapping of it: the name of its entry in `/proc/PID/map_files`.
    pub range: Range<u64>,
    /// File offset of the start of `range`.
    pub offset: u64,
}

/// Why a line of `/proc/PID/maps` was not understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("bad {field} in maps line {line:?}")]
pub struct MapsLineError {
    /// The field.
    pub field: &'static str,
    /// The whole line.
    pub line: String,
}

/// Reads the mappings of a process, by ascending address. A zombie or kernel thread has none.
pub fn read(pid: u32) -> Result<Vec<Mapping>, ProcessError> {
    parse(&error::read(pid, "maps")?).map_err(|error| ProcessError::Malformed {
        path: format!("/proc/{pid}/maps").into(),
        what: error.to_string(),
    })
}

/// Parses the whole text of a maps file.
pub fn parse(text: &[u8]) -> Result<Vec<Mapping>, MapsLineError> {
    let mut maps = Vec::new();
    let lines = text.split(|byte| *byte == b'\n');
    for line in lines.filter(|line| !line.is_empty()) {
        add(
            &mut maps,
            parse_line(line)?,
            |mapping| mapping,
            |mapping, end| mapping.end = end,
        );
    }
    Ok(maps)
}

/// Adds what was read last to a list by address, so that nothing in it overlaps.
///
/// The kernel writes `maps` and `smaps` page by page, and begins each page with the mapping that holds the address at
/// which the last one ended. A mapping that has grown over that address in the meantime is written again, as a whole:
/// the newer reading replaces the older one, or the part of it that both have.
pub(super) fn add<T>(
    list: &mut Vec<T>,
    newer: T,
    mapping: impl Fn(&T) -> &Mapping,
    end_at: impl FnOnce(&mut T, u64),
) {
    let Range { start, end } = mapping(&newer).start..mapping(&newer).end;
    let is_covered = |older: &mut T| start <= mapping(older).start && mapping(older).end <= end;
    while list.pop_if(is_covered).is_some() {}
    let is_cut = |older: &Mapping| older.start < start && start < older.end;
    if let Some(older) = list.last_mut()
        && is_cut(mapping(older))
    {
        end_at(older, start);
    }
    list.push(newer);
}

/// Parses one line, without its newline.
pub fn parse_line(line: &[u8]) -> Result<Mapping, MapsLineError> {
    let bad = |field| MapsLineError {
        field,
        line: String::from_utf8_lossy(line).into_owned(),
    };
    let mut fields = line.splitn(6, |byte| *byte == b' ');
    let mut next = |field| {
        let text = fields.next().ok_or_else(|| bad(field))?;
        std::str::from_utf8(text).map_err(|_| bad(field))
    };
    let (start, end) = hex_pair(next("range")?, '-').ok_or_else(|| bad("range"))?;
    let (read, write, execute, shared) =
        permissions(next("permissions")?).ok_or_else(|| bad("permissions"))?;
    let offset = hex(next("offset")?).ok_or_else(|| bad("offset"))?;
    let (major, minor) = hex_pair(next("device")?, ':').ok_or_else(|| bad("device"))?;
    let inode = next("inode")?.parse().map_err(|_| bad("inode"))?;
    if start >= end {
        return Err(bad("range"));
    }
    let dev = (
        u32::try_from(major).map_err(|_| bad("device"))?,
        u32::try_from(minor).map_err(|_| bad("device"))?,
    );
    let file = FileId { dev, inode };
    let name = name(fields.next().unwrap_or_default());
    Ok(Mapping {
        start,
        end,
        read,
        write,
        execute,
        shared,
        offset,
        file,
        name,
    })
}

/// Distinct files with an executable mapping, in order of first appearance.
pub fn executable_files(maps: &[Mapping]) -> Vec<MappedFile> {
    let mut seen = std::collections::HashSet::new();
    maps.iter()
        .filter(|mapping| mapping.execute && mapping.file.inode != 0)
        .filter_map(|mapping| match &mapping.name {
            MappingName::File { path, deleted } if seen.insert(mapping.file) => Some(MappedFile {
                id: mapping.file,
                path: path.clone(),
                deleted: *deleted,
                range: mapping.start..mapping.end,
                offset: mapping.offset,
            }),
            _ => None,
        })
        .collect()
}

fn hex(text: &str) -> Option<u64> {
    // `from_str_radix` takes a leading plus sign, the kernel never prints one.
    if text.starts_with('+') {
        None
    } else {
        u64::from_str_radix(text, 16).ok()
    }
}

fn hex_pair(text: &str, separator: char) -> Option<(u64, u64)> {
    let (first, second) = text.split_once(separator)?;
    Some((hex(first)?, hex(second)?))
}

fn permissions(text: &str) -> Option<(bool, bool, bool, bool)> {
    let flag = |byte: u8, set: u8| match byte {
        b'-' => Some(false),
        other => (other == set).then_some(true),
    };
    let [r, w, x, share] = text.as_bytes() else {
        return None;
    };
    let shared = match share {
        b's' => true,
        b'p' => false,
        _ => return None,
    };
    Some((flag(*r, b'r')?, flag(*w, b'w')?, flag(*x, b'x')?, shared))
}

/// The name column. The kernel pads it with spaces, prints a newline as `\012` and all other bytes as they are.
fn name(column: &[u8]) -> MappingName {
    let padding = column.iter().take_while(|byte| **byte == b' ').count();
    let text = &column[padding..];
    match text.first() {
        None => MappingName::Anonymous,
        Some(b'/') => {
            let (path, deleted) = match text.strip_suffix(b" (deleted)") {
                Some(path) => (path, true),
                None => (text, false),
            };
            let path = unescape_newlines(path);
            MappingName::File {
                path: OsStr::from_bytes(&path).into(),
                deleted,
            }
        }
        Some(_) => MappingName::Special(String::from_utf8_lossy(text).into_owned()),
    }
}

fn unescape_newlines(mut text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    while let Some((first, rest)) = text.split_first() {
        match text.strip_prefix(br"\012") {
            Some(after) => {
                out.push(b'\n');
                text = after;
            }
            None => {
                out.push(*first);
                text = rest;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SAMPLE: &[u8] = b"\
55d0c0a00000-55d0c0a02000 r--p 00000000 fe:01 1234                       /usr/bin/my app\n\
55d0c0a02000-55d0c0a06000 r-xp 00002000 fe:01 1234                       /usr/bin/my app\n\
55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0                          [heap]\n\
7f0000000000-7f0000001000 r-xp 00000000 00:1a 99                         /usr/lib/lib c.so (deleted)\n\
7f0000001000-7f0000002000 r-xp 00001000 00:1a 99                         /usr/lib/lib c.so (deleted)\n\
7f0000002000-7f0000003000 rwxp 00000000 00:00 0 \n\
7f0000003000-7f0000004000 rw-s 00000000 00:0f 1061                       anon_inode:[perf_event]\n\
7ffd0c5f1000-7ffd0c5f3000 r-xp 00000000 00:00 0                          [vdso]\n\
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0                  [vsyscall]\n";

    #[test]
    fn reads_every_kind_of_line() {
        let maps = parse(SAMPLE).expect("sample parses");
        assert_eq!(maps.len(), 9);
        assert_eq!(
            maps[1].file,
            FileId {
                dev: (0xfe, 1),
                inode: 1234
            }
        );
        assert_eq!(maps[1].label(), Some(Path::new("/usr/bin/my app")));
        assert_eq!(maps[1].file_offset(0x55d0_c0a0_2010), Some(0x2010));
        assert_eq!(maps[1].file_offset(0x55d0_c0a0_6000), None);
        assert_eq!(maps[2].name, MappingName::Special("[heap]".into()));
        assert_eq!(
            maps[3].name,
            MappingName::File {
                path: "/usr/lib/lib c.so".into(),
                deleted: true
            }
        );
        assert_eq!(maps[5].name, MappingName::Anonymous);
        assert!(maps[5].execute && maps[5].write);
        assert_eq!(
            maps[6].name,
            MappingName::Special("anon_inode:[perf_event]".into())
        );
        assert!(maps[6].shared);
        assert!(!maps[8].read && maps[8].execute);
    }

    #[test]
    fn the_newer_reading_of_a_mapping_counts() {
        let text = b"1000-3000 r--p 0 00:00 0\n3000-5000 rw-p 0 00:00 0\n5000-6000 ---p 0 00:00 0\n\
                     3000-9000 rw-p 0 00:00 0\n8000-a000 r--p 0 00:00 0\na000-b000 rw-p 0 00:00 0\n";
        let maps = parse(text).expect("parses");
        let ranges: Vec<_> = maps.iter().map(|m| (m.start, m.end, m.write)).collect();
        assert_eq!(
            ranges,
            [
                (0x1000, 0x3000, false),
                (0x3000, 0x8000, true),
                (0x8000, 0xa000, false),
                (0xa000, 0xb000, true),
            ]
        );
    }

    #[test]
    fn an_executable_file_counts_once() {
        let files = executable_files(&parse(SAMPLE).expect("sample parses"));
        let brief: Vec<_> = files
            .iter()
            .map(|f| (f.id.inode, f.deleted, f.range.start))
            .collect();
        assert_eq!(
            brief,
            [
                (1234, false, 0x55d0_c0a0_2000),
                (99, true, 0x7f00_0000_0000)
            ]
        );
    }

    #[test]
    fn malformed_lines_name_the_field() {
        for (line, field) in [
            ("zz-2000 r-xp 0 00:00 0", "range"),
            ("2000-1000 r-xp 0 00:00 0", "range"),
            ("1000 r-xp 0 00:00 0", "range"),
            ("1000-2000 r-x 0 00:00 0", "permissions"),
            ("1000-2000 rqxp 0 00:00 0", "permissions"),
            ("1000-2000 r-xz 0 00:00 0", "permissions"),
            ("1000-2000 r-xp +1 00:00 0", "offset"),
            ("1000-2000 r-xp 0 0000 0", "device"),
            ("1000-2000 r-xp 0 100000000:00 0", "device"),
            ("1000-2000 r-xp 0 00:00 x", "inode"),
            ("1000-2000 r-xp 0 00:00", "inode"),
            ("1000-2000", "permissions"),
        ] {
            assert_eq!(
                parse_line(line.as_bytes()).map_err(|e| e.field),
                Err(field),
                "{line}"
            );
        }
    }

    #[test]
    fn own_maps_hold_this_function() {
        let maps = read(std::process::id()).expect("own maps");
        let here = own_maps_hold_this_function as *const () as u64;
        let mapping = maps.iter().find(|m| m.contains(here)).expect("mapped");
        assert!(mapping.execute && mapping.file.inode != 0);
    }

    #[test]
    fn a_vanished_process_is_gone() {
        // Above the largest PID that the kernel gives out (2^22).
        assert!(matches!(read(1 << 23), Err(ProcessError::Gone { pid }) if pid == 1 << 23));
    }

    /// Prints a mapping as the kernel does (`show_map_vma` in fs/proc/task_mmu.c).
    fn print(m: &Mapping) -> Vec<u8> {
        let bit = |set: bool, c: char| if set { c } else { '-' };
        let mut line = format!(
            "{:08x}-{:08x} {}{}{}{} {:08x} {:02x}:{:02x} {} ",
            m.start,
            m.end,
            bit(m.read, 'r'),
            bit(m.write, 'w'),
            bit(m.execute, 'x'),
            if m.shared { 's' } else { 'p' },
            m.offset,
            m.file.dev.0,
            m.file.dev.1,
            m.file.inode
        )
        .into_bytes();
        let (name, deleted) = match &m.name {
            MappingName::File { path, deleted } => (path.as_os_str().as_bytes(), *deleted),
            MappingName::Special(name) => (name.as_bytes(), false),
            MappingName::Anonymous => return line,
        };
        line.resize(line.len().max(73), b' ');
        for byte in name {
            match byte {
                b'\n' => line.extend(br"\012"),
                other => line.push(*other),
            }
        }
        if deleted {
            line.extend(b" (deleted)");
        }
        line
    }

    fn names() -> impl Strategy<Value = MappingName> {
        prop_oneof![
            ("/[ -\\[\\]-~\n\u{e0}-\u{ff}]{0,40}[a-z]", any::<bool>()).prop_map(
                |(path, deleted)| MappingName::File {
                    path: path.into(),
                    deleted
                }
            ),
            r"\[[a-z:0-9 ]{1,12}\]".prop_map(MappingName::Special),
            Just(MappingName::Anonymous),
        ]
    }

    prop_compose! {
        fn mappings()(
            start in 0..u64::MAX - 1, length in 1..u64::MAX, flags in any::<[bool; 4]>(),
            offset: u64, dev: (u32, u32), inode: u64, name in names(),
        ) -> Mapping {
            Mapping {
                start, end: start.saturating_add(length),
                read: flags[0], write: flags[1], execute: flags[2], shared: flags[3],
                offset, file: FileId { dev, inode }, name,
            }
        }
    }

    proptest! {
        #[test]
        fn what_the_kernel_prints_is_read_back(mapping in mappings()) {
            prop_assert_eq!(parse(&print(&mapping)), Ok(vec![mapping]));
        }

        #[test]
        fn no_text_panics(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let _ = parse(&text);
        }
    }
}
