//! The code cache of a machine that a test made up, and of bytes that mean nothing.

use std::collections::BTreeMap;
use std::ops::Range;

use proptest::prelude::*;
use tracer_common::unwind::Rule;

use super::structs::{Member, Structs};
use super::*;
use crate::unwind::{Arrays, Code};

/// Memory of a process: pieces at their addresses.
#[derive(Clone, Debug, Default)]
struct Fake(BTreeMap<u64, Vec<u8>>);

impl Fake {
    fn put(&mut self, address: u64, bytes: &[u8]) {
        for (at, byte) in (address..).zip(bytes) {
            let page = self.0.entry(at & !0xfff).or_insert_with(|| vec![0; 4096]);
            page[(at & 0xfff) as usize] = *byte;
        }
    }

    fn word(&mut self, address: u64, word: u64) {
        self.put(address, &word.to_le_bytes());
    }

    fn byte(&self, address: u64) -> Option<u8> {
        let page = self.0.get(&(address & !0xfff))?;
        Some(page[(address & 0xfff) as usize])
    }
}

impl Pieces for Fake {
    fn each(&mut self, ranges: &[Range<u64>], take: &mut dyn FnMut(usize, Option<&[u8]>)) {
        for (index, range) in ranges.iter().enumerate() {
            let bytes: Option<Vec<u8>> = range.clone().map(|at| self.byte(at)).collect();
            take(index, bytes.as_deref());
        }
    }
}

const HEAP: u64 = 0x10_0000;
const CODE: u64 = 0x7000_0000;
const SEGMENT: u64 = 128;

fn structs() -> Structs {
    let at = |offset: u64, bytes: u32| Member {
        offset,
        address: 0,
        bytes,
    };
    let members = [
        (
            "CodeCache",
            "_heaps",
            Member {
                address: 0x8000,
                ..Member::default()
            },
        ),
        ("GrowableArrayBase", "_len", at(0, 4)),
        ("GrowableArray<int>", "_data", at(8, 8)),
        ("CodeHeap", "_memory", at(0, 8)),
        ("CodeHeap", "_segmap", at(64, 8)),
        ("CodeHeap", "_log2_segment_size", at(128, 4)),
        ("VirtualSpace", "_low", at(16, 8)),
        ("VirtualSpace", "_high", at(24, 8)),
        ("HeapBlock", "_header", at(0, 8)),
        ("HeapBlock::Header", "_length", at(0, 8)),
        ("HeapBlock::Header", "_used", at(8, 1)),
        ("CodeBlob", "_name", at(8, 8)),
        ("CodeBlob", "_frame_size", at(16, 4)),
        ("CodeBlob", "_frame_complete_offset", at(20, 2)),
        ("CodeBlob", "_code_offset", at(24, 4)),
        ("CodeBlob", "_data_offset", at(28, 4)),
        ("nmethod", "_method", at(32, 8)),
        ("nmethod", "_compile_id", at(40, 4)),
        ("Method", "_constMethod", at(8, 8)),
        ("ConstMethod", "_constants", at(8, 8)),
        ("ConstMethod", "_constMethod_size", at(16, 4)),
        ("ConstMethod", "_flags", at(20, 2)),
        ("ConstMethod", "_code_size", at(22, 2)),
        ("ConstMethod", "_name_index", at(24, 2)),
        ("ConstantPool", "_pool_holder", at(8, 8)),
        ("ConstantPool", "_source_file_name_index", at(16, 2)),
        ("Klass", "_name", at(8, 8)),
        ("Symbol", "_length", at(4, 2)),
        ("Symbol", "_body[0]", at(6, 1)),
    ];
    let sizes = [
        ("HeapBlock", 16),
        ("CodeBlob", 32),
        ("nmethod", 64),
        ("ConstMethod", 32),
        ("ConstantPool", 24),
    ];
    Structs::of(&members, &sizes)
}

/// A block of so many segments with a compiled method.
struct Compiled {
    segment: u64,
    segments: u64,
    id: u32,
    frame_words: u32,
    method: u64,
}

/// A machine with one heap of 64 segments.
fn machine(compiled: &[Compiled]) -> Fake {
    let mut memory = Fake::default();
    memory.word(0x8000, 0x9000);
    memory.put(0x9000, &1_u32.to_le_bytes());
    memory.word(0x9008, 0x9100);
    memory.word(0x9100, HEAP);
    memory.word(HEAP + 16, CODE);
    memory.word(HEAP + 24, CODE + 64 * SEGMENT);
    memory.word(HEAP + 64 + 16, 0x20_0000);
    memory.word(HEAP + 128, 7);
    memory.put(0x20_0000, &[0xff; 64]);
    memory.put(CODE, &[0; 64 * SEGMENT as usize]);
    memory.put(0x3_0000, b"nmethod\0");
    for one in compiled {
        for number in 0..one.segments {
            memory.put(0x20_0000 + one.segment + number, &[number as u8]);
        }
        let block = CODE + one.segment * SEGMENT;
        memory.word(block, one.segments);
        memory.put(block + 8, &[1]);
        let blob = block + 16;
        memory.word(blob + 8, 0x3_0000);
        memory.put(blob + 16, &one.frame_words.to_le_bytes());
        memory.put(blob + 20, &9_u16.to_le_bytes());
        memory.put(blob + 24, &64_u32.to_le_bytes());
        let end = (one.segments * SEGMENT - 16) as u32;
        memory.put(blob + 28, &end.to_le_bytes());
        memory.word(blob + 32, one.method);
        memory.put(blob + 40, &one.id.to_le_bytes());
    }
    memory
}

/// A method "a/B" "run" in B.java, whose bytecode 0 is in line 5.
fn method(memory: &mut Fake, at: u64) {
    memory.word(at + 8, at + 0x100);
    let constant = at + 0x100;
    memory.word(constant + 8, at + 0x200);
    memory.put(constant + 16, &6_u32.to_le_bytes());
    memory.put(constant + 20, &1_u16.to_le_bytes());
    memory.put(constant + 22, &8_u16.to_le_bytes());
    memory.put(constant + 24, &1_u16.to_le_bytes());
    memory.put(constant + 32 + 8, &[5, 0]);
    let pool = at + 0x200;
    memory.word(pool + 8, at + 0x300);
    memory.put(pool + 16, &2_u16.to_le_bytes());
    memory.word(pool + 24 + 8, at + 0x400);
    memory.word(pool + 24 + 16, at + 0x480);
    memory.word(at + 0x300 + 8, at + 0x500);
    for (symbol, text) in [(0x400, "run"), (0x480, "B.java"), (0x500, "a/B")] {
        memory.put(at + symbol + 4, &(text.len() as u16).to_le_bytes());
        memory.put(at + symbol + 6, text.as_bytes());
    }
}

fn layout() -> Layout {
    Layout::of(&structs(), 21).expect("all that is needed")
}

#[test]
fn compiled_methods_are_found_and_walked() {
    let compiled = |segment, id, frame_words| Compiled {
        segment,
        segments: 3,
        id,
        frame_words,
        method: 0x5_0000,
    };
    let mut memory = machine(&[compiled(2, 7, 6), compiled(5, 8, 4)]);
    method(&mut memory, 0x5_0000);
    let mut cache = CodeCache::default();
    let changes = cache.refresh(&mut memory, &layout(), false);
    let all = Changes {
        heaps: vec![HEAP],
        gone: Vec::new(),
    };
    assert_eq!(changes, Some(all));
    let none = Some(Changes::default());
    assert_eq!(cache.refresh(&mut memory, &layout(), true), none);
    let at = CODE + 2 * SEGMENT + 16 + 64 + 20;
    let blob = cache.find(at).expect("a blob");
    let found = blob.method.as_ref().expect("a method");
    assert_eq!(
        (found.name.as_str(), found.file.as_deref()),
        ("a.B.run", Some("B.java"))
    );
    assert_eq!(found.line(&layout(), 0), Some(5));
    assert!(cache.find(CODE + 20 * SEGMENT).is_none());

    let table = table(&cache.heaps[&HEAP]);
    let mut arrays = Arrays::default();
    let Code::Table {
        base,
        first_bucket,
        buckets,
        ..
    } = arrays.store(&table)
    else {
        panic!("a table");
    };
    arrays.mappings.push(tracer_common::unwind::Mapping {
        start: CODE,
        end: CODE + 64 * SEGMENT,
        bias: base,
        first_bucket,
        buckets,
    });
    use tracer_common::unwind::Tables;
    let mut rule = |address| arrays.rule(address);
    assert_eq!(rule(at), Rule::rsp(48, 16).expect("a rule"));
    // Before its frame is complete, where there is no code, and in the other one.
    assert_eq!(rule(CODE + 2 * SEGMENT + 16 + 64 + 3), Rule::UNSUPPORTED);
    assert_eq!(rule(CODE + 40 * SEGMENT), Rule::NO_MAPPING);
    assert_eq!(
        rule(CODE + 5 * SEGMENT + 16 + 64 + 20),
        Rule::rsp(32, 16).expect("a rule")
    );

    // Another method at the same place.
    let mut memory = machine(&[compiled(2, 9, 6), compiled(5, 8, 4)]);
    method(&mut memory, 0x5_0000);
    assert_eq!(cache.refresh(&mut memory, &layout(), false), none);
    let changes = cache
        .refresh(&mut memory, &layout(), true)
        .expect("changes");
    let gone: Vec<Option<u64>> = changes.gone.iter().map(|blob| blob.id).collect();
    assert_eq!((changes.heaps, gone), (vec![HEAP], vec![Some(7)]));
}

proptest! {
    /// All of the memory is the traced program's.
    #[test]
    fn any_memory_can_be_looked_at(
        bytes in proptest::collection::vec((0u64..0x400, any::<u8>()), 0..400),
        words in proptest::collection::vec((0u64..0x80, prop_oneof![Just(CODE), Just(u64::MAX), any::<u64>()]), 0..40),
    ) {
        let mut memory = machine(&[Compiled { segment: 1, segments: 2, id: 3, frame_words: 2, method: 0x5_0000 }]);
        method(&mut memory, 0x5_0000);
        for (at, byte) in bytes {
            memory.put(CODE + at, &[byte]);
            memory.put(0x5_0000 + at, &[byte]);
            memory.put(HEAP + at % 0x100, &[byte]);
        }
        for (at, word) in words {
            memory.word(CODE + SEGMENT + at * 8, word);
            memory.word(0x5_0000 + at * 8, word);
        }
        let mut cache = CodeCache::default();
        let _ = cache.refresh(&mut memory, &layout(), true);
        for heap in cache.heaps.values() {
            let table = table(heap);
            prop_assert!(table.rows.is_sorted_by_key(|row| *row as u32));
        }
    }
}
