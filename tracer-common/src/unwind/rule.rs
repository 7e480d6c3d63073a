//! How to find a frame's caller, in 32 bits.
//!
//! Eighteen million rows of call frame information, all that is in the x86-64 files of a distribution, come down to
//! some 4,000 distinct rules of a few shapes. What does not fit is [`Kind::Unsupported`]. How the shapes of an
//! architecture are packed is told in its `rule` ([`crate::arch`]).

/// Shape of a [`Rule`]. The numbers are stable: user space writes them, the kernel reads them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// No call frame information there: the caller is found by the frame pointer, if that can be one.
    NoFde = 0,
    /// x86-64: `CFA = rsp + n`, `rip = *(CFA - 8)`.
    Rsp = 1,
    /// x86-64: `CFA = rbp + n`, `rip = *(CFA - 8)`.
    Rbp = 2,
    /// x86-64: `CFA = rsp + 8 + (rip & 15 >= threshold ? 8 : 0)`, `rip = *(CFA - 8)`: a procedure linkage table.
    Plt = 3,
    /// x86-64: `CFA = *(rsp + n) + m`, `rip = *(CFA - 8)`: hand-written code that aligned its stack.
    DerefRsp = 4,
    /// The return address is undefined: the outermost frame.
    Stop = 5,
    /// A signal frame (`struct rt_sigframe`): the interrupted registers are in it.
    Signal = 6,
    /// Call frame information that has no shape of these.
    Unsupported = 7,
    /// The address is in no known mapping.
    NoMapping = 8,
    /// x86-64: `CFA = *(rbp + n) + m`, `rip = *(CFA - 8)`, `rbp = *rbp`: compiled code that aligned its stack.
    DerefRbp = 9,
    /// The kernel's return probe trampoline: the return address was replaced.
    ReturnProbe = 10,
    /// The file's table could not be read or is not loaded.
    NoTable = 11,
    /// x86-64: a frame of HotSpot's interpreter: `rsp = *(rbp - 8)`, `rip = *(rbp + 8)`, `rbp = *rbp`. The caller may
    /// have made room for arguments between its frame and this one.
    Interpreted = 12,
    /// aarch64: `CFA = sp + n`.
    Sp = 13,
    /// aarch64: `CFA = x29 + n`.
    Fp = 14,
}

/// A packed rule: the kind in the lowest 4 bits, and 28 bits whose meaning the architecture tells.
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

    /// The kind's number, cheaper to compare than [`Rule::kind`].
    #[inline(always)]
    pub const fn kind_number(self) -> u32 {
        self.0 & 15
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
            13 => Kind::Sp,
            14 => Kind::Fp,
            _ => Kind::Unsupported,
        }
    }
}
