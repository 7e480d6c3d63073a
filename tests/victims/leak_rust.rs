//! Leaks one `Vec` of exactly 30000 bytes from `leak_vec`, and one zeroed box of 30000 from `leak_zeroed`.
//!
//! Expected: live 60000 bytes, 2 blocks.

use std::hint::black_box;
use std::io::{BufRead, Write};

#[inline(never)]
fn leak_vec() {
    let block: Vec<u8> = Vec::with_capacity(black_box(30_000));
    black_box(block.leak());
}

#[inline(never)]
fn leak_zeroed() {
    let block = vec![0u8; black_box(30_000)];
    black_box(Box::leak(block.into_boxed_slice()));
}

fn main() {
    // Both ends of the protocol are set up, buffers included, before the trace starts.
    let mut line = String::with_capacity(256);
    let mut input = std::io::stdin().lock();
    let mut output = std::io::stdout().lock();
    writeln!(output, "ready {}", std::process::id()).expect("standard output is open");
    output.flush().expect("standard output is open");
    input.read_line(&mut line).expect("standard input is open");
    leak_vec();
    leak_zeroed();
    output.write_all(b"done\n").expect("standard output is open");
    output.flush().expect("standard output is open");
    input.read_line(&mut line).expect("standard input is open");
}
