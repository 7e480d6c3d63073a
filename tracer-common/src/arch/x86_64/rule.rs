//! Rules of x86-64: the canonical frame address (CFA) is a register plus an offset, the return address is just below
//! it, and `rbp` is unchanged or saved at most 504 bytes below the CFA.
//!
//! A rule is `kind:4 | rbp_slot:6 | operand:22`, from the low end. `rbp_slot` is 0 if the caller's `rbp` is the same,
//! else `rbp = *(CFA - 8 * rbp_slot)`. The operand is `n / 8` for [`Kind::Rsp`] and [`Kind::Rbp`]; the threshold for
//! [`Kind::Plt`]; for the dereferencing kinds `n / 8` as 16 bits with sign and `m / 8` in the upper 6.

use crate::unwind::{Kind, Rule};

/// Largest CFA offset of [`Kind::Rsp`] and [`Kind::Rbp`], 32 MiB; the largest seen is 1,048,720.
pub const MAX_CFA_OFFSET: u64 = ((1 << 22) - 1) * 8;

/// The rule on a function's first instruction, whatever the tables say: the call has pushed the return address and
/// nothing else has happened.
pub const ENTRY: Rule = Rule(Kind::Rsp as u32 | 1 << 10);

/// Whether the CFA is a register plus an offset, as in nearly all code.
#[inline(always)]
pub const fn is_plain(rule: Rule) -> bool {
    rule.kind_number() == Kind::Rsp as u32 || rule.kind_number() == Kind::Rbp as u32
}

impl Rule {
    const fn pack(kind: Kind, rbp_slot: u64, operand: u32) -> Self {
        Self(kind as u32 | (rbp_slot as u32) << 4 | operand << 10)
    }

    /// Slot of `rbp` saved at `CFA - below`; `below` is 0 if it is not saved.
    const fn slot(below: u64) -> Option<u64> {
        if below & 7 == 0 && below < 64 * 8 {
            Some(below / 8)
        } else {
            None
        }
    }

    const fn register(kind: Kind, n: u64, rbp_below: u64) -> Option<Self> {
        match Self::slot(rbp_below) {
            Some(slot) if n & 7 == 0 && n <= MAX_CFA_OFFSET => {
                Some(Self::pack(kind, slot, (n / 8) as u32))
            }
            _ => None,
        }
    }

    /// `CFA = rsp + n`; `rbp` saved at `CFA - rbp_below`, or unchanged if that is 0. `None` if it does not fit.
    pub const fn rsp(n: u64, rbp_below: u64) -> Option<Self> {
        Self::register(Kind::Rsp, n, rbp_below)
    }

    /// `CFA = rbp + n`; the rest as for [`Rule::rsp`].
    pub const fn rbp(n: u64, rbp_below: u64) -> Option<Self> {
        Self::register(Kind::Rbp, n, rbp_below)
    }

    /// A procedure linkage table whose slots have pushed a word from byte `threshold` (0 to 15) on.
    pub const fn plt(threshold: u32) -> Self {
        Self::pack(Kind::Plt, 0, threshold & 15)
    }

    const fn deref(kind: Kind, n: i64, m: u64, slot: u64) -> Option<Self> {
        let fits = n & 7 == 0 && m & 7 == 0 && m < 64 * 8;
        if !fits || n / 8 < i16::MIN as i64 || n / 8 > i16::MAX as i64 {
            return None;
        }
        let operand = (n / 8) as i16 as u16 as u32 | ((m / 8) as u32) << 16;
        Some(Self::pack(kind, slot, operand))
    }

    /// `CFA = *(rsp + n) + m`; `None` if it does not fit.
    pub const fn deref_rsp(n: i64, m: u64, rbp_below: u64) -> Option<Self> {
        match Self::slot(rbp_below) {
            Some(slot) => Self::deref(Kind::DerefRsp, n, m, slot),
            None => None,
        }
    }

    /// `CFA = *(rbp + n) + m`, caller's `rbp` saved at `*rbp`; `None` if it does not fit.
    pub const fn deref_rbp(n: i64, m: u64) -> Option<Self> {
        Self::deref(Kind::DerefRbp, n, m, 0)
    }

    /// How far below the CFA `rbp` is saved, in bytes; 0 if it is unchanged.
    #[inline(always)]
    pub const fn rbp_below(self) -> u64 {
        (self.0 as u64 >> 4 & 63) * 8
    }

    /// `n` of [`Kind::Rsp`] and [`Kind::Rbp`], in bytes.
    #[inline(always)]
    pub const fn cfa_offset(self) -> u64 {
        (self.0 as u64 >> 10) * 8
    }

    /// Threshold of [`Kind::Plt`].
    #[inline(always)]
    pub const fn plt_threshold(self) -> u64 {
        self.0 as u64 >> 10 & 15
    }

    /// `n` of the dereferencing kinds, in bytes, as a wrapping addend.
    #[inline(always)]
    pub const fn deref_offset(self) -> u64 {
        // Shifts, not casts through i16: the kernel's target has no sign extension before its v4.
        ((((self.0 as u64 >> 10) << 48) as i64 >> 48) as u64).wrapping_mul(8)
    }

    /// `m` of the dereferencing kinds, in bytes.
    #[inline(always)]
    pub const fn deref_plus(self) -> u64 {
        (self.0 as u64 >> 26) * 8
    }
}
