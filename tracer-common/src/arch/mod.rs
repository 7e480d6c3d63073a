//! What differs between processors: registers, unwind rules and the step by them, system call numbers, and where a call
//! keeps its return address.
//!
//! Each architecture has a folder with the same files, so that who knows one finds the way in the other. Both are
//! compiled everywhere and tested on any machine; [`native`] is the one that memory of this machine is read by. A build
//! for the kernel (target `bpf`) does not say which machine it is for, so the feature `bpf-aarch64` does.

pub mod aarch64;
pub mod x86_64;

#[cfg(any(
    target_arch = "aarch64",
    all(target_arch = "bpf", feature = "bpf-aarch64")
))]
pub use aarch64 as native;
#[cfg(not(any(
    target_arch = "aarch64",
    all(target_arch = "bpf", feature = "bpf-aarch64")
)))]
pub use x86_64 as native;
