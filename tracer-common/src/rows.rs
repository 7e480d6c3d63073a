//! Rows of the stack tables: which numbers there are, how many frames each can hold, and where these lie.
//!
//! The first rows are the processes' own. The others come in five classes, for stacks of up to 16, 32, 64, 128
//! and 256 words, and each class has as much memory as another: half as many rows for twice as many frames. So a row's number
//! tells where its frames are, and a row can be used again for another stack without anything being moved.
//!
//! Rows that are free wait in one ring for each class. User space puts rows in, the programs take them out, and nobody
//! does both; by how far the programs have come user space learns which rows are new.

use zerocopy::{FromBytes, IntoBytes};

use crate::limits::{MAX_PROCESSES, SHORT_STACKS};

/// Number of classes.
pub const CLASSES: u32 = 5;

/// Room for the rings of so many classes: a power of two, so that an index can be masked.
pub const RINGS: u32 = 8;

/// Frames of the smallest class, as a power of two.
const SMALLEST: u32 = 4;

/// Rows of all classes.
pub const STACKS: u32 = SHORT_STACKS * 2 - (SHORT_STACKS >> (CLASSES - 1));

/// Rows of the stack tables: the processes' own, then the stacks'.
pub const ROWS: u32 = MAX_PROCESSES + STACKS;

/// Frames of one class's rows together.
const CLASS_FRAMES: u32 = SHORT_STACKS << SMALLEST;

/// Frames of all rows together.
pub const FRAMES: u32 = CLASS_FRAMES * CLASSES;

/// No row has this number.
pub const NO_ROW: u32 = u32::MAX;

/// The class of the smallest rows that hold so many frames.
#[inline(always)]
pub const fn class_for(frames: u32) -> u32 {
    (frames > 16) as u32 + (frames > 32) as u32 + (frames > 64) as u32 + (frames > 128) as u32
}

/// Rows of a class; a power of two.
#[inline(always)]
pub const fn class_rows(class: u32) -> u32 {
    SHORT_STACKS >> class
}

/// Most frames in a row of a class.
#[inline(always)]
pub const fn class_depth(class: u32) -> u32 {
    1 << (SMALLEST + class)
}

/// Rows of the classes before this one.
#[inline(always)]
const fn rows_before(class: u32) -> u32 {
    // The sum of a geometric series.
    SHORT_STACKS * 2 - ((SHORT_STACKS * 2) >> class)
}

/// The class of a row; `None` for a process's own row and for numbers that no row has.
pub const fn class_of(row: u32) -> Option<u32> {
    if row < MAX_PROCESSES || row >= ROWS {
        return None;
    }
    let mut class = 0;
    while row - MAX_PROCESSES >= rows_before(class + 1) {
        class += 1;
    }
    Some(class)
}

/// A row's first entry in the store of frames, where the row is of this class.
#[inline(always)]
pub const fn first_frame(row: u32, class: u32) -> u32 {
    let number = row
        .wrapping_sub(MAX_PROCESSES)
        .wrapping_sub(rows_before(class));
    // The class is less than 8, and says so to the verifier.
    (class * CLASS_FRAMES).wrapping_add(number << (SMALLEST + (class & (RINGS - 1))))
}

/// First row of a class.
pub const fn first_row(class: u32) -> u32 {
    MAX_PROCESSES + rows_before(class)
}

/// Place in the array of rings of what was put into a class's ring at this position; positions only grow, and wrap
/// around.
#[inline(always)]
pub const fn ring_index(class: u32, position: u32) -> u32 {
    rows_before(class) + (position & (class_rows(class) - 1))
}

/// How far a class's ring has been read and written; the same means that it is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Ring {
    /// Rows taken out since the start, by the programs.
    pub taken: u32,
    /// Rows put in since the start, by user space.
    pub put: u32,
}

const _: () = assert!(size_of::<Ring>() == 8);
const _: () = assert!(SHORT_STACKS.is_power_of_two());

#[cfg(test)]
mod tests {
    use super::*;
    use crate::limits::MAX_DEPTH;

    /// Each row has frames of its own, which lie in the store, and all of the store is used.
    #[test]
    fn rows_share_no_frames() {
        let mut next_frame = 0;
        let mut next_row = MAX_PROCESSES;
        for class in 0..CLASSES {
            assert_eq!(first_row(class), next_row);
            for row in next_row..next_row + class_rows(class) {
                assert_eq!(class_of(row), Some(class), "row {row}");
                assert_eq!(first_frame(row, class), next_frame, "row {row}");
                next_frame += class_depth(class);
            }
            next_row += class_rows(class);
        }
        assert_eq!((next_row, next_frame), (ROWS, FRAMES));
        assert_eq!(class_of(MAX_PROCESSES - 1), None);
        assert_eq!(class_of(ROWS), None);
    }

    /// A stack of any depth fits into its class, and not into the one before.
    #[test]
    fn the_class_fits() {
        for frames in 0..=MAX_DEPTH {
            let class = class_for(frames);
            assert!(frames <= class_depth(class), "{frames}");
            assert!(class == 0 || frames > class_depth(class - 1), "{frames}");
        }
    }

    /// The rings lie side by side, and positions go round, past the end of the counter too.
    #[test]
    fn rings_do_not_overlap() {
        let mut seen = vec![false; STACKS as usize];
        for class in 0..CLASSES {
            let rows = class_rows(class);
            for position in 0..rows {
                let index = ring_index(class, position.wrapping_sub(rows / 2));
                assert!(!std::mem::replace(&mut seen[index as usize], true));
                assert_eq!(index, ring_index(class, position + rows / 2));
            }
        }
        assert!(seen.into_iter().all(|seen| seen));
    }
}
