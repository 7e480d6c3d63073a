//! Which file a mapping is of, as the kernel knows it.
//!
//! On filesystems without a device of their own (overlayfs, btrfs) `stat`, `/proc/PID/maps` and perf's mapping records
//! tell a number that was made up for the mount; probes sit on the inode below it, which many containers share. Their
//! made-up numbers have major 0 (Documentation/admin-guide/devices.txt), so all others need no look.

use std::collections::HashMap;

use tracer_common::event::CodeArea;

use super::maps::{FileId, Mapping};

/// From the identities that processes see to the kernel's.
#[derive(Debug, Default)]
pub struct Identities {
    /// Every code mapping at the last look: process and start address to the file.
    areas: HashMap<(u32, u64), FileId>,
    /// Files that were met.
    known: HashMap<FileId, FileId>,
}

/// Minors take the lower 20 bits of the kernel's device numbers (include/linux/kdev_t.h).
const MINOR_BITS: u32 = 20;

/// The file of an area, by the device and inode that probes are placed on.
pub fn file_id(area: &CodeArea) -> FileId {
    FileId {
        dev: (
            area.device >> MINOR_BITS,
            area.device & ((1 << MINOR_BITS) - 1),
        ),
        inode: area.inode,
    }
}

impl Identities {
    /// Takes in all code on the host as it is now.
    pub fn learn(&mut self, areas: &[CodeArea]) {
        self.areas = areas
            .iter()
            .map(|area| ((area.tgid, area.start), file_id(area)))
            .collect();
    }

    /// The kernel's identity of a mapping's file; `None` if it takes a new look to know.
    pub fn of(&mut self, pid: u32, mapping: &Mapping) -> Option<FileId> {
        let seen = mapping.file;
        if seen.dev.0 != 0 {
            return Some(seen);
        }
        if let Some(known) = self.known.get(&seen) {
            return Some(*known);
        }
        let found = *self.areas.get(&(pid, mapping.start))?;
        self.known.insert(seen, found);
        Some(found)
    }

    /// Gives mappings the kernel's identities; those that are not known keep what the process sees.
    pub fn translate(&mut self, pid: u32, maps: &mut [Mapping]) {
        for mapping in maps {
            if let Some(id) = self.of(pid, mapping) {
                mapping.file = id;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::maps;

    fn mapping(line: &str) -> Mapping {
        maps::parse_line(line.as_bytes()).expect("a line of /proc/PID/maps")
    }

    /// A file on overlayfs is the one below; the answer holds for other processes of the same mount.
    #[test]
    fn overlayfs_is_looked_through() {
        let code = mapping("1000-2000 r-xp 00000000 00:27 77 /app");
        let mut identities = Identities::default();
        assert_eq!(identities.of(5, &code), None);
        identities.learn(&[CodeArea {
            start: 0x1000,
            end: 0x2000,
            offset: 0,
            inode: 99,
            device: 254 << 20 | 3,
            tgid: 5,
        }]);
        let below = FileId {
            dev: (254, 3),
            inode: 99,
        };
        assert_eq!(identities.of(5, &code), Some(below));
        let elsewhere = mapping("7000-8000 r-xp 00000000 00:27 77 /app");
        assert_eq!(identities.of(6, &elsewhere), Some(below));
        let mut maps = [
            elsewhere,
            mapping("9000-a000 r-xp 00000000 00:28 77 /other"),
        ];
        identities.translate(6, &mut maps);
        assert_eq!(maps.map(|mapping| mapping.file.dev), [(254, 3), (0, 0x28)]);
    }

    /// Disks have numbers of their own.
    #[test]
    fn a_disk_is_taken_at_its_word() {
        let code = mapping("1000-2000 r-xp 00000000 fe:00 77 /app");
        assert_eq!(Identities::default().of(5, &code), Some(code.file));
    }
}
