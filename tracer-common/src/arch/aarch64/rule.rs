//! Rules of aarch64: the canonical frame address (CFA) is `sp` or `x29` plus an offset; the return address is in `x30`
//! or saved, with the caller's `x29` just below it or not saved.
//!
//! A rule is `kind:4 | saved:2 | at_base:1 | slot:6 | n/8:19`, from the low end, for [`Kind::Sp`] and [`Kind::Fp`].
//! What is saved lies at `CFA - 8 * slot`, or, with `at_base`, at `base + 8 * slot`: compilers put the frame record at
//! either end of a frame, which may be large.

use crate::unwind::{Kind, Rule};

/// Largest CFA offset, 4 MiB.
pub const MAX_CFA_OFFSET: u64 = ((1 << 19) - 1) * 8;

/// The rule on a function's first instruction, whatever the tables say: the return address is in `x30`, and nothing
/// else has happened.
pub const ENTRY: Rule = Rule(Kind::Sp as u32);

/// Whether the CFA is a register plus an offset, as in nearly all code.
#[inline(always)]
pub const fn is_plain(rule: Rule) -> bool {
    rule.kind_number() == Kind::Sp as u32 || rule.kind_number() == Kind::Fp as u32
}

/// The register that a CFA is told by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Base {
    /// `sp`.
    StackPointer,
    /// `x29`.
    FramePointer,
}

/// What a frame has saved, and how far below the CFA, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saved {
    /// Nothing: the return address is in `x30`.
    Nothing,
    /// The return address.
    Link(u64),
    /// The return address there, and the caller's `x29` 8 bytes further below: a frame record.
    Record(u64),
    /// The caller's `x29`; the return address is in `x30`.
    FramePointer(u64),
}

const NOTHING: u32 = 0;
const LINK: u32 = 1;
const RECORD: u32 = 2;
const FRAME_POINTER: u32 = 3;
/// Slots that fit.
const SLOTS: u64 = 64;

impl Rule {
    /// `CFA = base + n`, with what is saved; `None` if it does not fit.
    pub const fn frame(base: Base, n: u64, saved: Saved) -> Option<Self> {
        if n & 7 != 0 || n > MAX_CFA_OFFSET {
            return None;
        }
        let (what, below) = match saved {
            Saved::Nothing => (NOTHING, 0),
            Saved::Link(below) => (LINK, below),
            Saved::Record(below) => (RECORD, below),
            Saved::FramePointer(below) => (FRAME_POINTER, below),
        };
        let (at_base, slot) = if below & 7 != 0 {
            return None;
        } else if below / 8 < SLOTS {
            (0, below / 8)
        } else if below <= n && (n - below) / 8 < SLOTS {
            (1, (n - below) / 8)
        } else {
            return None;
        };
        let kind = match base {
            Base::StackPointer => Kind::Sp,
            Base::FramePointer => Kind::Fp,
        };
        let place = (slot as u32) << 7 | at_base << 6;
        Some(Self(
            kind as u32 | what << 4 | place | ((n / 8) as u32) << 13,
        ))
    }

    /// `n`, in bytes.
    #[inline(always)]
    pub(super) const fn offset(self) -> u64 {
        (self.0 as u64 >> 13) * 8
    }

    /// Where something is saved, by the rule's base and the CFA.
    #[inline(always)]
    const fn place(self, base: u64, cfa: u64) -> u64 {
        let bytes = (self.0 as u64 >> 7 & (SLOTS - 1)) * 8;
        if self.0 & 1 << 6 != 0 {
            base.wrapping_add(bytes)
        } else {
            cfa.wrapping_sub(bytes)
        }
    }

    /// Address of the return address; 0 if it is in `x30`.
    #[inline(always)]
    pub(super) const fn link_at(self, base: u64, cfa: u64) -> u64 {
        let what = self.0 >> 4 & 3;
        if what == LINK || what == RECORD {
            self.place(base, cfa)
        } else {
            0
        }
    }

    /// Address of the caller's `x29`; 0 if it is unchanged.
    #[inline(always)]
    pub(super) const fn frame_pointer_at(self, base: u64, cfa: u64) -> u64 {
        let what = self.0 >> 4 & 3;
        if what == RECORD {
            self.place(base, cfa).wrapping_sub(8)
        } else if what == FRAME_POINTER {
            self.place(base, cfa)
        } else {
            0
        }
    }

    /// Whether the frame has a frame record.
    #[inline(always)]
    pub(super) const fn has_record(self) -> bool {
        self.0 >> 4 & 3 == RECORD
    }
}
