//! Where a process can write: what a pointer into a heap must point into.

use crate::process::maps::{Mapping, MappingName};

/// Writable private memory, as ranges of addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Areas {
    /// Start and end, ascending; neighbours are joined.
    ranges: Vec<(u64, u64)>,
    /// What `brk` made.
    brk: Option<(u64, u64)>,
}

impl Areas {
    /// Those of a process's mappings, which are in order of address.
    pub fn of(mappings: &[Mapping]) -> Self {
        let mut areas = Self::default();
        for mapping in mappings
            .iter()
            .filter(|mapping| mapping.write && !mapping.shared)
        {
            let joined = areas
                .ranges
                .last_mut()
                .filter(|last| last.1 == mapping.start);
            match joined {
                Some(last) => last.1 = mapping.end,
                None => areas.ranges.push((mapping.start, mapping.end)),
            }
            if matches!(&mapping.name, MappingName::Special(name) if name == "[heap]") {
                // Memory advice and protection split it into several mappings.
                let start = areas.brk.map_or(mapping.start, |brk| brk.0);
                areas.brk = Some((start, mapping.end));
            }
        }
        areas
    }

    /// Whether an address is writable.
    pub fn contains(&self, address: u64) -> bool {
        self.around(address).is_some()
    }

    /// The range that an address is in.
    pub fn around(&self, address: u64) -> Option<(u64, u64)> {
        let after = self.ranges.partition_point(|range| range.0 <= address);
        let range = *self.ranges[..after].last()?;
        (address < range.1).then_some(range)
    }

    /// What `brk` made.
    pub const fn brk(&self) -> Option<(u64, u64)> {
        self.brk
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::maps;

    #[test]
    fn neighbours_are_one_area_and_the_brk_heap_is_known() {
        let text = b"\
1000-2000 rw-p 00000000 00:00 0                          [heap]\n\
2000-3000 rw-p 00000000 00:00 0                          [heap]\n\
3000-4000 r--p 00000000 00:00 0 \n\
5000-6000 rw-s 00000000 00:00 0 \n\
7000-8000 rw-p 00000000 00:00 0 \n";
        let areas = Areas::of(&maps::parse(text).expect("parses"));
        assert_eq!(areas.brk(), Some((0x1000, 0x3000)));
        assert_eq!(areas.around(0x2fff), Some((0x1000, 0x3000)));
        assert_eq!(areas.around(0x7000), Some((0x7000, 0x8000)));
        for outside in [0, 0xfff, 0x3000, 0x5800, 0x8000, u64::MAX] {
            assert!(!areas.contains(outside), "{outside:#x}");
        }
    }
}
