//! What differs between processors: instructions, unwind rules, signal frames, relocations.
//!
//! Each architecture has a folder with the same files, so that who knows one finds the way in the other. Both are
//! compiled everywhere and tested on any machine: which one is meant is a value, [`Arch`], which an ELF file tells.
//! Only what has to run is compiled for this machine's alone. What both sides need, registers and the step from frame
//! to frame, is in [`tracer_common::arch`].

pub mod aarch64;
mod instructions;
pub mod x86_64;

use std::fmt;

use gimli::{EhFrame, EndianSlice, LittleEndian, UnwindTableRow, Vendor};
use object::elf;
use tracer_common::arch as common;
use tracer_common::unwind::Rule;

#[cfg(target_arch = "aarch64")]
pub use aarch64 as native;
pub use instructions::InstructionSet;
#[cfg(not(target_arch = "aarch64"))]
pub use x86_64 as native;

use crate::unwind::Reason;

/// Bytes of a file.
pub type Slice<'a> = EndianSlice<'a, LittleEndian>;

/// A call frame information section.
pub type Section<'a> = EhFrame<Slice<'a>>;

/// A processor architecture.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Arch {
    /// x86-64, of 64-bit programs.
    #[cfg_attr(not(target_arch = "aarch64"), default)]
    X86_64,
    /// 64-bit Arm, little-endian.
    #[cfg_attr(target_arch = "aarch64", default)]
    Aarch64,
}

impl Arch {
    /// This machine's, which is the only one whose programs can be traced here.
    #[cfg(not(target_arch = "aarch64"))]
    pub const HOST: Self = Self::X86_64;
    /// This machine's, which is the only one whose programs can be traced here.
    #[cfg(target_arch = "aarch64")]
    pub const HOST: Self = Self::Aarch64;

    /// As `uname -m` says it.
    pub const fn kernel_name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The processors whose 64-bit programs these are.
    pub const fn family(self) -> &'static str {
        match self {
            Self::X86_64 => "x86",
            Self::Aarch64 => "Arm",
        }
    }

    /// `e_machine` of its ELF files.
    pub const fn elf_machine(self) -> elf::Machine {
        match self {
            Self::X86_64 => elf::EM_X86_64,
            Self::Aarch64 => elf::EM_AARCH64,
        }
    }

    /// The relocations of slots that the loader fills with the address of a function of another object.
    pub const fn import_relocations(self) -> [elf::RelocationType; 2] {
        match self {
            Self::X86_64 => [elf::R_X86_64_JUMP_SLOT, elf::R_X86_64_GLOB_DAT],
            Self::Aarch64 => [elf::R_AARCH64_JUMP_SLOT, elf::R_AARCH64_GLOB_DAT],
        }
    }

    /// The member of the kernel's `struct thread_struct` whose first word is the thread pointer
    /// (arch/x86/include/asm/processor.h; arch/arm64/include/asm/processor.h, where that is `uw.tp_value`).
    pub const fn thread_pointer_member(self) -> &'static str {
        match self {
            Self::X86_64 => "fsbase",
            Self::Aarch64 => "uw",
        }
    }

    /// A byte by which a breakpoint that the kernel has put into code is told from every instruction on which it puts
    /// one: how far into the instruction it is, and what it is. `int3` on x86-64; on aarch64 `brk #5`
    /// (`BRK64_OPCODE_UPROBES`, arch/arm64/include/asm/debug-monitors.h), as the highest byte is that of exceptions.
    pub const fn breakpoint(self) -> (u64, u8) {
        match self {
            Self::X86_64 => (0, 0xcc),
            Self::Aarch64 => (3, 0xd4),
        }
    }

    /// Whose call frame instructions a file may have besides those of DWARF.
    pub const fn vendor(self) -> Vendor {
        match self {
            Self::X86_64 => Vendor::Default,
            Self::Aarch64 => Vendor::AArch64,
        }
    }

    /// The rule on a function's first instruction.
    pub const fn entry_rule(self) -> Rule {
        match self {
            Self::X86_64 => common::x86_64::ENTRY,
            Self::Aarch64 => common::aarch64::ENTRY,
        }
    }

    /// The rule of a row of call frame information, or why it has none.
    pub fn rule(self, row: &UnwindTableRow<usize>, section: &Section<'_>) -> Result<Rule, Reason> {
        match self {
            Self::X86_64 => x86_64::translate(row, section),
            Self::Aarch64 => aarch64::translate(row, section),
        }
    }

    /// What its instructions mean.
    pub const fn instructions(self) -> &'static dyn InstructionSet {
        match self {
            Self::X86_64 => &x86_64::Instructions,
            Self::Aarch64 => &aarch64::Instructions,
        }
    }
}

/// As people write it.
impl fmt::Display for Arch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X86_64 => "x86-64",
            Self::Aarch64 => "aarch64",
        })
    }
}
