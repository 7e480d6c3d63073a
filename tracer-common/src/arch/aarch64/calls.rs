//! Numbers of system calls (include/uapi/asm-generic/unistd.h), which `x8` holds.

use crate::space::SpaceCall;

/// The call of this number, if it may change an address space. Events carry the numbers of [`SpaceCall`] instead.
#[inline(always)]
pub const fn space_call(number: u64) -> Option<SpaceCall> {
    match number {
        196 => Some(SpaceCall::Shmat),
        197 => Some(SpaceCall::Shmdt),
        214 => Some(SpaceCall::Brk),
        215 => Some(SpaceCall::Munmap),
        216 => Some(SpaceCall::Mremap),
        222 => Some(SpaceCall::Mmap),
        226 => Some(SpaceCall::Mprotect),
        233 => Some(SpaceCall::Madvise),
        288 => Some(SpaceCall::PkeyMprotect),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The calls are those of x86-64, by other numbers.
    #[test]
    fn every_call_has_one_number() {
        let of = |call: fn(u64) -> Option<SpaceCall>| {
            let mut numbers: Vec<u32> = (0..512).filter_map(call).map(|call| call as u32).collect();
            numbers.sort_unstable();
            numbers
        };
        assert_eq!(of(space_call), of(SpaceCall::from_number));
        assert_eq!(space_call(222), Some(SpaceCall::Mmap));
        assert_eq!(space_call(9), None, "mmap of x86-64");
    }
}
