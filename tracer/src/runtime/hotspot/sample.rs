//! A machine that a test made up: one heap of compiled methods.

use std::collections::BTreeMap;
use std::ops::Range;

use super::layout::Layout;
use super::pieces::Pieces;
use super::structs::{Member, Structs};

/// Memory of a process: pieces at their addresses.
#[derive(Clone, Debug, Default)]
pub struct Fake(BTreeMap<u64, Vec<u8>>);

impl Fake {
    /// Writes bytes.
    pub fn put(&mut self, address: u64, bytes: &[u8]) {
        for (at, byte) in (address..).zip(bytes) {
            let page = self.0.entry(at & !0xfff).or_insert_with(|| vec![0; 4096]);
            page[(at & 0xfff) as usize] = *byte;
        }
    }

    /// Writes a word.
    pub fn word(&mut self, address: u64, word: u64) {
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

/// Address of the heap's structure.
pub const HEAP: u64 = 0x10_0000;
/// Where the heap begins.
pub const CODE: u64 = 0x7000_0000;
/// Bytes of a segment.
pub const SEGMENT: u64 = 128;

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
pub struct Compiled {
    /// Its first segment.
    pub segment: u64,
    /// How many.
    pub segments: u64,
    /// Its number.
    pub id: u32,
    /// Words of its frame.
    pub frame_words: u32,
    /// Address of its method.
    pub method: u64,
}

/// A machine with one heap of 64 segments.
pub fn machine(compiled: &[Compiled]) -> Fake {
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
pub fn method(memory: &mut Fake, at: u64) {
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

/// Where things are in it.
pub fn layout() -> Layout {
    Layout::of(&structs(), 21).expect("it describes all that is needed")
}
