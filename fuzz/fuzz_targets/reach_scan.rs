//! Any address space, pages, threads and blocks, and reads that end anywhere.
#![no_main]

use std::ops::Range;

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use memlens::process::maps;
use memlens::process::pagemap::Region;
use memlens::reach::graph::{INTERIOR, Rank};
use memlens::reach::index::{BlockIndex, Starts};
use memlens::reach::parts::{Layout, Thread, is_brk};
use memlens::reach::scan::{Memory, Part, Sink, Wanted, scan};

const PAGE: u64 = 4096;
const BASE: u64 = 0x7f00_0000_0000;

/// Mostly an address of few pages.
fn address(u: &mut Unstructured) -> Result<u64> {
    match u.ratio(15, 16)? {
        true => Ok(BASE + u64::from(u16::arbitrary(u)?) * 8),
        false => Ok(u.arbitrary::<u64>()? >> 17),
    }
}

fn range(u: &mut Unstructured) -> Result<Range<u64>> {
    let (one, other) = (address(u)?, address(u)?);
    Ok(one.min(other)..one.max(other))
}

/// Ranges by ascending address that do not overlap.
fn ranges(u: &mut Unstructured, most: usize) -> Result<Vec<Range<u64>>> {
    let mut edges = Vec::new();
    for _ in 0..u.int_in_range(0..=most)? {
        let range = range(u)?;
        edges.extend([range.start & !(PAGE - 1), range.end & !(PAGE - 1)]);
    }
    edges.sort_unstable();
    edges.dedup();
    Ok(edges.chunks_exact(2).map(|pair| pair[0]..pair[1]).collect())
}

/// A memory whose reads end anywhere, with any words in it.
struct Torn<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl Torn<'_> {
    fn next(&mut self) -> u8 {
        let byte = self.bytes.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        byte
    }
}

impl Memory for Torn<'_> {
    fn read(&mut self, _address: u64, into: &mut [u8]) -> usize {
        let length = match self.next() {
            0 => 0,
            1..64 => into.len() * usize::from(self.next()) / 256,
            _ => into.len(),
        };
        for word in into[..length].chunks_mut(8) {
            let value = BASE + u64::from(self.next()) * 8;
            word.copy_from_slice(&value.to_ne_bytes()[..word.len()]);
        }
        length
    }
}

/// Checks what is found.
struct Checked<'a> {
    index: &'a BlockIndex,
    parts: &'a [Part],
    source: u32,
}

impl Checked<'_> {
    fn is_read(&self, place: u64) -> bool {
        self.parts.iter().any(|part| part.range.contains(&place))
    }
}

impl Sink for Checked<'_> {
    fn root(&mut self, _rank: Rank, place: u64, target: u32) {
        assert!(self.is_read(place) && target & !INTERIOR < self.index.count());
    }

    fn edge(&mut self, source: u32, target: u32) {
        assert!(self.source <= source && source < self.index.count());
        assert!(target & !INTERIOR < self.index.count() && target & !INTERIOR != source);
        self.source = source;
    }

    fn unknown(&mut self, place: u64, target: u32) {
        assert!(self.is_read(place) && target & !INTERIOR < self.index.count());
    }
}

/// Blocks that do not overlap.
fn index(u: &mut Unstructured) -> Result<Option<BlockIndex>> {
    let mut blocks = Vec::new();
    let mut at = BASE;
    for _ in 0..u.int_in_range(0..=40)? {
        at += u64::from(u8::arbitrary(u)?) * 8;
        let size = u64::from(u8::arbitrary(u)?);
        blocks.push((at, size));
        at += size.max(1).next_multiple_of(8);
    }
    let Ok(mut starts) = Starts::new(1 << 20, 1) else {
        return Ok(None);
    };
    assert!(blocks.iter().all(|(start, _)| starts.add(*start)));
    let Ok(mut index) = starts.finish() else {
        return Ok(None);
    };
    for (number, (_, size)) in (0..).zip(&blocks) {
        index.set_size(number, *size);
    }
    Ok(Some(index))
}

fn check(u: &mut Unstructured) -> Result<()> {
    let mut text = String::new();
    for range in ranges(u, 12)? {
        let access = *u.choose(&["rw-p", "r--p", "---p", "rw-s", "r-xp"])?;
        let name = *u.choose(&["", "[heap]", "[stack]", "/lib/a.so", "/dev/x", "[vvar]"])?;
        let inode = u64::from(name.starts_with('/'));
        text += &format!("{:x}-{:x} {access} 00000000 08:01 {inode} {name}\n", range.start, range.end);
    }
    let mappings = maps::parse(text.as_bytes()).expect("well-made maps");
    let mut touched = Vec::new();
    for range in ranges(u, 12)? {
        touched.push(Region {
            start: range.start,
            end: range.end,
            swapped: u.arbitrary()?,
        });
    }
    let data = ranges(u, 3)?;
    let mut threads = Vec::new();
    for tid in 0..u.int_in_range(0..=3)? {
        threads.push(Thread {
            tid,
            stack_pointer: u.arbitrary::<bool>()?.then(|| address(u)).transpose()?,
            thread_pointer: u.arbitrary::<bool>()?.then(|| address(u)).transpose()?,
        });
    }
    let passed_over = ranges(u, 2)?;
    let layout = Layout {
        mappings: &mappings,
        touched: &touched,
        data: &data,
        threads: &threads,
        thread_data: u64::from(u8::arbitrary(u)?),
        passed_over: &passed_over,
    };
    let parts = layout.parts(is_brk);
    let mut end = 0;
    for part in &parts {
        assert!(end <= part.range.start && part.range.start < part.range.end, "{part:?}");
        assert!(part.range.start.is_multiple_of(8) && part.range.end.is_multiple_of(8));
        assert!(!passed_over.iter().any(|other| other.contains(&part.range.start)));
        end = part.range.end;
    }
    let Some(index) = index(u)? else {
        return Ok(());
    };
    let mut sink = Checked {
        index: &index,
        parts: &parts,
        source: 0,
    };
    let mut memory = Torn {
        bytes: u.bytes(u.len())?,
        at: 0,
    };
    let small: Vec<Part> = parts
        .iter()
        .filter(|part| part.range.end - part.range.start < 1 << 20)
        .cloned()
        .collect();
    scan(&mut memory, 256, &small, Wanted::all(&index), &mut sink);
    Ok(())
}

fuzz_target!(|bytes: &[u8]| {
    let _ = check(&mut Unstructured::new(bytes));
});
