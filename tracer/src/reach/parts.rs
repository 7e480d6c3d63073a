//! Which parts of a process's memory are read, and what lies in each.

use std::ops::Range;

use super::graph::Rank;
use super::scan::{Kind, Part};
use crate::process::maps::{Mapping, MappingName};
use crate::process::pagemap::Region;

/// Bytes below the stack pointer that a function may use all the same (System V ABI for AMD64, section 3.2.2).
const RED_ZONE: u64 = 128;

/// Bytes from the thread pointer on that are taken for the C library's own record of the thread: glibc's has 2,304.
const THREAD_RECORD: u64 = 2304;

/// What is known of a thread.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    /// Its id.
    pub tid: u32,
    /// Its stack pointer; `None` if it is not known, and all of its stack counts.
    pub stack_pointer: Option<u64>,
    /// Its thread pointer, the base of `fs`.
    pub thread_pointer: Option<u64>,
}

/// What is known of a process's address space.
#[derive(Clone, Copy, Debug)]
pub struct Layout<'a> {
    /// Its mappings, ascending.
    pub mappings: &'a [Mapping],
    /// Pages in memory or in swap that the process has written, or has read of a file, ascending.
    pub touched: &'a [Region],
    /// Data of its modules by their program headers, ascending: zeroed data has no mapping of its own name.
    pub data: &'a [Range<u64>],
    /// Its threads.
    pub threads: &'a [Thread],
    /// Bytes of variables before each thread pointer.
    pub thread_data: u64,
    /// What is not read: the allocator's own records.
    pub passed_over: &'a [Range<u64>],
}

impl Layout<'_> {
    /// The parts to be read, ascending. `is_heap` tells of a mapping whether blocks may lie in it.
    ///
    /// Left out are pages that are not in memory, what lies below the stack pointers, memory of devices, and what the
    /// process cannot read itself.
    pub fn parts(&self, mut is_heap: impl FnMut(&Mapping) -> bool) -> Vec<Part> {
        let mut parts = Vec::new();
        let mut touched = self.touched;
        for (number, mapping) in self.mappings.iter().enumerate() {
            if !is_read(mapping) {
                continue;
            }
            let range = mapping.start..mapping.end;
            while let [first, rest @ ..] = touched
                && first.end <= range.start
            {
                touched = rest;
            }
            let here = touched.iter().take_while(|region| region.start < range.end);
            let here: Vec<Range<u64>> = here
                .filter(|region| !region.swapped)
                .map(|region| region.start.max(range.start)..region.end.min(range.end))
                .collect();
            if here.is_empty() {
                continue;
            }
            let (others, from) = self.kind(number, &mut is_heap);
            let special = self.special(&range);
            for piece in here {
                let piece = piece.start.max(from)..piece.end;
                cut(&piece, &special, others, &mut parts);
            }
        }
        parts
    }

    /// What lies in the mapping of this number, and the address from which on it is read.
    fn kind(&self, number: usize, is_heap: &mut impl FnMut(&Mapping) -> bool) -> (Kind, u64) {
        let mapping = &self.mappings[number];
        // A program may have made stacks of blocks; they are read as blocks, whole.
        if may_be_heap(mapping) && is_heap(mapping) {
            return (Kind::Heap, mapping.start);
        }
        match self.stack(mapping) {
            Some(used) if self.is_thread_stack(number) => {
                (Kind::Roots(Rank::Stack), used.unwrap_or(mapping.start))
            }
            Some(_) => (Kind::Roots(Rank::Stack), mapping.start),
            None => (Kind::Roots(Rank::Mapping), mapping.start),
        }
    }

    /// Whether a mapping with a stack in it holds nothing else: the kernel names it, or there is a guard before it.
    fn is_thread_stack(&self, number: usize) -> bool {
        let mapping = &self.mappings[number];
        let before = number
            .checked_sub(1)
            .map(|before| &self.mappings[before])
            .filter(|before| before.end == mapping.start);
        is_main_stack(mapping) || before.is_some_and(|before| !before.read && !before.write)
    }

    /// Where the part of a stack that is in use begins, if this is one and that is known.
    fn stack(&self, mapping: &Mapping) -> Option<Option<u64>> {
        let own = self.threads.iter().filter(|thread| {
            let pointers = [thread.stack_pointer, thread.thread_pointer];
            pointers
                .into_iter()
                .flatten()
                .any(|pointer| mapping.contains(pointer))
                && thread
                    .stack_pointer
                    .is_none_or(|pointer| mapping.contains(pointer))
        });
        let starts: Vec<Option<u64>> = own
            .map(|thread| Some((thread.stack_pointer?.saturating_sub(RED_ZONE)) & !7))
            .collect();
        match starts[..] {
            [] => is_main_stack(mapping).then_some(None),
            _ => Some(
                starts
                    .into_iter()
                    .collect::<Option<Vec<_>>>()
                    .and_then(|starts| starts.into_iter().min()),
            ),
        }
    }

    /// The parts of a range that are something else than the rest, ascending, without overlaps; without a rank those
    /// that are not read.
    fn special(&self, range: &Range<u64>) -> Vec<(Range<u64>, Option<Rank>)> {
        let threads = self
            .threads
            .iter()
            .filter_map(|thread| thread.thread_pointer);
        let threads = threads.map(|pointer| {
            pointer.saturating_sub(self.thread_data)..pointer.saturating_add(THREAD_RECORD)
        });
        let threads = threads.map(|data| (data, Rank::ThreadLocal));
        let data = self.data.iter().cloned().map(|data| (data, Rank::Module));
        let known = threads.chain(data).flat_map(|(data, rank)| {
            let parts = without(&data, self.passed_over).into_iter();
            parts.map(move |part| (part, Some(rank)))
        });
        let records = self.passed_over.iter().map(|range| (range.clone(), None));
        let mut all: Vec<_> = known
            .chain(records)
            .map(|(part, rank)| (part.start.max(range.start)..part.end.min(range.end), rank))
            .filter(|(part, _)| !part.is_empty())
            .collect();
        all.sort_by_key(|(part, rank)| (part.start, *rank));
        let mut end = 0;
        all.retain_mut(|(part, _)| {
            part.start = part.start.max(end);
            end = end.max(part.end);
            !part.is_empty()
        });
        all
    }
}

/// Whether a mapping may hold pointers of the program.
pub fn is_read(mapping: &Mapping) -> bool {
    let is_left_out = match &mapping.name {
        MappingName::Special(name) => name.starts_with("[v"),
        MappingName::File { path, .. } => {
            path.starts_with("/dev")
                && !path.starts_with("/dev/shm")
                && !path.starts_with("/dev/zero")
        }
        MappingName::Anonymous => false,
    };
    mapping.read && !is_left_out && (mapping.write || !mapping.shared)
}

/// Whether a mapping is the heap that `brk` moves.
pub fn is_brk(mapping: &Mapping) -> bool {
    matches!(&mapping.name, MappingName::Special(name) if name == "[heap]")
}

/// What is left of a range without others, which ascend.
fn without(range: &Range<u64>, others: &[Range<u64>]) -> Vec<Range<u64>> {
    let mut left = Vec::new();
    let mut at = range.start;
    for other in others {
        left.push(at..other.start.min(range.end));
        at = at.max(other.end);
    }
    left.push(at..range.end);
    left.retain(|left| left.start < left.end);
    left
}

fn is_main_stack(mapping: &Mapping) -> bool {
    matches!(&mapping.name, MappingName::Special(name) if name == "[stack]")
}

/// Whether an allocator may have made it.
fn may_be_heap(mapping: &Mapping) -> bool {
    !matches!(mapping.name, MappingName::File { .. })
}

/// Cuts a piece where something special begins or ends.
fn cut(
    piece: &Range<u64>,
    special: &[(Range<u64>, Option<Rank>)],
    others: Kind,
    parts: &mut Vec<Part>,
) {
    let mut at = piece.start;
    let mut push = |range: Range<u64>, kind| {
        // Words are aligned.
        let range = range.start.next_multiple_of(8)..range.end & !7;
        if !range.is_empty() {
            parts.push(Part { range, kind });
        }
    };
    for (range, rank) in special {
        let inside = range.start.max(at)..range.end.min(piece.end);
        if inside.is_empty() {
            continue;
        }
        push(at..inside.start, others);
        if let Some(rank) = rank {
            push(inside.clone(), Kind::Roots(*rank));
        }
        at = inside.end;
    }
    push(at..piece.end, others);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::maps;

    const MAPS: &[u8] = b"\
400000-401000 r-xp 00000000 08:01 7 /usr/bin/app\n\
401000-402000 r--p 00001000 08:01 7 /usr/bin/app\n\
402000-404000 rw-p 00002000 08:01 7 /usr/bin/app\n\
404000-406000 rw-p 00000000 00:00 0 \n\
500000-510000 rw-p 00000000 00:00 0 [heap]\n\
5ff000-600000 ---p 00000000 00:00 0 \n\
600000-610000 rw-p 00000000 00:00 0 \n\
700000-701000 rw-s 00000000 00:05 9 /dev/dri/card0\n\
710000-711000 rw-s 00000000 00:05 9 /dev/shm/shared\n\
7ff000-800000 r--p 00000000 00:00 0 [vvar]\n\
900000-910000 rw-p 00000000 00:00 0 [stack]\n";

    fn region(start: u64, end: u64) -> Region {
        Region {
            start,
            end,
            swapped: false,
        }
    }

    fn parts(touched: &[Region], threads: &[Thread]) -> Vec<(u64, u64, Kind)> {
        let mappings = maps::parse(MAPS).expect("maps");
        let data = 0x402100..0x404800;
        let layout = Layout {
            mappings: &mappings,
            touched,
            data: std::slice::from_ref(&data),
            threads,
            thread_data: 0x1000,
            passed_over: std::slice::from_ref(&(0x40_4100..0x40_4200)),
        };
        let parts = layout.parts(is_brk);
        let parts = parts.into_iter();
        parts
            .map(|part| (part.range.start, part.range.end, part.kind))
            .collect()
    }

    #[test]
    fn each_part_is_what_it_is() {
        let threads = [
            Thread {
                tid: 1,
                stack_pointer: Some(0x90_8000),
                thread_pointer: Some(0x40_5800),
            },
            Thread {
                tid: 2,
                stack_pointer: Some(0x60_4004),
                thread_pointer: Some(0x60_f000),
            },
        ];
        let all = [region(0x40_0000, 0x91_0000)];
        let (module, local) = (Kind::Roots(Rank::Module), Kind::Roots(Rank::ThreadLocal));
        let (mapping, stack) = (Kind::Roots(Rank::Mapping), Kind::Roots(Rank::Stack));
        assert_eq!(
            parts(&all, &threads),
            [
                (0x40_0000, 0x40_1000, mapping),
                (0x40_1000, 0x40_2000, mapping),
                (0x40_2000, 0x40_2100, mapping),
                (0x40_2100, 0x40_4000, module),
                (0x40_4000, 0x40_4100, module),
                (0x40_4200, 0x40_4800, module),
                (0x40_4800, 0x40_6000, local),
                (0x50_0000, 0x51_0000, Kind::Heap),
                (0x60_3f80, 0x60_e000, stack),
                (0x60_e000, 0x60_f900, local),
                (0x60_f900, 0x61_0000, stack),
                (0x71_0000, 0x71_1000, mapping),
                (0x90_7f80, 0x91_0000, stack),
            ]
        );
    }

    /// Even where the variables of a thread reach into them.
    #[test]
    fn records_of_the_allocator_are_not_read() {
        let thread = Thread {
            tid: 1,
            stack_pointer: None,
            thread_pointer: Some(0x40_5000),
        };
        let layout = Layout {
            mappings: &maps::parse(MAPS).expect("maps"),
            touched: &[region(0x40_4000, 0x40_6000)],
            data: &[],
            threads: &[thread],
            thread_data: 0x1000,
            passed_over: std::slice::from_ref(&(0x40_4100..0x40_4200)),
        };
        let read = layout.parts(is_brk).into_iter();
        let local = read.filter(|part| part.kind == Kind::Roots(Rank::ThreadLocal));
        let local: Vec<Range<u64>> = local.map(|part| part.range).collect();
        assert_eq!(local, [0x40_4000..0x40_4100, 0x40_4200..0x40_5900]);
    }

    #[test]
    fn pages_that_are_not_there_are_left_out() {
        let mut swapped = region(0x50_8000, 0x50_9000);
        swapped.swapped = true;
        let touched = [
            region(0x50_0000, 0x50_1000),
            region(0x50_3000, 0x50_4000),
            swapped,
            region(0x90_f000, 0x91_0000),
        ];
        assert_eq!(
            parts(&touched, &[]),
            [
                (0x50_0000, 0x50_1000, Kind::Heap),
                (0x50_3000, 0x50_4000, Kind::Heap),
                // No thread is known, but the kernel names the stack.
                (0x90_f000, 0x91_0000, Kind::Roots(Rank::Stack)),
            ]
        );
    }
}
