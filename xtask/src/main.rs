//! Set-up, BPF build, root tests and benchmarks.
fn main() {}
