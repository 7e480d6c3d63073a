//! The sites in real allocators, from bodies in `fixtures/`.

use super::{
    Speed::{self, Fast, Slow},
    *,
};
use tracer_common::call::Call;

use crate::attach::functions::{Lookup, lookup};

/// Per function: its offset, instruction and speed.
type Expected = &'static [(&'static str, u32, &'static str, Speed)];

/// The fixture of a library, and what is expected of it.
macro_rules! library {
    ($name:literal, $expected:expr) => {
        (
            $name,
            include_str!(concat!("../fixtures/", $name, ".txt")),
            $expected,
        )
    };
}

const LIBRARIES: [(&str, &str, Expected); 11] = [
    library!(
        "glibc-2.36",
        &[
            ("malloc", 0, "push r12", Fast),
            ("calloc", 0, "push r13", Fast),
            ("realloc", 0, "push r15", Fast),
            ("free", 3, "je +0xc8", Fast),
            ("posix_memalign", 7, "push r12", Fast),
            ("aligned_alloc", 7, "je +0x10", Fast),
            ("memalign", 7, "je +0x10", Fast),
            ("cfree", 3, "je +0xc8", Fast),
        ]
    ),
    library!(
        "glibc-2.41",
        &[
            ("malloc", 0, "push r12", Fast),
            ("calloc", 0, "push r14", Fast),
            ("realloc", 0, "push r15", Fast),
            ("free", 3, "je +0x188", Fast),
            ("posix_memalign", 7, "push r12", Fast),
            ("aligned_alloc", 0, "push rbx", Fast),
            ("memalign", 7, "je +0x10", Fast),
        ]
    ),
    library!(
        "glibc-2.43",
        &[
            ("malloc", 3, "js +0x76", Fast),
            ("calloc", 6, "jo +0x1a8", Fast),
            ("realloc", 6, "je +0x350", Fast),
            ("free", 3, "je +0xf0", Fast),
            ("posix_memalign", 23, "jne +0x48", Fast),
            ("aligned_alloc", 7, "jne +0x18", Fast),
            ("memalign", 0, "jmp -0xb80", Fast),
            ("free_sized", 0, "jmp -0x7d5f0", Fast),
        ]
    ),
    library!(
        "gperftools-2.10",
        &[
            ("malloc", 10, "jne +0x81", Fast),
            ("calloc", 0, "push r13", Fast),
            ("realloc", 0, "push r15", Fast),
            ("free", 10, "jne +0xa0", Fast),
            ("posix_memalign", 11, "jne +0x38", Fast),
            ("aligned_alloc", 10, "ja +0xf8", Fast),
            ("memalign", 10, "ja +0xf8", Fast),
            ("_Znwm", 10, "jne +0x81", Fast),
            ("_ZdlPv", 10, "jne +0xa0", Fast),
            ("_ZdlPvm", 10, "jne +0x90", Fast),
        ]
    ),
    library!(
        "gperftools-2.18",
        &[
            ("malloc", 12, "jne +0x89", Fast),
            ("calloc", 7, "push rbp", Fast),
            ("realloc", 4, "push rbp", Fast),
            ("free", 15, "jne +0x98", Fast),
            ("posix_memalign", 15, "jne +0x40", Fast),
            ("aligned_alloc", 14, "ja +0xc8", Fast),
            ("memalign", 14, "ja +0xc8", Fast),
            ("_Znwm", 12, "jne +0x89", Fast),
            ("_ZdlPv", 15, "jne +0x98", Fast),
            ("_ZdlPvm", 15, "jne +0x88", Fast),
        ]
    ),
    library!(
        "jemalloc-5.3.0",
        &[
            ("malloc", 7, "ja +0xa0", Fast),
            ("calloc", 0, "push r15", Fast),
            ("realloc", 0, "push r15", Fast),
            ("free", 48, "jne +0xc0", Fast),
            ("posix_memalign", 0, "push r15", Fast),
            ("aligned_alloc", 0, "push r15", Fast),
            ("memalign", 0, "push r15", Fast),
            ("sdallocx", 10, "ja +0x18", Fast),
            ("rallocx", 2, "jmp -0xe310", Fast),
            ("_Znwm", 7, "ja +0xa0", Fast),
            ("_ZdlPv", 0, "jmp -0xa5010", Fast),
            ("_ZdlPvm", 3, "je +0x18", Fast),
        ]
    ),
    library!(
        "jemalloc-5.3.1",
        &[
            ("malloc", 11, "ja +0x90", Fast),
            ("free", 52, "jne +0xc0", Fast),
            ("sdallocx", 6, "jne +0xa0", Fast),
            ("rallocx", 6, "jmp -0x10f30", Fast),
            ("_Znwm", 11, "ja +0x90", Fast),
            ("_ZdlPv", 52, "jne +0xb0", Fast),
            ("_ZdlPvm", 7, "je +0xb0", Fast),
        ]
    ),
    library!(
        "mimalloc-2.0.9",
        &[
            ("malloc", 21, "ja +0x40", Fast),
            ("calloc", 0, "mov rdx,[0ADD0h]", Slow),
            ("realloc", 20, "jmp -0xb0f0", Fast),
            ("free", 6, "je +0x65", Fast),
            ("posix_memalign", 0, "jmp -0xa390", Fast),
            ("aligned_alloc", 0, "jmp -0xa610", Fast),
            ("memalign", 0, "jmp -0xa500", Fast),
            ("_Znwm", 0, "push rbp", Fast),
            ("_ZdlPv", 6, "je +0x65", Fast),
            ("_ZdlPvm", 0, "jmp -0xadc0", Fast),
            ("mi_heap_malloc", 7, "ja +0x30", Fast),
            ("mi_heap_realloc", 2, "jmp -0x1e0", Fast),
        ]
    ),
    library!(
        "mimalloc-3.6.0",
        &[
            ("malloc", 22, "ja +0x50", Fast),
            ("calloc", 8, "je +0x15", Fast),
            ("free", 32, "je +0x53", Fast),
            ("realloc", 21, "jmp -0x23300", Fast),
            ("mi_posix_memalign", 7, "je +0x50", Fast),
            ("_Znwm", 18, "jmp -0x23290", Fast),
            ("mi_umalloc", 0, "endbr64", Slow),
        ]
    ),
    library!(
        "musl-1.2.3",
        &[
            ("malloc", 0, "jmp +0x1970", Fast),
            ("calloc", 0, "push r12", Fast),
            ("realloc", 0, "jmp -0x500", Fast),
            ("free", 0, "jmp +0xac0", Fast),
            ("posix_memalign", 0, "push rbx", Fast),
            ("aligned_alloc", 0, "push rbp", Fast),
            ("memalign", 0, "jmp -0x14f40", Fast),
        ]
    ),
    library!(
        "musl-1.2.6",
        &[
            ("malloc", 4, "jmp +0xc20", Fast),
            ("calloc", 0, "endbr64", Slow),
            ("realloc", 4, "jmp -0x550", Fast),
            ("free", 4, "jmp +0xa00", Fast),
            ("posix_memalign", 13, "jbe +0x30", Fast),
            ("aligned_alloc", 0, "endbr64", Slow),
            ("memalign", 4, "jmp -0x3f2f0", Fast),
        ]
    ),
];

fn body<'a>(fixture: &'a str, name: &str) -> Option<&'a str> {
    fixture
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))
}

fn bytes(hex: &str) -> Vec<u8> {
    (0..hex.len() / 2)
        .map(|at| u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).expect("hexadecimal"))
        .collect()
}

fn call(name: &str) -> Call {
    match lookup(name, None) {
        Some(Lookup::Known { known, .. }) => known.call,
        other => panic!("{name} is {other:?}"),
    }
}

fn site(library: &str, fixture: &str, name: &str) -> Site {
    let body = body(fixture, name).unwrap_or_else(|| panic!("no {name} in {library}"));
    choose_site(&bytes(body), Needs::of(&call(name)))
        .unwrap_or_else(|error| panic!("{name} of {library}: {error}"))
}

#[test]
fn real_functions_have_the_expected_sites() {
    for (library, fixture, expected) in LIBRARIES {
        let functions = fixture.lines().filter(|line| !line.starts_with('#'));
        assert_eq!(functions.count(), expected.len(), "{library}");
        for (name, offset, instruction, speed) in expected {
            let site = site(library, fixture, name);
            assert_eq!(
                (site.offset, site.instruction.as_str(), site.speed),
                (*offset, *instruction, *speed),
                "{name} of {library}: {}",
                site.why
            );
            assert!(!site.repeats, "{name} of {library}");
        }
    }
}

/// mimalloc makes room for its heap in `rdi` before the first jump.
#[test]
fn moved_arguments_are_found() {
    let fixture = include_str!("../fixtures/mimalloc-2.0.9.txt");
    let malloc = call("malloc");
    let moved = site("mimalloc", fixture, "malloc").call(&malloc);
    assert_eq!(moved, Call::alloc(Arg::Second));
    let realloc = call("realloc");
    let moved = site("mimalloc", fixture, "realloc").call(&realloc);
    assert_eq!(moved, Call::realloc(Arg::Second, Arg::Third));
}

/// The reasons given for the slow ones.
#[test]
fn slow_sites_name_the_obstacle() {
    let fixture = include_str!("../fixtures/musl-1.2.6.txt");
    let site = site("musl", fixture, "calloc");
    assert_eq!(
        site.why,
        "sub rsp,18h at +0x4 overwrites what is needed, before any emulated instruction"
    );
}
