//! How to find a frame's caller, in 32 bits.
//!
//! Eighteen million rows of call frame information, all that is in the files of a distribution, come
//! down to some 4,000 distinct rules of a few shapes: the canonical frame address (CFA) is a register
//! plus an offset, the return address is just below it, and `rbp` is unchanged or saved at most 48
//! bytes below the CFA. What does not fit is [`Kind::Unsupported`].

/// Shape of a [`Rule`]. The numbers are stable: user space writes them, the kernel reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// No call frame information there: `CFA = rbp + 16`, `rip = *(rbp + 8)`, `rbp = *rbp`, if `rbp` can be a frame
    /// pointer.
    NoFde = 0,
    /// `CFA = rsp + n`, `rip = *(CFA - 8)`.
    Rsp = 1,
    /// `CFA = rbp + n`, `rip = *(CFA - 8)`.
    Rbp = 2,
    /// `CFA = rsp + 8 + (rip & 15 >= threshold ? 8 : 0)`, `rip = *(CFA - 8)`: a procedure linkage table.
    Plt = 3,
    /// `CFA = *(rsp + n) + m`, `rip = *(CFA - 8)`: hand-written code that aligned its stack.
    DerefRsp = 4,
    /// The return address is undefined: the outermost frame.
    Stop = 5,
    /// A signal frame (`struct rt_sigframe`): `rbp = *(rsp + 120)`, `rsp = *(rsp + 160)`, `rip = *(rsp + 168)`.
    Signal = 6,
    /// Call frame information that has no shape of these.
    Unsupported = 7,
    /// The address is in no known mapping.
    NoMapping = 8,
    /// `CFA = *(rbp + n) + m`, `rip = *(CFA - 8)`, `rbp = *rbp`: compiled code that aligned its stack.
    DerefRbp = 9,
    /// The kernel's return probe trampoline: the return address was replaced.
    ReturnProbe = 10,
    /// The file's table could not be read or is not loaded.
    NoTable = 11,
    /// A frame of HotSpot's interpreter: `rsp = *(rbp - 8)`, `rip = *(rbp + 8)`, `rbp = *rbp`. The caller may have made
    /// room for arguments between its frame and this one.
    Interpreted = 12,
}

/// Largest CFA offset of [`Kind::Rsp`] and [`Kind::Rbp`], 32 MiB; the largest seen is 1,048,720.
pub const MAX_CFA_OFFSET: u64 = ((1 << 22) - 1) * 8;

/// A packed rule: `kind:4 | rbp_slot:6 | operand:22`, from the low end.
///
/// `rbp_slot` is 0 if the caller's `rbp` is the same, else `rbp = *(CFA - 8 * rbp_slot)`. The operand is
/// `n / 8` for `Rsp` and `Rbp`; the threshold for `Plt`; for the dereferencing kinds `n / 8` as 16 bits
/// with sign and `m / 8` in the upper 6.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Rule(pub u32);

impl Rule {
    /// Frame pointer step.
    pub const NO_FDE: Self = Self(Kind::NoFde as u32);
    /// Outermost frame.
    pub const STOP: Self = Self(Kind::Stop as u32);
    /// Signal frame.
    pub const SIGNAL: Self = Self(Kind::Signal as u32);
    /// Not expressible.
    pub const UNSUPPORTED: Self = Self(Kind::Unsupported as u32);
    /// Unknown address.
    pub const NO_MAPPING: Self = Self(Kind::NoMapping as u32);
    /// Return probe trampoline.
    pub const RETURN_PROBE: Self = Self(Kind::ReturnProbe as u32);
    /// Table missing.
    pub const NO_TABLE: Self = Self(Kind::NoTable as u32);
    /// HotSpot's interpreter.
    pub const INTERPRETED: Self = Self(Kind::Interpreted as u32);
    /// On a function's first instruction, whatever the tables say: the call has pushed the return
    /// address and nothing else has happened.
    pub const ENTRY: Self = Self(Kind::Rsp as u32 | 1 << 10);

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

    /// The kind's number, cheaper to compare than [`Rule::kind`].
    #[inline(always)]
    pub const fn kind_number(self) -> u32 {
        self.0 & 15
    }

    /// Whether the CFA is a register plus an offset, as in nearly all code.
    #[inline(always)]
    pub const fn is_plain(self) -> bool {
        self.kind_number() == Kind::Rsp as u32 || self.kind_number() == Kind::Rbp as u32
    }

    /// The rule's shape; a number that has none is unsupported.
    pub const fn kind(self) -> Kind {
        match self.kind_number() {
            0 => Kind::NoFde,
            1 => Kind::Rsp,
            2 => Kind::Rbp,
            3 => Kind::Plt,
            4 => Kind::DerefRsp,
            5 => Kind::Stop,
            6 => Kind::Signal,
            8 => Kind::NoMapping,
            9 => Kind::DerefRbp,
            10 => Kind::ReturnProbe,
            11 => Kind::NoTable,
            12 => Kind::Interpreted,
            _ => Kind::Unsupported,
        }
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
