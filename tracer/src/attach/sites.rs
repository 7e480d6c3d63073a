//! Which instruction of a function a probe sits on: the cheapest one that sees what the entry sees.
//!
//! A probe on an instruction that the kernel emulates costs one trap, on any other a second one (see
//! [`super::emulated`]). So the straight line from the entry, which every call takes, is walked to
//! the first emulated instruction where the arguments are still in their registers.

use std::collections::BTreeSet;

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Formatter, Instruction, InstructionInfoFactory,
    IntelFormatter, OpAccess, OpKind, Register, UsedRegister,
};
use tracer_common::call::{Arg, Call};

use super::emulated::{Handling, handling};

/// What must hold at a site as it held at the entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// Per argument register, in the order of [`Arg`]: it still holds its argument.
    pub arguments: [bool; 4],
    /// `[rsp]` is still the return address.
    pub stack_pointer: bool,
}

impl Needs {
    /// What the probe on a function called this way reads.
    pub fn of(call: &Call) -> Self {
        let mut needs = Self {
            arguments: [false; 4],
            stack_pointer: call.needs_return(),
        };
        for arg in [call.size, call.count, call.old, call.out] {
            if let Some(arg) = arg {
                needs.arguments[arg as usize] = true;
            }
        }
        needs
    }
}

/// What a hit costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Speed {
    /// One trap: the kernel emulates the instruction.
    Fast,
    /// Two traps: the kernel single-steps it.
    Slow,
}

/// Where a probe sits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Site {
    /// Bytes from the function's entry.
    pub offset: u32,
    /// The instruction there, in Intel syntax; branch targets are relative to the entry.
    pub instruction: String,
    /// What a hit costs.
    pub speed: Speed,
    /// The function jumps back to its own entry, so that one call can hit the probe more than once. True
    /// of the entry as of every other site.
    pub repeats: bool,
    /// Per argument, in the order of [`Arg`]: the register that holds it at the site. Usually its own; a function
    /// may have moved it to another argument's register before.
    pub arguments: [Arg; 4],
    /// Why this instruction, as a clause.
    pub why: String,
}

impl Site {
    /// The convention by which a probe at this site finds what `call` says of the entry.
    pub fn call(&self, call: &Call) -> Call {
        let here = |arg: Option<Arg>| arg.map(|arg| self.arguments[arg as usize]);
        Call {
            size: here(call.size),
            count: here(call.count),
            old: here(call.old),
            out: here(call.out),
            ..*call
        }
    }
}

/// Why no probe can sit on a function.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SiteError {
    /// There are no bytes, or the first ones are no instruction.
    #[error("its first bytes are not an x86-64 instruction")]
    Undecodable,
    /// The kernel puts no probe on the entry, and no later instruction qualifies.
    #[error("the kernel refuses probes on its first instruction, {0}")]
    Refused(String),
}

/// Chooses the site in a function whose whole body is `code`.
pub fn choose_site(code: &[u8], needs: Needs) -> Result<Site, SiteError> {
    let jumped_to = jump_targets(code);
    let mut fallback = None;
    let obstacle = match walk(code, needs, &jumped_to, &mut fallback) {
        Ok(site) => return Ok(site),
        Err(obstacle) => obstacle,
    };
    match fallback {
        Some(site) => Ok(site),
        None => entry(code, jumped_to.contains(&0), obstacle),
    }
}

/// The entry as the site, for the reason `why` that nothing better serves.
pub fn entry_site(code: &[u8], why: String) -> Result<Site, SiteError> {
    entry(code, jump_targets(code).contains(&0), why)
}

fn entry(code: &[u8], repeats: bool, why: String) -> Result<Site, SiteError> {
    let first = decoder(code).iter().next().unwrap_or_default();
    if first.is_invalid() {
        return Err(SiteError::Undecodable);
    }
    let speed = match handling(&code[..first.len()]) {
        Handling::Refused => return Err(SiteError::Refused(text(&first))),
        Handling::Stepped => Speed::Slow,
        Handling::Emulated | Handling::EmulatedLately => Speed::Fast,
    };
    Ok(Site {
        offset: 0,
        instruction: text(&first),
        speed,
        repeats,
        arguments: ARGUMENTS,
        why,
    })
}

/// Walks the straight line. `Err` holds the obstacle that ended it, as a clause. A nop that only newer kernels
/// emulate goes to `fallback`, for use where nothing better follows.
fn walk(
    code: &[u8],
    needs: Needs,
    jumped_to: &BTreeSet<u64>,
    fallback: &mut Option<Site>,
) -> Result<Site, String> {
    let mut info = InstructionInfoFactory::new();
    let mut places = Places::at_entry();
    let mut lost = None;
    let mut stored = false;
    for instruction in &mut decoder(code) {
        let at = instruction.ip();
        if instruction.is_invalid() {
            return Err(format!("the bytes at +{at:#x} are not an instruction"));
        }
        if at > 0 && jumped_to.contains(&at) {
            return Err(lost.unwrap_or_else(|| {
                format!("a jump leads to +{at:#x}, before any emulated instruction")
            }));
        }
        let handling = handling(&code[at as usize..at as usize + instruction.len()]);
        let long_nop = handling == Handling::EmulatedLately && fallback.is_none() && !stored;
        if let Some(arguments) = places.find(needs)
            && (handling == Handling::Emulated || long_nop)
        {
            let site = Site {
                offset: at as u32,
                instruction: text(&instruction),
                speed: Speed::Fast,
                repeats: jumped_to.contains(&0),
                arguments,
                why: reason(at, arguments, long_nop),
            };
            if !long_nop {
                return Ok(site);
            }
            *fallback = Some(site);
        }
        if instruction.flow_control() != FlowControl::Next {
            return Err(lost.unwrap_or_else(|| {
                format!(
                    "the straight line ends with {} at +{at:#x}, before any emulated instruction",
                    text(&instruction)
                )
            }));
        }
        let effects = info.info(&instruction);
        places.follow(&instruction, effects.used_registers());
        if lost.is_none() && places.find(needs).is_none() {
            lost = Some(format!(
                "{} at +{at:#x} overwrites what is needed, before any emulated instruction",
                text(&instruction)
            ));
        }
        // Newer kernels turn a five-byte nop into a call, which overwrites the red zone below the
        // stack pointer; before the first store nothing can be there.
        stored |= effects
            .used_memory()
            .iter()
            .any(|used| writes(used.access()));
    }
    Err(lost.unwrap_or_else(|| "the function ends before any emulated instruction".to_owned()))
}

fn reason(at: u64, arguments: [Arg; 4], long_nop: bool) -> String {
    let what = match (at, long_nop) {
        (_, true) => "this nop is emulated since linux 6.16",
        (0, _) => "the entry itself is emulated",
        _ => "the first emulated instruction",
    };
    let moved = ARGUMENTS
        .into_iter()
        .filter(|arg| arguments[*arg as usize] != *arg)
        .map(|arg| {
            let (from, to) = (
                REGISTERS[arg as usize],
                REGISTERS[arguments[arg as usize] as usize],
            );
            format!(", with the argument of {from:?} in {to:?}").to_lowercase()
        });
    std::iter::once(what.to_owned()).chain(moved).collect()
}

const ARGUMENTS: [Arg; 4] = [Arg::First, Arg::Second, Arg::Third, Arg::Fourth];
/// The register of each of [`ARGUMENTS`].
const REGISTERS: [Register; 4] = [Register::RDI, Register::RSI, Register::RDX, Register::RCX];

/// Where the entry's values are while the code moves them about.
struct Places {
    /// Per argument, a bit for each of the sixteen general registers that holds it.
    arguments: [u16; 4],
    /// `rsp` is what it was.
    stack_pointer: bool,
}

impl Places {
    fn at_entry() -> Self {
        Self {
            arguments: REGISTERS.map(bit),
            stack_pointer: true,
        }
    }

    /// The register of each argument, if every need holds. One that is not needed counts as in its own.
    fn find(&self, needs: Needs) -> Option<[Arg; 4]> {
        if needs.stack_pointer && !self.stack_pointer {
            return None;
        }
        let mut found = ARGUMENTS;
        for arg in ARGUMENTS
            .into_iter()
            .filter(|arg| needs.arguments[*arg as usize])
        {
            let holds =
                |place: &Arg| self.arguments[arg as usize] & bit(REGISTERS[*place as usize]) != 0;
            let place = std::iter::once(arg).chain(ARGUMENTS).find(holds)?;
            found[arg as usize] = place;
        }
        Some(found)
    }

    /// Takes an instruction's writes into account. A copy of a whole register makes one more place.
    fn follow(&mut self, instruction: &Instruction, used: &[UsedRegister]) {
        let copied = matches!(instruction.code(), Code::Mov_r64_rm64 | Code::Mov_rm64_r64)
            && instruction.op1_kind() == OpKind::Register
            && instruction.op0_kind() == OpKind::Register;
        let source = if copied {
            bit(instruction.op1_register())
        } else {
            0
        };
        let copies = self.arguments.map(|places| places & source != 0);
        let written = used
            .iter()
            .filter(|used| writes(used.access()))
            .fold(0, |bits, used| bits | bit(used.register().full_register()));
        for (places, copied) in self.arguments.iter_mut().zip(copies) {
            *places &= !written;
            if copied {
                *places |= written;
            }
        }
        self.stack_pointer &= written & bit(Register::RSP) == 0;
    }
}

/// The bit of a 64-bit general register; none for other registers.
fn bit(register: Register) -> u16 {
    if register.is_gpr64() {
        1 << register.number()
    } else {
        0
    }
}

fn writes(access: OpAccess) -> bool {
    matches!(
        access,
        OpAccess::Write | OpAccess::CondWrite | OpAccess::ReadWrite | OpAccess::ReadCondWrite
    )
}

/// The offsets in `code` that a jump in it leads to. Calls are no jumps: they are new calls.
fn jump_targets(code: &[u8]) -> BTreeSet<u64> {
    decoder(code)
        .iter()
        .filter(|instruction| {
            matches!(
                instruction.flow_control(),
                FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch
            )
        })
        .map(|instruction| instruction.near_branch_target())
        .filter(|target| *target < code.len() as u64)
        .collect()
}

/// A decoder whose addresses are offsets from the entry.
fn decoder(code: &[u8]) -> Decoder<'_> {
    Decoder::with_ip(64, code, 0, DecoderOptions::NONE)
}

/// An instruction as text, in Intel syntax, with branch targets relative to the entry.
fn text(instruction: &Instruction) -> String {
    let mut formatter = IntelFormatter::new();
    let mut text = String::new();
    let target = instruction.near_branch_target() as i64;
    if target != 0 || instruction.is_jmp_short_or_near() || instruction.is_call_near() {
        formatter.format_mnemonic(instruction, &mut text);
        let sign = if target < 0 { '-' } else { '+' };
        return format!("{text} {sign}{:#x}", target.unsigned_abs());
    }
    formatter.format(instruction, &mut text);
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ENDBR64: [u8; 4] = [0xf3, 0x0f, 0x1e, 0xfa];
    const MALLOC: Call = Call::alloc(Arg::First);
    const FREE: Call = Call::free(Arg::First);

    fn chosen(code: &[u8], call: Call) -> Site {
        choose_site(code, Needs::of(&call)).expect("a site")
    }

    fn assert_site(site: &Site, offset: u32, instruction: &str, speed: Speed) {
        assert_eq!(
            (site.offset, site.instruction.as_str(), site.speed),
            (offset, instruction, speed),
            "{}",
            site.why
        );
    }

    #[test]
    fn a_push_at_the_entry_is_the_site() {
        assert_site(
            &chosen(&[0x41, 0x54, 0xc3], MALLOC),
            0,
            "push r12",
            Speed::Fast,
        );
    }

    #[test]
    fn endbr64_is_passed() {
        let code = [&ENDBR64[..], &[0x55, 0x5d, 0xc3]].concat();
        assert_site(&chosen(&code, MALLOC), 4, "push rbp", Speed::Fast);
    }

    /// As glibc's free: test, then a jump that is the site but is not passed.
    #[test]
    fn a_conditional_jump_is_the_site() {
        let code = [0x48, 0x85, 0xff, 0x74, 0x10, 0x55, 0x5d, 0xc3];
        assert_site(&chosen(&code, FREE), 3, "je +0x15", Speed::Fast);
    }

    #[test]
    fn a_tail_jump_at_the_entry_is_the_site() {
        let code = [0xe9, 0xfb, 0xff, 0xff, 0xff];
        let site = chosen(&code, FREE);
        assert_site(&site, 0, "jmp +0x0", Speed::Fast);
        assert!(site.repeats);
    }

    #[test]
    fn an_overwritten_argument_ends_the_search() {
        // mov edi, eax; push rbx
        let code = [0x89, 0xc7, 0x53, 0xc3];
        let site = chosen(&code, FREE);
        assert_site(&site, 0, "mov edi,eax", Speed::Slow);
        assert!(
            site.why.contains("mov edi,eax at +0x0 overwrites"),
            "{}",
            site.why
        );
        // The same function, were its second argument the one that is read.
        let second = chosen(&code, Call::alloc(Arg::Second));
        assert_site(&second, 2, "push rbx", Speed::Fast);
    }

    /// As mimalloc's malloc: the size goes to rsi to make room for the heap in rdi.
    #[test]
    fn an_argument_is_found_where_it_was_moved_to() {
        // mov rsi, rdi; mov rdi, fs:[rax]; ja +0x20
        let code = [0x48, 0x89, 0xfe, 0x64, 0x48, 0x8b, 0x38, 0x77, 0x20, 0xc3];
        let site = chosen(&code, MALLOC);
        assert_site(&site, 7, "ja +0x29", Speed::Fast);
        assert_eq!(site.call(&MALLOC), Call::alloc(Arg::Second));
        assert!(site.why.ends_with("argument of rdi in rsi"), "{}", site.why);
        // An array of whose two arguments one is overwritten has no such site.
        let array = Call::alloc_array(Arg::First, Arg::Second);
        assert_site(&chosen(&code, array), 0, "mov rsi,rdi", Speed::Slow);
    }

    #[test]
    fn half_a_register_is_no_copy() {
        // mov esi, edi; xor edi, edi; push rbx
        let code = [0x89, 0xfe, 0x31, 0xff, 0x53, 0xc3];
        assert_eq!(chosen(&code, MALLOC).speed, Speed::Slow);
    }

    #[test]
    fn a_moved_stack_pointer_matters_only_where_the_return_is_traced() {
        // sub rsp, 24; je +2
        let code = [0x48, 0x83, 0xec, 0x18, 0x74, 0x00, 0xc3];
        let site = chosen(&code, MALLOC);
        assert_site(&site, 0, "sub rsp,18h", Speed::Slow);
        assert!(
            site.why.contains("sub rsp,18h at +0x0 overwrites"),
            "{}",
            site.why
        );
        assert_site(&chosen(&code, FREE), 4, "je +0x6", Speed::Fast);
    }

    #[test]
    fn no_site_before_the_straight_line_ends() {
        // test rdi, rdi; jmp rax
        let site = chosen(&[0x48, 0x85, 0xff, 0xff, 0xe0, 0x55], FREE);
        assert_site(&site, 0, "test rdi,rdi", Speed::Slow);
        assert!(site.why.contains("jmp rax"), "{}", site.why);
    }

    #[test]
    fn a_jump_to_the_site_or_before_it_rules_it_out() {
        // test rdi, rdi; push rbx; jne back to the push
        let to_the_site = [0x48, 0x85, 0xff, 0x53, 0x75, 0xfd, 0xc3];
        assert_site(
            &chosen(&to_the_site, MALLOC),
            0,
            "test rdi,rdi",
            Speed::Slow,
        );
        // nop rax; test rdi, rdi; push rbx; jne back to the test
        let before_it = [0x48, 0x89, 0xc0, 0x48, 0x85, 0xff, 0x53, 0x75, 0xfa, 0xc3];
        let site = chosen(&before_it, MALLOC);
        assert_site(&site, 0, "mov rax,rax", Speed::Slow);
        assert!(site.why.contains("a jump leads to +0x3"), "{}", site.why);
        // The jump stays, but the site is before its target.
        let after_it = [0x53, 0x48, 0x85, 0xff, 0x75, 0xfb, 0xc3];
        assert_site(&chosen(&after_it, MALLOC), 0, "push rbx", Speed::Fast);
    }

    #[test]
    fn a_loop_back_to_the_entry_is_told() {
        // test rdi, rdi; je +1; ret; jmp to the entry
        let code = [0x48, 0x85, 0xff, 0x74, 0x01, 0xc3, 0xeb, 0xf8];
        let site = chosen(&code, FREE);
        assert_site(&site, 3, "je +0x6", Speed::Fast);
        assert!(site.repeats);
    }

    #[test]
    fn a_push_with_a_size_prefix_is_not_the_site() {
        // push di; push rbx
        let code = [0x66, 0x57, 0x53, 0xc3];
        assert_site(&chosen(&code, FREE), 2, "push rbx", Speed::Fast);
        assert_site(&chosen(&code, MALLOC), 0, "push di", Speed::Slow);
    }

    #[test]
    fn a_long_nop_serves_only_where_nothing_older_does() {
        let nop = [0x0f, 0x1f, 0x44, 0x00, 0x00];
        let then_push = [&nop[..], &[0x55, 0xc3]].concat();
        assert_site(&chosen(&then_push, MALLOC), 5, "push rbp", Speed::Fast);
        let then_ret = [&nop[..], &[0xc3]].concat();
        let site = chosen(&then_ret, MALLOC);
        assert_site(&site, 0, "nop [rax+rax]", Speed::Fast);
        assert!(site.why.contains("6.16"), "{}", site.why);
        // mov [rsp-8], rax; nop; ret: the nop may not be turned into a call.
        let after_store = [&[0x48, 0x89, 0x44, 0x24, 0xf8][..], &nop, &[0xc3]].concat();
        assert_eq!(chosen(&after_store, MALLOC).speed, Speed::Slow);
    }

    #[test]
    fn nops_of_every_length_are_passed_without_harm() {
        let nops: [&[u8]; 9] = [
            &[0x66, 0x90],
            &[0x0f, 0x1f, 0x00],
            &[0x0f, 0x1f, 0x40, 0x00],
            &[0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x66, 0x0f, 0x1f, 0x44, 0x00, 0x00],
            &[0x0f, 0x1f, 0x80, 0, 0, 0, 0],
            &[0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
            &[0x66, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
            &[0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
        ];
        for nop in nops {
            let code = [nop, &[0x55, 0xc3]].concat();
            assert_site(
                &chosen(&code, MALLOC),
                nop.len() as u32,
                "push rbp",
                Speed::Fast,
            );
        }
        assert_site(&chosen(&[0x90, 0xc3], MALLOC), 0, "nop", Speed::Fast);
    }

    #[test]
    fn what_cannot_be_probed_is_an_error() {
        let needs = Needs::of(&MALLOC);
        assert_eq!(choose_site(&[], needs), Err(SiteError::Undecodable));
        assert_eq!(choose_site(&[0x06], needs), Err(SiteError::Undecodable));
        assert_eq!(
            choose_site(&[0xcc, 0xc3], needs),
            Err(SiteError::Refused("int3".to_owned()))
        );
        assert_eq!(
            choose_site(&[0xf4], needs),
            Err(SiteError::Refused("hlt".to_owned()))
        );
    }

    proptest! {
        /// Random bytes never panic, and the site is an instruction on the straight line.
        #[test]
        fn a_site_is_an_instruction_on_the_straight_line(
            code in prop::collection::vec(any::<u8>(), 0..64),
            arguments: [bool; 4],
            stack_pointer: bool,
        ) {
            let Ok(site) = choose_site(&code, Needs { arguments, stack_pointer }) else {
                return Ok(());
            };
            let mut at = None;
            for instruction in &mut decoder(&code) {
                if instruction.ip() == u64::from(site.offset) {
                    at = Some(instruction.len());
                    break;
                }
                prop_assert_eq!(instruction.flow_control(), FlowControl::Next);
            }
            let length = at.expect("an instruction boundary");
            let bytes = &code[site.offset as usize..site.offset as usize + length];
            prop_assert_eq!(
                site.speed == Speed::Fast,
                matches!(handling(bytes), Handling::Emulated | Handling::EmulatedLately)
            );
            prop_assert!(site.offset == 0 || !jump_targets(&code).contains(&u64::from(site.offset)));
        }

        /// Prologues made of ordinary instructions: what was written before the site was not needed.
        #[test]
        fn needed_registers_survive_to_the_site(
            pieces in prop::collection::vec(0usize..8, 0..12),
            arguments: [bool; 4],
            stack_pointer: bool,
        ) {
            // Each piece with the needs it breaks: rdi, rsi, rdx, rcx, rsp.
            let menu: [(&[u8], [bool; 5]); 8] = [
                (&[0x48, 0x89, 0xf8], [false; 5]),                             // mov rax, rdi
                (&[0x40, 0xb7, 0x01], [true, false, false, false, false]),     // mov dil, 1
                (&[0x31, 0xf6], [false, true, false, false, false]),           // xor esi, esi
                (&[0x48, 0xf7, 0xe6], [false, false, true, false, false]),     // mul rsi
                (&[0xb5, 0x07], [false, false, false, true, false]),           // mov ch, 7
                (&[0x48, 0x83, 0xec, 0x08], [false, false, false, false, true]), // sub rsp, 8
                (&[0xff, 0x30], [false, false, false, false, true]),           // push [rax]
                (&[0x48, 0x85, 0xff], [false; 5]),                             // test rdi, rdi
            ];
            let needed = [arguments[0], arguments[1], arguments[2], arguments[3], stack_pointer];
            let mut code = Vec::new();
            let mut broken = false;
            for piece in &pieces {
                code.extend_from_slice(menu[*piece].0);
                broken |= menu[*piece].1.iter().zip(needed).any(|(breaks, needs)| *breaks && needs);
            }
            let end = code.len() as u32;
            code.extend_from_slice(&[0x55, 0xc3]);
            let site = choose_site(&code, Needs { arguments, stack_pointer }).expect("a site");
            prop_assert_eq!(site.offset, if broken { 0 } else { end });
            prop_assert_eq!(site.speed == Speed::Fast, !broken || end == 0);
        }
    }
}
