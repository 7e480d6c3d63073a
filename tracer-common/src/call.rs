//! How one allocator function is called: which argument holds what, packed into a probe's cookie.
//!
//! One BPF program serves many functions; the cookie of each attached probe tells it where the size,
//! the old block and the result are. Both sides use this file, so that they cannot disagree.

/// What a traced function does to the heap.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Class {
    /// Returns a new block.
    Alloc = 0,
    /// Replaces a block by another one: `realloc` and its kin.
    Realloc = 1,
    /// Releases a block.
    Free = 2,
}

/// The integer argument registers of the System V x86-64 ABI, in order (psABI 1.0, section 3.2.3).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u8)]
pub enum Arg {
    /// `rdi`.
    First = 0,
    /// `rsi`.
    Second = 1,
    /// `rdx`.
    Third = 2,
    /// `rcx`.
    Fourth = 3,
}

impl Arg {
    const NONE: u8 = 7;

    const fn pack(arg: Option<Self>) -> u64 {
        match arg {
            Some(arg) => arg as u64,
            None => Self::NONE as u64,
        }
    }

    const fn unpack(bits: u64) -> Option<Self> {
        match bits & 7 {
            0 => Some(Self::First),
            1 => Some(Self::Second),
            2 => Some(Self::Third),
            3 => Some(Self::Fourth),
            _ => None,
        }
    }
}

/// The calling convention of one allocator function.
///
/// The number of bytes asked for is `size * count`, where an absent `count` means one. An overflowing
/// product is a call that fails, so it is never recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Call {
    /// What the function does.
    pub class: Class,
    /// The argument that holds the size; `None` for functions that only release.
    pub size: Option<Arg>,
    /// The argument that `size` is multiplied by.
    pub count: Option<Arg>,
    /// The argument that holds the block that is released or replaced.
    pub old: Option<Arg>,
    /// The argument that points to where the new block's address is stored; the function returns 0
    /// on success (`posix_memalign`). `None`: the function returns the address.
    pub out: Option<Arg>,
    /// The old block is released even when the call fails (`reallocf`).
    pub frees_on_failure: bool,
}

impl Call {
    /// A function that returns a block of `size` bytes.
    pub const fn alloc(size: Arg) -> Self {
        Self {
            class: Class::Alloc,
            size: Some(size),
            count: None,
            old: None,
            out: None,
            frees_on_failure: false,
        }
    }

    /// A function that returns `count` elements of `size` bytes.
    pub const fn alloc_array(count: Arg, size: Arg) -> Self {
        Self {
            count: Some(count),
            ..Self::alloc(size)
        }
    }

    /// A function that stores a block of `size` bytes through `out` and returns 0, or an error number.
    pub const fn alloc_out(out: Arg, size: Arg) -> Self {
        Self {
            out: Some(out),
            ..Self::alloc(size)
        }
    }

    /// A function that resizes the block `old` to `size` bytes.
    pub const fn realloc(old: Arg, size: Arg) -> Self {
        Self {
            class: Class::Realloc,
            old: Some(old),
            ..Self::alloc(size)
        }
    }

    /// A function that resizes the block `old` to `count` elements of `size` bytes.
    pub const fn realloc_array(old: Arg, count: Arg, size: Arg) -> Self {
        Self {
            count: Some(count),
            ..Self::realloc(old, size)
        }
    }

    /// A function that releases the block `old`.
    pub const fn free(old: Arg) -> Self {
        Self {
            class: Class::Free,
            size: None,
            count: None,
            old: Some(old),
            out: None,
            frees_on_failure: false,
        }
    }

    /// Whether the function's end must be seen too, since the new block's address is known only there.
    pub const fn needs_return(&self) -> bool {
        !matches!(self.class, Class::Free)
    }
}

/// Where in a function a probe sits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Place {
    /// At the entry, or at a later instruction where the entry's arguments still hold.
    Entry = 0,
    /// In the return trampoline: the return address has been popped.
    Return = 1,
    /// On a `ret` instruction: the return address is still on the stack.
    Ret = 2,
}

/// A probe's cookie: the function's number in the user side's table, its convention and the place.
///
/// Layout, from bit 0: place 2, class 2, size 3, count 3, old 3, out 3, frees_on_failure 1, ret_sites 1,
/// leaf 1, has_headers 1; function from bit 32.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cookie {
    /// Index of the function in the user side's table of attached functions.
    pub function: u32,
    /// How it is called.
    pub call: Call,
    /// Where this probe sits.
    pub place: Place,
    /// The function's end is seen at its `ret` instructions, because a return probe would break the
    /// unwinding of exceptions through it.
    pub ret_sites: bool,
    /// The function never calls another one that is probed, so a call that is not to be recorded needs no attention.
    pub leaf: bool,
    /// The blocks are glibc's, with their size in the word before them.
    pub has_headers: bool,
}

impl Cookie {
    /// Packs the cookie for the kernel.
    pub const fn pack(&self) -> u64 {
        let call = &self.call;
        self.place as u64
            | (call.class as u64) << 2
            | Arg::pack(call.size) << 4
            | Arg::pack(call.count) << 7
            | Arg::pack(call.old) << 10
            | Arg::pack(call.out) << 13
            | (call.frees_on_failure as u64) << 16
            | (self.ret_sites as u64) << 17
            | (self.leaf as u64) << 18
            | (self.has_headers as u64) << 19
            | (self.function as u64) << 32
    }

    /// Reads a cookie back; total, since every bit pattern means something.
    #[inline(always)]
    pub const fn unpack(bits: u64) -> Self {
        let place = match bits & 3 {
            0 => Place::Entry,
            1 => Place::Return,
            _ => Place::Ret,
        };
        let class = match (bits >> 2) & 3 {
            0 => Class::Alloc,
            1 => Class::Realloc,
            _ => Class::Free,
        };
        let call = Call {
            class,
            size: Arg::unpack(bits >> 4),
            count: Arg::unpack(bits >> 7),
            old: Arg::unpack(bits >> 10),
            out: Arg::unpack(bits >> 13),
            frees_on_failure: (bits >> 16) & 1 == 1,
        };
        Self {
            function: (bits >> 32) as u32,
            call,
            place,
            ret_sites: (bits >> 17) & 1 == 1,
            leaf: (bits >> 18) & 1 == 1,
            has_headers: (bits >> 19) & 1 == 1,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn args() -> impl Strategy<Value = Option<Arg>> {
        prop_oneof![
            Just(None),
            Just(Some(Arg::First)),
            Just(Some(Arg::Second)),
            Just(Some(Arg::Third)),
            Just(Some(Arg::Fourth)),
        ]
    }

    proptest! {
        /// Every cookie comes back from its packed form as it went in.
        #[test]
        fn cookies_survive_packing(
            function: u32,
            place in prop_oneof![Just(Place::Entry), Just(Place::Return), Just(Place::Ret)],
            class in prop_oneof![Just(Class::Alloc), Just(Class::Realloc), Just(Class::Free)],
            size in args(), count in args(), old in args(), out in args(),
            frees_on_failure: bool, ret_sites: bool, leaf: bool, has_headers: bool,
        ) {
            let call = Call { class, size, count, old, out, frees_on_failure };
            let cookie = Cookie { function, call, place, ret_sites, leaf, has_headers };
            prop_assert_eq!(Cookie::unpack(cookie.pack()), cookie);
        }
    }
}
