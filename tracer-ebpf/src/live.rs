//! The table of live blocks (`tracer_common::live`) in BPF maps, and the totals of a row.

use core::cell::UnsafeCell;
use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::btf_maps::{Array, ArrayOfMaps};
use tracer_common::key::StackTotals;
use tracer_common::live::{
    self as table, Attempt, Bucket, CLAIMS, Cell, Directory, Found, Full, Generation, LINE,
    Located, MAX_SEGMENTS, Memory, PAYLOAD, Payload, Phase, SLOTS, Segment, TAKES, choose,
    insert_quickly, search, take_quickly,
};

use crate::arch::order;
use crate::maps::{LIVE, LIVE_DIRECTORY};
use crate::memory::{atomic_add, replace_word_if};

/// `BPF_F_MMAPABLE`: user space reads and writes the array without a system call.
pub const MMAPABLE: usize = 1 << 10;

/// The segments of both generations, those of one after those of the other. Plain words to the kernel: until 6.1 it
/// takes a map without type information, as user space makes them, for the same as one whose values are no structure
/// (kernel/bpf/map_in_map.c, bpf_map_meta_equal).
pub type Segments = ArrayOfMaps<
    Array<[u64; size_of::<Segment<u64>>() / 8], 1, MMAPABLE>,
    { 2 * MAX_SEGMENTS as usize },
>;

/// The directory.
pub type Directories = Array<Directory, 1, MMAPABLE>;

/// A word of a map.
#[repr(transparent)]
pub struct Word(UnsafeCell<u64>);

// In order, as `Cell` asks for, except that a write may come after a later read.
impl Cell for Word {
    #[inline(always)]
    fn load(&self) -> u64 {
        // SAFETY: an aligned word of a map element.
        let value = unsafe { read_volatile(self.0.get()) };
        order::after_read();
        value
    }

    #[inline(always)]
    fn store(&self, value: u64) {
        order::before_write();
        // SAFETY: as above; all who use it do so through this type, or atomically in user space.
        unsafe { write_volatile(self.0.get(), value) };
    }

    #[inline(always)]
    fn replace(&self, expected: u64, new: u64) -> bool {
        // SAFETY: as above.
        unsafe { replace_word_if(self.0.get(), expected, new) }
    }

    #[inline(always)]
    fn equal(line: &[Self; LINE], wanted: u64) -> u32 {
        equal_in((&raw const *line).cast_mut().cast(), wanted)
    }

    #[inline(always)]
    fn used(line: &[Self; LINE]) -> u32 {
        used_in((&raw const *line).cast_mut().cast())
    }
}

/// The table of live blocks of this object.
struct Live {
    directory: *mut Directory,
}

impl Live {
    /// The table, and its phase.
    #[inline(always)]
    fn open() -> Option<(Self, Phase)> {
        let directory = LIVE_DIRECTORY.get_ptr_mut(0)?;
        // SAFETY: an aligned u32 of an element that was checked for null; volatile because user space changes it.
        let phase = Phase(unsafe { read_volatile(&raw const (*directory).phase) });
        Some((Self { directory }, phase))
    }

    /// Notes that a block went into this slot; whether there is little room, which was not known.
    #[inline(always)]
    fn is_newly_pressed(&self, slot: usize) -> bool {
        // SAFETY: aligned u32s of an element that was checked for null; several CPUs may say the same.
        unsafe {
            let pressed = &raw mut (*self.directory).pressed;
            if (slot as u32) < read_volatile(&raw const (*self.directory).press_at)
                || read_volatile(pressed) != 0
            {
                return false;
            }
            write_volatile(pressed, 1);
        }
        true
    }
}

impl Memory for Live {
    type Cell = Word;

    #[inline(always)]
    fn generation(&self, index: u32) -> Generation {
        // SAFETY: an element that was checked for null, and an index of 0 or 1. It is not changed while a program may
        // use it.
        unsafe { (*self.directory).generations[(index & 1) as usize] }
    }

    #[inline(always)]
    fn bucket(&self, index: u32, segment: u32, number: u32) -> Option<&Bucket<Word>> {
        let segment = LIVE.get_value_ptr_mut(index * MAX_SEGMENTS + segment, &0)?;
        // SAFETY: an element that was checked for null; `Word` is a u64.
        Some(unsafe { &*segment.cast::<Segment<Word>>() }.bucket(number))
    }

    #[inline(always)]
    fn find(&self, index: u32, wanted: u64) -> Option<Found> {
        found(find_word(index, wanted))
    }

    #[inline(always)]
    fn free(&self, index: u32, key: u64) -> Option<Found> {
        found(find_free(index, key))
    }
}

/// What is added to the number of a slot of the second bucket.
const SECOND: u32 = SLOTS as u32;
/// No slot.
const NOWHERE: u32 = 2 * SECOND;

#[inline(always)]
fn found(number: u32) -> Option<Found> {
    (number < NOWHERE).then_some(Found {
        second: number & SECOND != 0,
        slot: (number % SECOND) as usize,
    })
}

#[inline(always)]
fn number(found: Option<Found>) -> u32 {
    match found {
        Some(Found { second, slot }) => slot as u32 + SECOND * second as u32,
        None => NOWHERE,
    }
}

/// Where in a generation a word is. Checked by the verifier apart from its callers, as are the others here.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn find_word(index: u32, wanted: u64) -> u32 {
    number(Live::open().and_then(|(live, _)| search(&live, index & 1, wanted)))
}

/// Where in a generation a key's block may go.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn find_free(index: u32, key: u64) -> u32 {
    number(Live::open().and_then(|(live, _)| choose(&live, index & 1, key)))
}

/// Which words of a cache line are the wanted one.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn equal_in(line: *mut [u64; LINE], wanted: u64) -> u32 {
    match line.is_null() {
        true => 0,
        // SAFETY: a part of a map element; `Word` is a u64.
        false => table::equal(unsafe { &*line.cast::<[Word; LINE]>() }, wanted),
    }
}

/// Which slots of a cache line are in use.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn used_in(line: *mut [u64; LINE]) -> u32 {
    match line.is_null() {
        true => 0,
        // SAFETY: as above.
        false => table::used(unsafe { &*line.cast::<[Word; LINE]>() }),
    }
}

/// There is no block that is meant, or it is a copy that was released.
const NOTHING: u32 = 0;
/// It is done.
const DONE: u32 = 1;
/// Another CPU was faster.
const AGAIN: u32 = 2;

/// There is a block.
const LOCATED: u32 = 1 << 8;
/// It is in the second generation.
const LATTER: u32 = 1 << 9;
/// It is a copy.
const COPY: u32 = 1 << 10;

/// Where a block is: the number of its slot, and what is said above; 0 if there is none.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn locate_block(key: u64) -> u32 {
    let located = Live::open().and_then(|(live, phase)| table::locate(&live, phase, key));
    let Some(at) = located else {
        return NOTHING;
    };
    number(at.found) | LOCATED | (LATTER * (at.index & 1)) | (COPY * at.is_copy as u32)
}

/// Any mark.
const ANY: u32 = u32::MAX;

/// Tries to take a block from where it was found.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn take_located(key: u64, located: u32, mark: u32, taken: *mut Payload) -> u32 {
    let Some((live, _)) = Live::open() else {
        return NOTHING;
    };
    let at = Located {
        index: (located & LATTER != 0) as u32,
        found: found(located & (LOCATED - 1)),
        is_copy: located & COPY != 0,
    };
    match table::take_at(&live, at, key, (mark != ANY).then_some(mark)) {
        Attempt::Taken(payload) if !taken.is_null() => {
            // SAFETY: the caller's variable.
            unsafe { *taken = payload };
            DONE
        }
        Attempt::Again => AGAIN,
        _ => NOTHING,
    }
}

/// Takes a block, wherever it is: [`tracer_common::live::take_slowly`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn take_anywhere(key: u64, mark: u32, taken: *mut Payload) -> u32 {
    let mut attempt = 0;
    while attempt < TAKES {
        let located = locate_block(key);
        if located == NOTHING {
            return NOTHING;
        }
        let outcome = take_located(key, located, mark, taken);
        if outcome != AGAIN {
            return outcome;
        }
        attempt += 1;
    }
    NOTHING
}

/// There is little room, which was not known.
const PRESSED: u32 = 4;

/// Tries to put a block where there is room.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn try_to_put(key: u64, block: *const Payload) -> u32 {
    let Some((live, phase)) = Live::open() else {
        return NOTHING;
    };
    if block.is_null() {
        return NOTHING;
    }
    // SAFETY: the caller's variable.
    match table::try_put(&live, phase.newer(), key, unsafe { &*block }) {
        Ok(Some(slot)) if live.is_newly_pressed(slot) => DONE | PRESSED,
        Ok(Some(_)) => DONE,
        Ok(None) => AGAIN,
        Err(Full) => NOTHING,
    }
}

/// Puts a block where there is room, and no block of its key: [`tracer_common::live::put`].
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn put_anywhere(key: u64, block: *const Payload) -> u32 {
    let mut outcome = AGAIN;
    let mut attempt = 0;
    while attempt < CLAIMS && outcome == AGAIN {
        outcome = try_to_put(key, block);
        attempt += 1;
    }
    outcome
}

/// Takes the block of a key with this mark out of the table.
#[inline(always)]
pub fn take(key: u64, mark: u32) -> Option<Payload> {
    let (live, phase) = Live::open()?;
    if !phase.is_moving()
        && let Ok(taken) = take_quickly(&live, phase.newer(), key, mark)
    {
        return taken;
    }
    let mut taken = [0; PAYLOAD];
    (take_anywhere(key, mark, &raw mut taken) == DONE).then_some(taken)
}

/// The block of a key in a table of one generation.
#[inline(always)]
#[allow(
    dead_code,
    reason = "one of the two objects has a table of one generation"
)]
pub fn look_up(key: u64) -> Option<Payload> {
    let (live, phase) = Live::open()?;
    table::look_up(&live, phase.newer(), key)
}

/// What became of an insertion.
#[derive(Default)]
pub struct Inserted {
    /// The block is in the table.
    pub placed: bool,
    /// What was there under its key: its release was not seen.
    pub previous: Option<Payload>,
    /// There is little room, which was not known.
    #[allow(
        dead_code,
        reason = "one of the two objects has a table of one generation"
    )]
    pub pressed: bool,
}

/// Inserts a block.
#[inline(always)]
pub fn insert(key: u64, payload: &Payload) -> Inserted {
    let Some((live, phase)) = Live::open() else {
        return Inserted::default();
    };
    if !phase.is_moving() && insert_quickly(&live, phase.newer(), key, payload).is_ok() {
        return Inserted {
            placed: true,
            ..Inserted::default()
        };
    }
    let mut previous = [0; PAYLOAD];
    let replaces = take_anywhere(key, ANY, &raw mut previous) == DONE;
    let outcome = put_anywhere(key, payload);
    Inserted {
        placed: outcome & DONE != 0,
        previous: replaces.then_some(previous),
        pressed: outcome & PRESSED != 0,
    }
}

/// Whether user space makes the table larger when it has found that there is little room.
#[inline(always)]
#[allow(
    dead_code,
    reason = "one of the two objects has a table of one generation"
)]
pub fn can_grow() -> bool {
    let Some((live, _)) = Live::open() else {
        return false;
    };
    // SAFETY: an aligned u32 of an element that was checked for null; volatile because user space changes it.
    unsafe { read_volatile(&raw const (*live.directory).at_most) == 0 }
}

/// Adds to one side of a row's totals: allocated (0) or released (1).
///
/// # Safety
///
/// `totals` must point to a map element.
#[inline(always)]
pub unsafe fn add(totals: *mut StackTotals, released: u32, (bytes, count): (u64, u64)) {
    // SAFETY: aligned fields, as the caller promises.
    unsafe {
        if released == 0 {
            atomic_add(&raw mut (*totals).alloc_bytes, bytes);
            atomic_add(&raw mut (*totals).alloc_count, count);
        } else {
            atomic_add(&raw mut (*totals).free_bytes, bytes);
            atomic_add(&raw mut (*totals).free_count, count);
        }
    }
}
