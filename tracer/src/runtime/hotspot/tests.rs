//! The code cache of a machine that a test made up, and of bytes that mean nothing.

use proptest::prelude::*;
use tracer_common::unwind::Rule;

use super::sample::{CODE, Compiled, HEAP, SEGMENT, layout, machine, method};
use super::*;
use crate::unwind::{Arrays, Code};

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
