//! Any memory of a Python program: its thread states, frames, code objects' records and tables of lines.
#![no_main]

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use memlens::runtime::merge::merge;
use memlens::runtime::python::{inspect, lines};
use tracer_common::runtime::MAX_FRAMES;
use tracer_common::runtime::note::Note;
use tracer_common::runtime::python::{PythonLayout, walk};
use tracer_common::runtime::word::{decode, is_runtime};
use tracer_common::stack::Memory;

const BASE: u64 = 0x7f00_0000_0000;

struct Words(Vec<u64>);

impl Memory for Words {
    fn read(&mut self, addr: u64) -> Option<u64> {
        let offset = addr.checked_sub(BASE)?;
        let word = self.0.get((offset / 8) as usize).copied();
        word.filter(|_| offset % 8 == 0)
    }
}

/// Mostly an address of the memory, so that lists have links.
fn word(u: &mut Unstructured) -> Result<u64> {
    Ok(match u.int_in_range(0..=7)? {
        0 => u64::arbitrary(u)?,
        1 => u64::from(u8::arbitrary(u)?),
        2 => 0x40_0000 + u64::from(u16::arbitrary(u)?) * 8,
        _ => BASE + u64::from(u8::arbitrary(u)?) * 8,
    })
}

/// Offsets within the memory.
fn layout(u: &mut Unstructured) -> Result<PythonLayout> {
    let mut at = || Ok::<u32, libfuzzer_sys::arbitrary::Error>(u32::from(u.arbitrary::<u8>()? % 14) * 8);
    Ok(PythonLayout {
        interpreters: at()?,
        interpreter_next: at()?,
        interpreter_threads: at()?,
        thread_next: at()?,
        thread_id: at()?,
        thread_live: at()? + 4,
        live_mask: u32::MAX,
        thread_bytes: 128,
        thread_frame: at()?,
        current_frame: if at()? > 56 { PythonLayout::DIRECT } else { at()? },
        frame_code: at()?,
        frame_back: at()?,
        frame_instruction: at()?,
        frame_end: at()? + 2,
        end_least: 1 + at()? / 32,
        frame_bytes: 120,
        flags: at()? / 8,
        version: 0x3_0008 + at()? / 16,
        ..PythonLayout::default()
    })
}

fuzz_target!(|data: &[u8]| {
    let mut u = Unstructured::new(data);
    let Ok(layout) = layout(&mut u) else { return };
    let count = u.int_in_range(0..=128).unwrap_or(0);
    let words: Vec<u64> = (0..count).filter_map(|_| word(&mut u).ok()).collect();
    let register = u64::from(u8::arbitrary(&mut u).unwrap_or(0));
    let mut found = Vec::new();
    walk(&layout, BASE, register, &mut Words(words.clone()), MAX_FRAMES, |word| found.push(word));
    assert!(found.len() as u32 <= MAX_FRAMES + 2);
    assert!(found.iter().all(|word| is_runtime(*word) && decode(*word).is_some()));
    let mut stack: Vec<u64> = words.iter().map(|word| word & 0x7fff_ffff_ffff).collect();
    stack.extend(&found);
    let _ = merge(&stack, |address| address % 16 == 0, false, count % 2 == 0);
    let rest = u.take_rest();
    let _ = Note::decode(rest);
    let _ = lines::line(layout.version, 1, rest, register as u32);
    let _ = inspect(rest);
});
