//! Any bytes as insertions, releases and moves of live blocks.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tracer_common::live::model::{Step, run};

/// Each pair of bytes is a step.
fn step(bytes: &[u8]) -> Step {
    let number = u64::from(bytes[1]);
    match bytes[0] % 8 {
        0..3 => Step::Insert(number),
        3..6 => Step::Take(number),
        6 => Step::TakeOther(number),
        _ => Step::Move(u32::from(bytes[1] % 12) + 1),
    }
}

fuzz_target!(|bytes: &[u8]| run(bytes.chunks_exact(2).map(step)));
