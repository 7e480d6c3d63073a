//! Any memory of a Java machine: its description, code cache, methods and scopes.
#![no_main]

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use memlens::runtime::hotspot::file::Symbols;
use memlens::runtime::hotspot::sample::{CODE, Compiled, HEAP, SEGMENT, layout, machine, method};
use memlens::runtime::hotspot::{CodeCache, Structs, file, scopes, table};

const METHOD: u64 = 0x5_0000;

fn run(u: &mut Unstructured) -> Result<()> {
    let _ = file::inspect(u.bytes(u.len().min(64))?);
    let mut memory = machine(&[
        Compiled { segment: 1, segments: 2, id: 3, frame_words: 2, method: METHOD },
        Compiled { segment: 8, segments: 9, id: 4, frame_words: 20, method: METHOD },
    ]);
    method(&mut memory, METHOD);
    // Where the structures are, and what is written into them.
    let places = [CODE + SEGMENT, CODE + 8 * SEGMENT, METHOD, METHOD + 0x100, METHOD + 0x200, HEAP, 0x20_0000, 0x9000];
    let mut cache = CodeCache::default();
    for _ in 0..u.int_in_range(1..=3)? {
        for _ in 0..u.int_in_range(0..=12)? {
            let at = u.choose(&places)? + u64::from(u8::arbitrary(u)?);
            match u.int_in_range(0..=3)? {
                0 => memory.put(at, &[u8::arbitrary(u)?]),
                1 => memory.word(at & !7, *u.choose(&places)?),
                2 => memory.word(at & !7, CODE + u64::from(u16::arbitrary(u)?)),
                _ => memory.word(at & !7, u64::arbitrary(u)?),
            }
        }
        let _ = cache.refresh(&mut memory, &layout(), bool::arbitrary(u)?);
        for heap in cache.heaps.values() {
            let table = table(heap);
            assert!(table.rows.is_sorted_by_key(|row| *row as u32));
        }
        let at = CODE + u64::from(u16::arbitrary(u)?);
        if let Some(blob) = cache.find(at).cloned() {
            let _ = scopes::at(&mut memory, &layout(), &blob, at);
            if let Some(method) = &blob.method {
                let _ = method.line(&layout(), u32::arbitrary(u)?);
            }
        }
    }
    let mut symbols = Symbols::default();
    symbols.structs = *u.choose(&places)?;
    symbols.structs_stride = *u.choose(&places)?;
    let _ = Structs::read(&mut memory, &symbols, 0);
    Ok(())
}

fuzz_target!(|data: &[u8]| {
    let _ = run(&mut Unstructured::new(data));
});
