//! Classes of instructions, where branches lead, and which registers are written.
//!
//! Source: Arm Architecture Reference Manual for A-profile, C4.1 (index by encoding).

/// Bytes of an instruction.
pub const LENGTH: u64 = 4;

/// An instruction and its address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its address.
    pub at: u64,
    /// Its word.
    pub word: u32,
}

/// Where control goes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// At the next instruction.
    Next,
    /// There.
    Jump(u64),
    /// There, or at the next instruction.
    Branch(u64),
    /// There, and comes back.
    Call(u64),
    /// Where a register says.
    JumpRegister(u32),
    /// Where a register says, and comes back.
    CallRegister(u32),
    /// At the caller.
    Return,
    /// Nowhere: a trap, or no instruction that programs may use.
    Trap,
}

/// Register 31 is the stack pointer or zero.
pub const ZERO: u32 = 31;
/// The link register.
pub const LINK: u32 = 30;
/// The frame pointer.
pub const FRAME_POINTER: u32 = 29;
/// The stack pointer's place among registers that are written.
pub const STACK_POINTER: u32 = 31;

/// The instructions of the code at `address`.
pub fn instructions(code: &[u8], address: u64) -> impl Iterator<Item = Instruction> + Clone {
    let words = code.as_chunks::<4>().0.iter();
    words.zip(0u64..).map(move |(word, number)| Instruction {
        at: address.wrapping_add(number * LENGTH),
        word: u32::from_le_bytes(*word),
    })
}

impl Instruction {
    /// Whether the bits in a mask have this value.
    pub const fn is(self, mask: u32, value: u32) -> bool {
        self.word & mask == value
    }

    /// `count` bits from bit `low` on.
    pub const fn bits(self, low: u32, count: u32) -> u32 {
        self.word >> low & ((1 << count) - 1)
    }

    /// The same as a number with sign.
    const fn signed(self, low: u32, count: u32) -> i64 {
        ((self.bits(low, count) as i64) << (64 - count)) >> (64 - count)
    }

    /// The destination, or what is loaded or stored: `Rd`, `Rt`.
    pub const fn destination(self) -> u32 {
        self.bits(0, 5)
    }

    /// The base of an address, or the first source: `Rn`.
    pub const fn base(self) -> u32 {
        self.bits(5, 5)
    }

    const fn target(self, low: u32, count: u32) -> u64 {
        self.at
            .wrapping_add_signed(self.signed(low, count) * LENGTH as i64)
    }

    /// Where control goes on.
    pub const fn flow(self) -> Flow {
        if self.is(0xfc00_0000, 0x1400_0000) {
            Flow::Jump(self.target(0, 26))
        } else if self.is(0xfc00_0000, 0x9400_0000) {
            Flow::Call(self.target(0, 26))
        } else if self.is(0xff00_0000, 0x5400_0000) || self.is(0x7e00_0000, 0x3400_0000) {
            Flow::Branch(self.target(5, 19))
        } else if self.is(0x7e00_0000, 0x3600_0000) {
            Flow::Branch(self.target(5, 14))
        } else if self.is(0xfe00_0000, 0xd600_0000) {
            // Those that authenticate their target differ in bit 24.
            match self.bits(21, 4) & 7 {
                0 => Flow::JumpRegister(self.base()),
                1 => Flow::CallRegister(self.base()),
                2 => Flow::Return,
                _ => Flow::Trap,
            }
        } else if self.is(0xff00_0000, 0xd400_0000) && !self.is(0xffe0_001f, 0xd400_0001)
            || self.is(0xffff_0000, 0)
        {
            Flow::Trap
        } else {
            Flow::Next
        }
    }

    /// `nop`, and the zeros between functions.
    pub const fn is_padding(self) -> bool {
        self.word == 0xd503_201f || self.word == 0
    }

    /// `bti`: where an indirect branch may lead.
    pub const fn is_landing_pad(self) -> bool {
        self.is(0xffff_ff3f, 0xd503_241f)
    }

    /// `adr` and `adrp`: the register, and the address that is put into it.
    pub const fn address(self) -> Option<(u32, u64)> {
        if !self.is(0x1f00_0000, 0x1000_0000) {
            return None;
        }
        let distance = self.signed(5, 19) << 2 | self.bits(29, 2) as i64;
        let address = if self.word >> 31 == 0 {
            self.at.wrapping_add_signed(distance)
        } else {
            (self.at & !0xfff).wrapping_add_signed(distance << 12)
        };
        Some((self.destination(), address))
    }

    /// A load of 8 bytes from a register plus an offset: what is loaded, the base, the offset.
    pub const fn load(self) -> Option<(u32, u32, u64)> {
        if !self.is(0xffc0_0000, 0xf940_0000) {
            return None;
        }
        let offset = self.bits(10, 12) as u64 * 8;
        Some((self.destination(), self.base(), offset))
    }

    /// A load whose address is the sum of two registers, as of an element of a table.
    pub const fn is_indexed_load(self) -> bool {
        self.is(0x3b20_0c00, 0x3820_0800) && self.bits(22, 2) != 0
    }

    /// A copy of a whole general register: to, from.
    pub const fn copy(self) -> Option<(u32, u32)> {
        if self.is(0xffe0_ffe0, 0xaa00_03e0) {
            Some((self.destination(), self.bits(16, 5)))
        } else {
            None
        }
    }

    /// A constant that is put into a register: `movz`, `movn`, or a copy of zero.
    pub const fn constant(self) -> Option<u32> {
        let is_move = self.is(0x7f80_0000, 0x5280_0000) || self.is(0x7f80_0000, 0x1280_0000);
        if is_move || self.is(0x7fff_ffe0, 0x2a1f_03e0) {
            Some(self.destination())
        } else {
            None
        }
    }

    /// A store of general registers, not by an atomic instruction: the base of its address, and what is stored.
    pub const fn store(self) -> Option<(u32, [u32; 2])> {
        let one = [self.destination(), ZERO];
        // Pairs; then unsigned offsets; then signed ones, with and without a change of the base; then a sum of
        // registers.
        if self.is(0x3e40_0000, 0x2800_0000) {
            Some((self.base(), [self.destination(), self.bits(10, 5)]))
        } else if self.is(0x3fc0_0000, 0x3900_0000)
            || self.is(0x3fe0_0000, 0x3800_0000)
            || self.is(0x3fe0_0c00, 0x3820_0800)
        {
            Some((self.base(), one))
        } else {
            None
        }
    }

    /// The registers that it may write, a bit for each general one and bit 31 for the stack pointer; one too many here
    /// and there. All of them where that is not known.
    pub const fn written(self) -> u32 {
        let destination = if self.destination() == ZERO {
            0
        } else {
            1 << self.destination()
        };
        match self.bits(25, 4) {
            0b1000 | 0b1001 => self.written_by_immediate(destination),
            0b1010 | 0b1011 => self.written_by_system(destination),
            0b0100 | 0b0110 | 0b1100 | 0b1110 => self.written_by_memory(destination),
            // An extended register may be added to the stack pointer.
            0b0101 | 0b1101 if self.is(0x3fe0_001f, 0x0b20_001f) => 1 << STACK_POINTER,
            0b0101 | 0b1101 | 0b0111 | 0b1111 => destination,
            _ => u32::MAX,
        }
    }

    /// Arithmetic with a constant: the stack pointer, but where flags are set.
    const fn written_by_immediate(self, destination: u32) -> u32 {
        let kind = self.bits(23, 3);
        let sets_flags = kind == 4 && self.bits(29, 2) == 3 || kind == 2 && self.bits(29, 1) == 1;
        let may_be_stack_pointer = matches!(kind, 2..=4) && !sets_flags;
        if self.destination() == ZERO && may_be_stack_pointer {
            1 << STACK_POINTER
        } else {
            destination
        }
    }

    /// Branches write the link register or nothing; of hints, those that sign and authenticate return addresses do.
    const fn written_by_system(self, destination: u32) -> u32 {
        if self.is(0xffff_f01f, 0xd503_201f) {
            let is_plain = self.is_landing_pad() || self.bits(8, 4) == 0 && self.bits(5, 3) < 7;
            if is_plain {
                0
            } else {
                1 << LINK | 1 << 17 | 1 << 16
            }
        } else if self.is(0xfff0_0000, 0xd530_0000) || self.is(0xfff8_0000, 0xd528_0000) {
            destination
        } else {
            match self.flow() {
                Flow::Call(_) | Flow::CallRegister(_) => 1 << LINK,
                _ => 0,
            }
        }
    }

    /// Loads and stores: what is loaded, and the base where it is changed.
    const fn written_by_memory(self, destination: u32) -> u32 {
        let is_vector = self.bits(26, 1) == 1;
        let base = 1u32 << self.base();
        let second = if self.bits(10, 5) == ZERO {
            0
        } else {
            1 << self.bits(10, 5)
        };
        if self.is(0x3a00_0000, 0x2800_0000) {
            let is_load = self.bits(22, 1) == 1 && !is_vector;
            let loaded = if is_load { destination | second } else { 0 };
            loaded | if self.bits(23, 1) == 1 { base } else { 0 }
        } else if self.is(0x3b00_0000, 0x3900_0000) {
            self.loaded(destination)
        } else if self.is(0x3b20_0000, 0x3800_0000) {
            self.loaded(destination) | if self.bits(10, 1) == 1 { base } else { 0 }
        } else if self.is(0x3b20_0c00, 0x3820_0800) {
            self.loaded(destination)
        } else if self.is(0x3b00_0000, 0x1800_0000) {
            if is_vector { 0 } else { destination }
        } else {
            // Atomic and exclusive ones, tags, structures of vectors, copies of memory.
            destination | second | base | 1 << self.bits(16, 5)
        }
    }

    /// What a load of one register loads: a store has zeros there.
    const fn loaded(self, destination: u32) -> u32 {
        if self.bits(26, 1) == 1 || self.bits(22, 2) == 0 {
            0
        } else {
            destination
        }
    }

    /// As text: what ends a straight line or is simulated by name, with targets relative to address 0; others as the
    /// assembler takes any.
    pub fn text(self) -> String {
        let at = |target: u64| {
            let target = target as i64;
            let sign = if target < 0 { '-' } else { '+' };
            format!("{sign}{:#x}", target.unsigned_abs())
        };
        let width = if self.word >> 31 == 0 { 'w' } else { 'x' };
        let register = format!("{width}{}", self.destination());
        if let Some((to, address)) = self.address() {
            let name = if self.word >> 31 == 0 { "adr" } else { "adrp" };
            return format!("{name} x{to}, {}", at(address));
        }
        match self.flow() {
            Flow::Jump(target) => format!("b {}", at(target)),
            Flow::Call(target) => format!("bl {}", at(target)),
            Flow::Branch(target) if self.is(0xff00_0000, 0x5400_0000) => {
                format!("b.{} {}", CONDITIONS[self.bits(0, 4) as usize], at(target))
            }
            Flow::Branch(target) if self.is(0x7e00_0000, 0x3400_0000) => {
                let name = if self.bits(24, 1) == 0 { "cbz" } else { "cbnz" };
                format!("{name} {register}, {}", at(target))
            }
            Flow::Branch(target) => {
                let name = if self.bits(24, 1) == 0 { "tbz" } else { "tbnz" };
                let bit = self.bits(31, 1) << 5 | self.bits(19, 5);
                format!("{name} {register}, #{bit}, {}", at(target))
            }
            Flow::JumpRegister(by) if self.bits(10, 6) == 0 => format!("br x{by}"),
            Flow::CallRegister(by) if self.bits(10, 6) == 0 => format!("blr x{by}"),
            Flow::Return if self.word == 0xd65f_03c0 => "ret".to_owned(),
            _ => match self.word {
                0xd503_201f => "nop".to_owned(),
                0xd503_233f => "paciasp".to_owned(),
                0xd503_245f => "bti c".to_owned(),
                word => format!(".inst {word:#010x}"),
            },
        }
    }
}

/// Names of conditions, by their number.
const CONDITIONS: [&str; 16] = [
    "eq", "ne", "cs", "cc", "mi", "pl", "vs", "vc", "hi", "ls", "ge", "lt", "gt", "le", "al", "nv",
];

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(word: u32) -> Instruction {
        Instruction { at: 0x1000, word }
    }

    fn registers(written: u32) -> Vec<u32> {
        (0..32).filter(|bit| written & 1 << bit != 0).collect()
    }

    #[test]
    fn branches_lead_where_they_say() {
        for (word, flow) in [
            (0x1400_0002, Flow::Jump(0x1008)),     // b +8
            (0x17ff_ffff, Flow::Jump(0xffc)),      // b -4
            (0x9400_0400, Flow::Call(0x2000)),     // bl +0x1000
            (0x5400_0041, Flow::Branch(0x1008)),   // b.ne +8
            (0xb4ff_ffe0, Flow::Branch(0xffc)),    // cbz x0, -4
            (0x3500_0085, Flow::Branch(0x1010)),   // cbnz w5, +16
            (0x3607_fff3, Flow::Branch(0xffc)),    // tbz w19, #0, -4
            (0xb758_0040, Flow::Branch(0x1008)),   // tbnz x0, #43, +8
            (0xd61f_0220, Flow::JumpRegister(17)), // br x17
            (0xd63f_0040, Flow::CallRegister(2)),  // blr x2
            (0xd71f_0a11, Flow::JumpRegister(16)), // braa x16, x17
            (0xd65f_03c0, Flow::Return),           // ret
            (0xd65f_0bff, Flow::Return),           // retaa
            (0xd420_0000, Flow::Trap),             // brk #0
            (0x0000_0000, Flow::Trap),             // udf #0
            (0xd400_0001, Flow::Next),             // svc #0
            (0xa9be_7bfd, Flow::Next),             // stp x29, x30, [sp, #-32]!
        ] {
            assert_eq!(at(word).flow(), flow, "{word:#x}");
        }
    }

    #[test]
    fn registers_that_are_written_are_known() {
        for (word, expected) in [
            (0xa9be_7bfd, &[31][..]),     // stp x29, x30, [sp, #-32]!
            (0xa8c2_7bfd, &[29, 30, 31]), // ldp x29, x30, [sp], #32
            (0xa901_53f3, &[]),           // stp x19, x20, [sp, #16]
            (0x9100_03fd, &[29]),         // mov x29, sp
            (0xd100_83ff, &[31]),         // sub sp, sp, #32
            (0xf100_043f, &[]),           // cmp x1, #1
            (0xaa00_03f3, &[19]),         // mov x19, x0
            (0xf940_0013, &[19]),         // ldr x19, [x0]
            (0xf900_0013, &[]),           // str x19, [x0]
            (0xf81f_0ffe, &[31]),         // str x30, [sp, #-16]!
            (0xf841_07fe, &[30, 31]),     // ldr x30, [sp], #16
            (0x5280_0020, &[0]),          // mov w0, #1
            (0xeb01_001f, &[]),           // cmp x0, x1
            (0x9b01_7c00, &[0]),          // mul x0, x0, x1
            (0xcb2c_63ff, &[31]),         // sub sp, sp, x12
            (0xd53b_d041, &[1]),          // mrs x1, tpidr_el0
            (0xd503_233f, &[16, 17, 30]), // paciasp
            (0xd503_245f, &[]),           // bti c
            (0xd503_201f, &[]),           // nop
            (0x9400_0400, &[30]),         // bl
            (0x9000_0001, &[1]),          // adrp x1
            (0x927c_ed1f, &[31]),         // and sp, x8, #~15
            (0x3820_6820, &[]),           // strb w0, [x1, x0]
            (0x3860_6820, &[0]),          // ldrb w0, [x1, x0]
            (0x6d00_27e8, &[]),           // stp d8, d9, [sp]
        ] {
            assert_eq!(registers(at(word).written()), expected, "{word:#x}");
        }
        let unknown = 0x0420_0000; // of the scalable vector extension
        assert_eq!(at(unknown).written(), u32::MAX);
        // ldadd x1, x0, [x2]
        assert!(registers(at(0xf821_0040).written()).contains(&0));
    }

    #[test]
    fn addresses_loads_stores_and_constants_are_read() {
        assert_eq!(at(0x9000_0010).address(), Some((16, 0x1000))); // adrp x16, .
        assert_eq!(at(0xb000_0001).address(), Some((1, 0x2000))); // adrp x1, +0x1000
        assert_eq!(at(0x10ff_ffe9).address(), Some((9, 0xffc))); // adr x9, -4
        assert_eq!(at(0xf947_d611).load(), Some((17, 16, 0xfa8))); // ldr x17, [x16, #4008]
        assert_eq!(at(0xb940_0020).load(), None); // ldr w0, [x1]
        assert_eq!(at(0xf900_0013).store(), Some((0, [19, ZERO]))); // str x19, [x0]
        assert_eq!(at(0xa901_53f3).store(), Some((31, [19, 20]))); // stp x19, x20, [sp, #16]
        assert_eq!(at(0x3820_6820).store(), Some((1, [0, ZERO]))); // strb w0, [x1, x0]
        assert_eq!(at(0xf940_0013).store(), None); // ldr x19, [x0]
        assert_eq!(at(0x6d00_27e8).store(), None); // stp d8, d9, [sp]
        assert_eq!(at(0xaa00_03f3).copy(), Some((19, 0))); // mov x19, x0
        assert_eq!(at(0x2a00_03f3).copy(), None); // mov w19, w0
        assert_eq!(at(0x5280_0020).constant(), Some(0)); // mov w0, #1
        assert_eq!(at(0x9280_0000).constant(), Some(0)); // mov x0, #-1
        assert_eq!(at(0xaa1f_03e0).constant(), Some(0)); // mov x0, xzr
        assert_eq!(at(0xaa00_03f3).constant(), None);
        assert!(at(0x3860_6820).is_indexed_load() && !at(0x3820_6820).is_indexed_load());
        assert!(at(0xb8a0_7820).is_indexed_load()); // ldrsw x0, [x1, x0, lsl #2]
    }

    #[test]
    fn texts_are_those_of_the_assembler() {
        for (word, text) in [
            (0xb400_0040, "cbz x0, +0x1008"),
            (0x3500_0085, "cbnz w5, +0x1010"),
            (0xb758_0040, "tbnz x0, #43, +0x1008"),
            (0x5400_0041, "b.ne +0x1008"),
            (0x1400_0002, "b +0x1008"),
            (0x9400_0400, "bl +0x2000"),
            (0x9000_0010, "adrp x16, +0x1000"),
            (0xd65f_03c0, "ret"),
            (0xd65f_0bff, ".inst 0xd65f0bff"),
            (0xa9be_7bfd, ".inst 0xa9be7bfd"),
            (0xd503_233f, "paciasp"),
        ] {
            assert_eq!(at(word).text(), text);
        }
    }
}
