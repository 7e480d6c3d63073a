//! Single cases that say what they are about.

use super::super::*;
use super::model::{PAGES, address, calls, pages_of};
use crate::process::pagemap::Region;

const ANON: Backing = Backing::ANONYMOUS;

fn map(page: usize, pages: u64) -> What {
    What::Map {
        start: address(page),
        len: pages * PAGE,
        backing: ANON,
    }
}

fn unmap(page: usize, pages: u64) -> What {
    What::Unmap {
        start: address(page),
        len: pages * PAGE,
    }
}

fn remap(old: usize, old_pages: u64, new: usize, new_pages: u64) -> What {
    What::Remap {
        old: address(old),
        old_len: old_pages * PAGE,
        new: address(new),
        new_len: new_pages * PAGE,
        keep_old: false,
        fixed: false,
    }
}

/// Pages with the stack of their call; `.` is nothing.
fn picture(space: &AddressSpace) -> String {
    let letter = |page: &Option<_>| match page {
        None => '.',
        Some(super::model::Page {
            origin: Origin::Call(stack),
            reserved,
            ..
        }) => {
            let letter = char::from(b'a' - 1 + *stack as u8);
            match reserved {
                true => letter.to_ascii_uppercase(),
                false => letter,
            }
        }
        Some(_) => '?',
    };
    let text: String = pages_of(space).iter().map(letter).collect();
    text.trim_end_matches('.').to_owned()
}

fn after(whats: &[What]) -> AddressSpace {
    let mut space = AddressSpace::default();
    calls(whats).iter().for_each(|call| space.apply(call));
    space
}

#[test]
fn a_hole_is_cut_and_an_unmap_spans_several_ranges() {
    assert_eq!(picture(&after(&[map(0, 6), unmap(2, 2)])), "aa..aa");
    assert_eq!(
        picture(&after(&[map(0, 3), map(4, 3), unmap(2, 3)])),
        "aa...bb"
    );
}

#[test]
fn a_fixed_mapping_takes_the_place_of_what_was_there() {
    assert_eq!(picture(&after(&[map(0, 6), map(2, 2)])), "aabbaa");
}

/// glibc makes an arena so: map twice its size, unmap both ends, allow access to the first pages, and to more as it
/// grows.
#[test]
fn an_arena_trimmed_at_both_ends_stays_its_makers() {
    let reserve = What::Map {
        start: address(0),
        len: 16 * PAGE,
        backing: Backing {
            reserved: true,
            ..ANON
        },
    };
    let allow = |page, pages| What::Protect {
        start: address(page),
        len: pages * PAGE,
        reserved: false,
    };
    let space = after(&[reserve, unmap(0, 3), unmap(11, 5), allow(3, 2), allow(5, 1)]);
    assert_eq!(picture(&space), "...aaaAAAAA");
    assert_eq!(
        space.pieces().len(),
        2,
        "what may be accessed is one piece again"
    );
}

#[test]
fn growing_in_place_belongs_to_the_call_that_grew() {
    let space = after(&[map(0, 2), remap(0, 2, 0, 4)]);
    assert_eq!(picture(&space), "aabb");
    assert_eq!(
        picture(&after(&[map(0, 4), remap(0, 4, 0, 1)])),
        "a",
        "shrunk"
    );
}

#[test]
fn what_moves_keeps_its_stack_and_its_age() {
    let space = after(&[map(0, 2), remap(0, 2, 10, 4)]);
    assert_eq!(picture(&space), "..........aabb");
    let moved = space.pieces().at(address(10)).expect("it has moved");
    assert_eq!((moved.mapped_ns, moved.placed_ns), (15, 25));
}

#[test]
fn a_range_that_is_kept_appears_twice() {
    let keep = What::Remap {
        old: address(0),
        old_len: 2 * PAGE,
        new: address(10),
        new_len: 2 * PAGE,
        keep_old: true,
        fixed: false,
    };
    assert_eq!(picture(&after(&[map(0, 2), keep])), "aa........bb");
}

#[test]
fn the_heap_ends_within_a_page() {
    let to = |to: u64| What::Break {
        from: None,
        to: address(0) + to,
    };
    let space = after(&[to(0), to(100), to(3 * PAGE - 1), to(PAGE + 1)]);
    assert_eq!(picture(&space), "bc");
    assert!(space.pieces().iter().all(|piece| piece.kind == Kind::Brk));
}

#[test]
fn what_no_call_can_have_done_changes_nothing() {
    let wild = [
        unmap(0, 0),
        What::Unmap {
            start: 1,
            len: PAGE,
        },
        What::Unmap {
            start: u64::MAX - PAGE + 1,
            len: PAGE,
        },
        What::Map {
            start: 0x1000,
            len: u64::MAX,
            backing: ANON,
        },
        What::Break {
            from: Some(u64::MAX),
            to: u64::MAX,
        },
        remap(0, 0, 0, 0),
    ];
    let space = after(&[&[map(0, 2)][..], &wild].concat());
    assert_eq!(picture(&space), "aa");
    assert_eq!(space.mapped(), 2 * PAGE);
}

#[test]
fn pages_in_memory_are_shared_out_among_the_pieces() {
    let space = after(&[map(0, 4), map(4, 4), map(10, 2)]);
    let region = |from: usize, to: usize, swapped| Region {
        start: address(from),
        end: address(to),
        swapped,
    };
    let regions = [
        region(1, 5, false),
        region(5, 6, true),
        region(8, 9, false),
        region(11, PAGES, false),
    ];
    let found: Vec<(u64, u64)> = residence(space.pieces().iter(), &regions)
        .iter()
        .map(|found| (found.resident / PAGE, found.swapped / PAGE))
        .collect();
    assert_eq!(found, [(3, 0), (1, 1), (1, 0)]);
}
