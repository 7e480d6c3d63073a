//! A process's mappings, as kernels and linkers lay them out.

use tracer_common::unwind::{Mapping, Rule};

use super::*;
use crate::process::maps;

fn code(table: &Table) -> Code<'_> {
    Code::Table {
        segments: &table.segments,
        base: table.base,
        first_bucket: 7,
        buckets: table.buckets.len() as u32,
    }
}

pub(super) fn table_of(segments: &[(u64, u64, u64)]) -> Table {
    let segment = |&(offset, address, size)| Segment {
        offset,
        address,
        size,
    };
    Table {
        base: segments[0].1,
        rows: vec![0],
        buckets: vec![0; 16],
        segments: segments.iter().map(segment).collect(),
        stats: Stats::default(),
    }
}

/// As lld lays out a Rust program: file offsets and addresses differ by a page a segment, and a segment
/// begins in the middle of the page on which the one before it ends.
#[test]
fn the_segment_that_is_mapped_decides_the_bias() {
    let table = table_of(&[(0x1234, 0x2234, 0x2000), (0x5678, 0x8678, 0x1000)]);
    let text = b"\
5000000000-5000001000 r--p 00000000 fe:01 9 /bin/p\n\
5000002000-5000005000 r-xp 00001000 fe:01 9 /bin/p\n\
5000008000-500000a000 r-xp 00005000 fe:01 9 /bin/p\n\
500000a000-500000b000 rw-p 00006000 fe:01 9 /bin/p\n";
    let maps = maps::parse(text).expect("maps");
    let placed = mappings(&maps, |_| code(&table));
    let biases: Vec<_> = placed.iter().map(|m| m.bias - table.base).collect();
    assert_eq!(biases, [0x50_0000_0000, 0x50_0000_0000]);
    assert_eq!(placed[1].start, 0x50_0000_8000);
    // The second half of a split mapping.
    let split = maps::parse(b"5000003000-5000004000 r-xp 00002000 fe:01 9 /bin/p\n");
    let placed = mappings(&split.expect("maps"), |_| code(&table));
    assert_eq!(placed[0].bias - table.base, 0x50_0000_0000);
}

#[test]
fn each_kind_of_memory_is_walked_in_its_way() {
    let table = table_of(&[(0, 0, 0x1000)]);
    let text = b"\
1000-2000 r-xp 00000000 00:00 0 \n\
2000-3000 rwxp 00000000 00:00 0 \n\
3000-4000 r--p 00000000 00:00 0 \n\
4000-5000 r-xp 00000000 00:00 0 [anon:v8]\n\
6000-7000 r-xp 00000000 fe:01 9 /bin/p\n\
7000-8000 r-xp 00001000 fe:01 9 /bin/p\n\
7ffd00000000-7ffd00001000 r-xp 00000000 00:00 0 [vdso]\n\
7fffffffe000-7ffffffff000 --xp 00000000 00:00 0 [uprobes]\n\
ffffffffff600000-ffffffffff601000 --xp 00000000 00:00 0 [vsyscall]\n";
    let maps = maps::parse(text).expect("maps");
    let placed = mappings(&maps, |mapping| match mapping.name {
        maps::MappingName::Anonymous => Code::Uniform(Rule::NO_FDE),
        _ => code(&table),
    });
    assert_eq!(
        placed,
        [
            Mapping::uniform(0x1000, 0x3000, Rule::NO_FDE),
            Mapping::uniform(0x4000, 0x5000, Rule::NO_FDE),
            Mapping {
                start: 0x6000,
                end: 0x7000,
                bias: 0x6000,
                first_bucket: 7,
                buckets: 16
            },
            Mapping::uniform(0x7000, 0x8000, Rule::NO_TABLE),
            Mapping {
                start: 0x7ffd_0000_0000,
                end: 0x7ffd_0000_1000,
                bias: 0x7ffd_0000_0000,
                first_bucket: 7,
                buckets: 16
            },
            Mapping::uniform(0x7fff_ffff_e000, 0x7fff_ffff_f000, Rule::RETURN_PROBE),
        ]
    );
    let unknown = mappings(&maps, |_| Code::Uniform(Rule::NO_TABLE));
    assert_eq!(unknown[2], Mapping::uniform(0x6000, 0x8000, Rule::NO_TABLE));
}
