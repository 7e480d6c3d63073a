//! Who uses a table, and who gives way to whom.

use std::collections::BTreeSet;

use proptest::prelude::*;
use tracer_common::unwind::Range;

use super::files::{Files, Key, State, Stored};
use crate::bpf::TablePlace;
use crate::process::maps::FileId;
use crate::unwind::Size;

fn file(inode: u64) -> Key {
    Key::File(FileId { dev: (8, 1), inode })
}

fn size(rows: u64, buckets: u64) -> Size {
    Size { rows, buckets }
}

fn stored(rows: u32, buckets: u32) -> State {
    let range = |count| Range { first: 0, count };
    State::Stored(Stored {
        segments: Vec::new(),
        base: 0,
        place: TablePlace {
            rows: range(rows),
            buckets: range(buckets),
        },
    })
}

fn uses(files: &mut Files, pid: u32, inodes: &[u64]) {
    files.uses(pid, inodes.iter().map(|inode| file(*inode)).collect());
}

/// Files 1 to 3 of 10 rows and 1 bucket each.
fn three() -> Files {
    let mut files = Files::default();
    for inode in 1..=3 {
        files.set(file(inode), stored(10, 1));
    }
    files
}

#[test]
fn the_unused_leave_first_then_the_least_used() {
    let mut files = three();
    uses(&mut files, 100, &[1, 2, 9]);
    uses(&mut files, 101, &[1, 9]);
    uses(&mut files, 102, &[9]);
    files.set(file(9), State::LeftOut(size(10, 1)));
    let leaving = |rows| files.leaving(&file(9), size(rows, 0), Size::default());
    assert_eq!(leaving(10), [file(3)]);
    assert_eq!(leaving(11), [file(3), file(2)]);
    assert_eq!(leaving(30), [file(3), file(2), file(1)]);
    assert_eq!(leaving(31), [], "it would not be enough");
}

#[test]
fn nobody_gives_way_to_one_that_is_used_as_little() {
    let mut files = three();
    uses(&mut files, 100, &[1, 2, 3, 9]);
    files.set(file(9), State::LeftOut(size(10, 1)));
    assert_eq!(files.leaving(&file(9), size(1, 0), size(30, 0)), []);
}

#[test]
fn among_the_unused_the_one_used_longest_ago_leaves() {
    let mut files = three();
    uses(&mut files, 100, &[3]);
    uses(&mut files, 101, &[1]);
    uses(&mut files, 102, &[2]);
    for pid in 100..103 {
        assert!(files.ended(pid));
    }
    assert!(!files.ended(100), "it is forgotten");
    uses(&mut files, 103, &[9]);
    let leaving = |spare| files.leaving(&file(9), size(1, 0), size(spare, 0));
    assert_eq!(leaving(0), [file(3)]);
    assert_eq!(leaving(15), [file(3), file(1)], "some more at one go");
}

#[test]
fn a_process_waits_for_the_last_of_its_tables() {
    let mut files = Files::default();
    uses(&mut files, 100, &[1, 2]);
    files.set(file(1), State::Wanted(Size::default()));
    files.set(file(2), State::Wanted(Size::default()));
    files.set(file(1), stored(1, 1));
    assert!(files.is_waiting(100));
    files.set(file(2), stored(1, 1));
    assert!(!files.is_waiting(100) && !files.is_waiting(7));
    assert_eq!(files.users(&file(2)).collect::<Vec<_>>(), [100]);
    uses(&mut files, 100, &[1]);
    assert_eq!(files.users(&file(2)).count(), 0);
}

proptest! {
    /// Who leaves makes room enough, is stored, and has fewer users than the one who comes; or nobody leaves.
    #[test]
    fn who_leaves_makes_room(
        sizes in prop::collection::vec((0u32..50, 0u32..5), 1..20),
        processes in prop::collection::vec(prop::collection::btree_set(0u64..20, 0..8), 0..8),
        missing in (1u64..200, 0u64..20),
        spare in 0u64..200,
    ) {
        let mut files = Files::default();
        for (inode, (rows, buckets)) in (1u64..).zip(&sizes) {
            files.set(file(inode), stored(*rows, *buckets));
        }
        files.set(file(0), State::LeftOut(size(missing.0, missing.1)));
        for (pid, inodes) in (100..).zip(&processes) {
            uses(&mut files, pid, &inodes.iter().copied().collect::<Vec<_>>());
        }
        let users = |key: &Key| files.users(key).count();
        let claim = users(&file(0));
        let missing = size(missing.0, missing.1);
        let leaving = files.leaving(&file(0), missing, size(spare, 0));
        let room = |keys: &[Key]| {
            let mut sum = Size::default();
            for key in keys {
                if let Some(State::Stored(stored)) = files.state(key) {
                    sum += stored.size();
                }
            }
            sum.rows >= missing.rows && sum.buckets >= missing.buckets
        };
        let all: Vec<Key> = (1..=sizes.len() as u64).map(file).collect();
        let may_leave: Vec<Key> = all
            .into_iter()
            .filter(|key| users(key) == 0 || users(key) < claim)
            .collect();
        prop_assert_eq!(!leaving.is_empty(), room(&may_leave));
        prop_assert!(leaving.is_empty() || room(&leaving));
        prop_assert!(leaving.iter().all(|key| may_leave.contains(key)));
        let distinct: BTreeSet<&Key> = leaving.iter().collect();
        prop_assert_eq!(distinct.len(), leaving.len());
    }
}
