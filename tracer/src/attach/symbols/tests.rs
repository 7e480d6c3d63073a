//! Reading ELF files: a small real one, damaged ones, foreign ones.

use proptest::prelude::*;

use super::*;

const TINY: &[u8] = include_bytes!("../fixtures/tiny.so");

fn tiny() -> ObjectSymbols {
    ObjectSymbols::parse(TINY).expect("the fixture is an ELF file")
}

#[test]
fn identity_is_read() {
    let object = tiny();
    assert_eq!(object.build_id.as_deref(), Some("0123456789abcdef"));
    assert_eq!(object.soname.as_deref(), Some("libtiny.so"));
    assert_eq!(object.interpreter, None);
    assert!(!object.position_dependent);
}

#[test]
fn an_executable_names_its_loader() {
    let path = std::env::current_exe().expect("this test's path");
    let image = std::fs::read(path).expect("this test's file");
    let object = ObjectSymbols::parse(&image).expect("this test is an ELF file");
    assert!(
        object
            .interpreter
            .is_some_and(|path| path.contains("ld-linux"))
    );
    assert_eq!(object.soname, None);
    assert!(object.functions.len() > 1000);
}

#[test]
fn functions_have_their_file_offsets() {
    let object = tiny();
    let malloc = object.function("malloc").expect("malloc");
    let body = object
        .body(TINY, malloc.vaddr, malloc.size)
        .expect("its body");
    assert!(body.starts_with(&[0xf3, 0x0f, 0x1e, 0xfa, 0x48, 0x85, 0xff]));
    assert_eq!(&TINY[malloc.offset as usize..][..body.len()], body);
    // An alias is a function of its own at the same place.
    let alias = object.function("tc_malloc").expect("tc_malloc");
    assert_eq!((alias.vaddr, alias.offset), (malloc.vaddr, malloc.offset));
    assert_eq!(object.file_offset(u64::MAX), None);
}

#[test]
fn local_and_indirect_functions_are_told() {
    let object = tiny();
    assert!(object.function("slow_new").is_some());
    assert!(
        object.function("elsewhere").is_none(),
        "it is only imported"
    );
    assert!(object.function("memalign").is_none(), "it is indirect");
    assert!(
        object
            .functions
            .iter()
            .any(|function| function.name == "memalign" && function.ifunc)
    );
    assert!(object.imports.values().any(|name| name == "elsewhere"));
}

#[test]
fn a_function_of_unknown_size_ends_at_the_next_one() {
    let object = tiny();
    let free = object.function("free").expect("free");
    let body = object.body(TINY, free.vaddr, 0).expect("its body");
    assert_eq!(body.len() as u64, free.size);
    let (start, piece) = object.piece(TINY, free.vaddr + 3).expect("a piece");
    assert_eq!((start, piece), (free.vaddr, body));
}

#[test]
fn foreign_files_are_told_apart() {
    assert_eq!(
        ObjectSymbols::parse(b"#!/bin/sh\n"),
        Err(ObjectError::NotElf)
    );
    assert_eq!(ObjectSymbols::parse(&[]), Err(ObjectError::NotElf));
    let mut narrow = TINY.to_vec();
    narrow[4] = 1;
    assert_eq!(ObjectSymbols::parse(&narrow), Err(ObjectError::Not64Bit));
    let mut arm = TINY.to_vec();
    arm[18..20].copy_from_slice(&183u16.to_le_bytes());
    assert_eq!(
        ObjectSymbols::parse(&arm),
        Err(ObjectError::OtherMachine(183))
    );
    for length in [5, 40, 63, TINY.len() / 2] {
        assert!(
            matches!(
                ObjectSymbols::parse(&TINY[..length]),
                Err(ObjectError::Malformed(_))
            ),
            "{length} bytes"
        );
    }
}

#[test]
fn the_unwind_table_names_pieces() {
    let table = [
        1, 0x1b, 0x03, 0x3b, 0, 0, 0, 0, 2, 0, 0, 0, // header
        0x00, 0xf0, 0xff, 0xff, 1, 2, 3, 4, // 0x1000 below
        0x10, 0x00, 0x00, 0x00, 1, 2, 3, 4, // 0x10 above
    ];
    assert_eq!(unwind_starts(&table, 0x5000), [0x4000, 0x5010]);
    assert_eq!(unwind_starts(&table[..10], 0x5000), [] as [u64; 0]);
    assert_eq!(
        unwind_starts(&[2, 0x1b, 0x03, 0x3b], 0x5000),
        [] as [u64; 0]
    );
}

proptest! {
    /// A damaged file is an error or an odd object, never a panic; nor is its plan.
    #[test]
    fn damaged_files_do_not_panic(
        length in 0..=TINY.len(),
        changes in prop::collection::vec((0..TINY.len(), any::<u8>()), 0..24),
        in_header in prop::collection::vec((0usize..0x300, any::<u8>()), 0..4),
    ) {
        let mut image = TINY.to_vec();
        for (at, byte) in changes.into_iter().chain(in_header) {
            image[at.max(20)] = byte;
        }
        image.truncate(length.max(TINY.len() / 2 * (length % 2)));
        if let Ok(object) = ObjectSymbols::parse(&image) {
            crate::attach::plan::plan(&object, &image, &Default::default());
            for function in &object.functions {
                object.body(&image, function.vaddr, function.size);
                object.body(&image, function.vaddr, 0);
                object.piece(&image, function.vaddr);
            }
        }
    }

    /// As before, with the file whole but for a few bytes, so that most of it is really read.
    #[test]
    fn files_with_odd_bytes_do_not_panic(
        changes in prop::collection::vec((20..TINY.len(), any::<u8>()), 1..4),
    ) {
        let mut image = TINY.to_vec();
        for (at, byte) in changes {
            image[at] = byte;
        }
        if let Ok(object) = ObjectSymbols::parse(&image) {
            crate::attach::plan::plan(&object, &image, &Default::default());
        }
    }
}
