//! The kernel's stack of an allocation, as the kernel's own unwinder walks it, and its row.

use core::ffi::c_void;
use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::EbpfContext;
use aya_ebpf::bindings::BPF_NOEXIST;
use aya_ebpf::helpers::generated::{bpf_get_stack, bpf_loop};
use tracer_common::kernel_memory::{
    DEPTH, FRAMES, KernelLoss, KernelRow, KernelStackKey, ROWS, SPARE_ROWS, What,
};
use tracer_common::stack::hash_frame;

use super::maps::{KERNEL_FRAMES, KERNEL_ROWS, KERNEL_STACKS, KERNEL_STATE, SCRATCH, Scratch};
use crate::arch::order;
use crate::loss;
use crate::memory::fetch_add;

/// Frames that are hashed at a time.
pub const CHUNK: usize = 8;

/// What a number of frames has no bits beyond.
const DEPTH_MASK: u32 = DEPTH;
const _: () = assert!((DEPTH + 1).is_power_of_two());

/// Innermost frames that are left out: the program itself and the function that runs it.
const SKIP: u64 = 2;

/// The row of the present stack; the kind's spare row where there is none.
#[inline(always)]
pub fn row(ctx: &impl EbpfContext, room: u32, what: What) -> u32 {
    let spare = what.kind() as u32;
    let Some(scratch) = SCRATCH.get_ptr_mut(room) else {
        return spare;
    };
    // SAFETY: the room is this program's on this CPU, and has so many bytes; the helper writes no more.
    let bytes = unsafe {
        bpf_get_stack(
            ctx.as_ptr(),
            (&raw mut (*scratch).addresses).cast::<c_void>(),
            DEPTH * 8,
            SKIP,
        )
    };
    if bytes <= 0 {
        loss::count(KernelLoss::NoStack);
        return spare;
    }
    let frames = (bytes as u32) >> 3;
    let key = KernelStackKey {
        hash: hash(scratch, frames),
        what: what.0,
    };
    // SAFETY: a copy of a u32, which is never removed.
    if let Some(row) = unsafe { KERNEL_STACKS.get(key).copied() } {
        return row;
    }
    match store(scratch, frames, key.hash, key.what) {
        0 => {
            loss::count(KernelLoss::StackTableFull);
            spare
        }
        row => row,
    }
}

/// The hash over the frames, and zeros up to whole chunks. Checked by the verifier apart from its callers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn hash(scratch: *mut Scratch, frames: u32) -> u64 {
    if scratch.is_null() || frames > DEPTH {
        return 0;
    }
    let mut hashing = Hashing { scratch, hash: 0 };
    let mut index = 0;
    // SAFETY: the room of the running program, which has a chunk more than there are frames; the callback and its
    // context live as long as the call.
    unsafe {
        while index < CHUNK {
            (*scratch).addresses[(frames & DEPTH_MASK) as usize + index] = 0;
            index += 1;
        }
        bpf_loop(
            frames.div_ceil(CHUNK as u32),
            hash_chunk as *mut c_void,
            (&raw mut hashing).cast(),
            0,
        );
    }
    hashing.hash
}

/// A hash over frames, chunk by chunk.
#[repr(C)]
struct Hashing {
    scratch: *const Scratch,
    hash: u64,
}

/// Adds a chunk to the hash.
unsafe extern "C" fn hash_chunk(turn: u32, hashing: *mut Hashing) -> i64 {
    // SAFETY: the context given to bpf_loop above, with the room of the running program; the index is masked.
    unsafe {
        let Hashing { scratch, mut hash } = *hashing;
        let first = (turn as usize * CHUNK) & DEPTH_MASK as usize;
        let mut index = 0;
        while index < CHUNK {
            hash = hash_frame(hash, (*scratch).addresses[first + index]);
            index += 1;
        }
        (*hashing).hash = hash;
    }
    0
}

/// Frames on their way into the store.
#[repr(C)]
struct Copying {
    scratch: *const Scratch,
    first_frame: u32,
    frames: u32,
}

/// Stores one frame a turn.
unsafe extern "C" fn copy_frame(turn: u32, copying: *mut Copying) -> i64 {
    // SAFETY: the context given to bpf_loop below, with the room of the running program; the index is masked.
    unsafe {
        let copying = &*copying;
        if turn >= copying.frames {
            return 1;
        }
        let place = KERNEL_FRAMES.get_ptr_mut(copying.first_frame.wrapping_add(turn));
        let Some(place) = place else {
            return 1;
        };
        write_volatile(place, (*copying.scratch).addresses[(turn & 127) as usize]);
    }
    0
}

/// Gives a new stack a row and writes its frames; 0 if the tables are full. Checked by the verifier apart from its
/// callers.
#[inline(never)]
#[unsafe(no_mangle)]
extern "C" fn store(scratch: *const Scratch, frames: u32, hash: u64, what: u64) -> u32 {
    let Some(state) = KERNEL_STATE.get_ptr_mut(0) else {
        return 0;
    };
    if scratch.is_null() {
        return 0;
    }
    // SAFETY: elements that were checked for null, and the room of the running program.
    unsafe {
        // Looked at first, so that the counters do not run on when the tables are full.
        if read_volatile(&raw const (*state).rows) >= ROWS
            || read_volatile(&raw const (*state).frames) >= FRAMES - DEPTH
        {
            return 0;
        }
        let row = fetch_add(&raw mut (*state).rows, 1);
        let first_frame = fetch_add(&raw mut (*state).frames, frames);
        if row < SPARE_ROWS {
            return 0;
        }
        let Some(entry) = KERNEL_ROWS.get_ptr_mut(row) else {
            return 0;
        };
        let mut copy = Copying {
            scratch,
            first_frame,
            frames,
        };
        bpf_loop(DEPTH, copy_frame as *mut c_void, (&raw mut copy).cast(), 0);
        *entry = KernelRow {
            what,
            first_frame,
            frames,
            state: 0,
            missed_frees: 0,
        };
        let key = KernelStackKey { hash, what };
        if KERNEL_STACKS.insert(key, row, BPF_NOEXIST as u64).is_ok() {
            order::before_write();
            write_volatile(&raw mut (*entry).state, KernelRow::READY);
            return row;
        }
        // Another CPU has stored the same stack first: its row is used, and this one stays empty.
        KERNEL_STACKS.get(key).copied().unwrap_or(0)
    }
}
