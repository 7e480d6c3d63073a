//! Code that runtimes generate: where its heaps lie in each process, and which tables have been replaced.

use std::borrow::Cow;
use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use tracer_common::unwind::{BUCKET_BYTES, Rule};

use super::files::{Files, Key, State};
use crate::bpf::{TablePlace, Tracer};
use crate::process::maps::{MappedFile, Mapping, MappingName};
use crate::unwind::{Code, Size, Table};

/// Code bytes for each row of a table: a compiled method has some 3 KiB and needs three.
const CODE_BYTES_A_ROW: u64 = 1024;

/// Heaps of generated code.
#[derive(Debug, Default)]
pub struct Generated {
    /// By process, then by the runtime's own address of the heap.
    heaps: HashMap<u32, BTreeMap<u64, Range<u64>>>,
    /// Bytes of code that runtimes had generated in each process before its first table came.
    expected: HashMap<u32, u64>,
    /// Tables that no mapping refers to once the next mappings are published.
    replaced: Vec<TablePlace>,
}

impl Generated {
    /// Notes how much code a process with HotSpot has, whose tables are still to come: the room is made before.
    pub fn expect(&mut self, pid: u32, maps: &[Mapping], files: &[MappedFile]) {
        let is_hotspot = |file: &MappedFile| file.path.ends_with("libjvm.so");
        if files.iter().any(is_hotspot) {
            let code = maps
                .iter()
                .filter(|mapping| mapping.execute && mapping.name == MappingName::Anonymous);
            let bytes = code.map(|mapping| mapping.end - mapping.start).sum();
            self.expected.insert(pid, bytes);
        }
    }

    /// Room for the tables that are still to come, for twice the code that is there.
    pub fn expected(&self) -> Size {
        let bytes: u64 = self.expected.values().map(|bytes| bytes * 2).sum();
        Size {
            rows: bytes / CODE_BYTES_A_ROW,
            buckets: bytes / u64::from(BUCKET_BYTES),
        }
    }

    /// The keys of a process's tables.
    pub fn keys(&self, pid: u32) -> impl Iterator<Item = Key> {
        let heaps = self.heaps.get(&pid).into_iter().flatten();
        heaps.map(move |(heap, _)| Key::Generated(pid, *heap))
    }

    /// Notes where a heap lies; the key of its table.
    pub fn set(&mut self, pid: u32, heap: u64, table: &Table) -> Key {
        let end = table.base + table.buckets.len() as u64 * u64::from(BUCKET_BYTES);
        let heaps = self.heaps.entry(pid).or_default();
        heaps.insert(heap, table.base..end);
        Key::Generated(pid, heap)
    }

    /// A table that another one has taken the place of.
    pub fn replaced(&mut self, place: TablePlace) {
        self.replaced.push(place);
    }

    /// Frees the tables that were replaced. What has been published must not refer to them.
    pub fn retire(&mut self, tracer: &mut Tracer) {
        if !self.replaced.is_empty() {
            // The room is lost for this trace if the kernel cannot be waited for.
            let _ = tracer.evict(&[], &std::mem::take(&mut self.replaced));
        }
    }

    /// Forgets a process that has ended.
    pub fn ended(&mut self, pid: u32) {
        self.heaps.remove(&pid);
        self.expected.remove(&pid);
    }

    /// A process's mappings, so that none of memory without a file reaches into a heap from outside, or out of one.
    pub fn split<'a>(&self, pid: u32, maps: &'a [Mapping]) -> Cow<'a, [Mapping]> {
        let Some(heaps) = self.heaps.get(&pid) else {
            return Cow::Borrowed(maps);
        };
        let mut split = Vec::with_capacity(maps.len() + heaps.len());
        for mapping in maps {
            let is_split = mapping.execute && mapping.name == MappingName::Anonymous;
            let mut start = mapping.start;
            let bounds = heaps.values().flat_map(|heap| [heap.start, heap.end]);
            let mut bounds: Vec<u64> = bounds
                .filter(|at| is_split && mapping.start < *at && *at < mapping.end)
                .collect();
            bounds.sort_unstable();
            bounds.push(mapping.end);
            for end in bounds {
                if start < end {
                    split.push(Mapping {
                        start,
                        end,
                        ..mapping.clone()
                    });
                }
                start = end;
            }
        }
        Cow::Owned(split)
    }

    /// How memory without a file is walked: by the table of the heap that it is in, else by frame pointers.
    pub fn code<'a>(&self, pid: u32, mapping: &Mapping, files: &'a Files) -> Code<'a> {
        let mut heaps = self.heaps.get(&pid).into_iter().flatten();
        let Some((heap, range)) = heaps.find(|(_, range)| range.contains(&mapping.start)) else {
            return Code::Uniform(Rule::NO_FDE);
        };
        match files.state(&Key::Generated(pid, *heap)) {
            Some(State::Stored(stored)) => Code::Generated {
                base: range.start,
                first_bucket: stored.place.buckets.first,
                buckets: stored.place.buckets.count,
            },
            _ => Code::Uniform(Rule::NO_TABLE),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::maps;
    use crate::unwind::table_of;

    #[test]
    fn mappings_end_where_heaps_do() {
        let mut generated = Generated::default();
        let text = b"1000-9000 rwxp 00000000 00:00 0 \n9000-a000 r-xp 00000000 00:01 5 /lib/x\n";
        let maps = maps::parse(text).expect("maps");
        assert_eq!(*generated.split(7, &maps), *maps);
        for (heap, range) in [(1, 0x2000..0x4000), (2, 0x4000..0x9000)] {
            let table = table_of(range.clone(), &[(range.start, Rule::NO_MAPPING)]);
            generated.set(7, heap, &table);
        }
        let split = generated.split(7, &maps);
        let ranges: Vec<(u64, u64)> = split.iter().map(|m| (m.start, m.end)).collect();
        let expected = [
            (0x1000, 0x2000),
            (0x2000, 0x4000),
            (0x4000, 0x9000),
            (0x9000, 0xa000),
        ];
        assert_eq!(ranges, expected);
        assert_eq!(generated.keys(7).count(), 2);
        let files = Files::default();
        let code = |at: usize| generated.code(7, &split[at], &files);
        assert!(matches!(code(0), Code::Uniform(Rule::NO_FDE)));
        assert!(matches!(code(1), Code::Uniform(Rule::NO_TABLE)));
        generated.ended(7);
        assert_eq!(*generated.split(7, &maps), *maps);
    }
}
