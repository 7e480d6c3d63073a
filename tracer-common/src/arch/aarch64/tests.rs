//! The rules and the step, on arrays.

use proptest::prelude::*;

use super::*;
use crate::stack::{End, Memory};
use crate::unwind::{Kind, Position, Rule, Tables};

const STACK: u64 = 0xffff_7000_0000;
const CODE: u64 = 0xaaaa_0040_0000;
/// A pointer authentication code.
const SIGNED: u64 = 0x002a_0000_0000_0000;

/// A stack at `STACK`.
struct Words(Vec<u64>);

impl Memory for Words {
    fn read(&mut self, addr: u64) -> Option<u64> {
        let offset = addr.checked_sub(STACK)?;
        let index = usize::try_from(offset / 8).ok()?;
        (offset & 7 == 0).then(|| self.0.get(index).copied())?
    }
}

/// Code that has one rule.
struct One(Rule);

impl Tables for One {
    fn rule(&mut self, _lookup_address: u64) -> Rule {
        self.0
    }
}

/// Registers with `sp` and `x29` given in words from the stack's start.
fn at(sp: u64, bp: u64, lr: u64) -> Registers {
    Registers {
        ip: CODE,
        sp: STACK + sp * 8,
        bp: STACK + bp * 8,
        lr,
    }
}

fn caller(ip: u64, sp: u64, bp: u64) -> Registers {
    Registers {
        ip,
        ..at(sp, bp, 0)
    }
}

fn stepped(
    registers: Registers,
    position: Position,
    rule: Rule,
    words: &[u64],
) -> Result<(Registers, Position), End> {
    let (mut registers, mut position) = (registers, position);
    let memory = &mut Words(words.to_vec());
    step(&mut registers, &mut position, rule, memory).map(|()| (registers, position))
}

fn rule(base: Base, n: u64, saved: Saved) -> Rule {
    Rule::frame(base, n, saved).expect("fits")
}

use Base::{FramePointer, StackPointer};
const CALL: Position = Position::CALL;
const INSTRUCTION: Position = Position::INSTRUCTION;

/// Before `stp x29, x30, [sp, #-32]!`, and in functions that call nothing.
#[test]
fn a_function_without_a_frame_returns_by_the_link_register() {
    let leaf = rule(StackPointer, 0, Saved::Nothing);
    assert_eq!(leaf, ENTRY);
    let registers = at(1, 2, CODE + 8);
    let found = Ok((caller(CODE + 8, 1, 2), CALL));
    assert_eq!(stepped(registers, INSTRUCTION, leaf, &[]), found);
    let (mut entered, mut position) = (registers, Position::ENTRY);
    let unsupported = &mut One(Rule::UNSUPPORTED);
    let memory = &mut Words(Vec::new());
    assert_eq!(
        unwind(&mut entered, &mut position, unsupported, memory),
        Ok(())
    );
    assert_eq!(Ok((entered, position)), found);
    // sub sp, sp, #16
    let with_room = rule(StackPointer, 16, Saved::Nothing);
    assert_eq!(
        stepped(registers, INSTRUCTION, with_room, &[]),
        Ok((caller(CODE + 8, 3, 2), CALL))
    );
}

/// Behind a call `x30` is the callee's.
#[test]
fn the_link_register_is_not_used_behind_a_call() {
    let registers = at(1, 2, CODE + 8);
    let leaf = rule(StackPointer, 0, Saved::Nothing);
    let with_room = rule(StackPointer, 16, Saved::Nothing);
    assert_eq!(
        stepped(registers, CALL, leaf, &[]),
        Err(End::BadStackPointer)
    );
    assert_eq!(
        stepped(registers, CALL, with_room, &[]),
        Err(End::BadReturnAddress)
    );
}

/// `stp x29, x30, [sp, #-32]!`: the record is at the lower end; `sub sp, sp, #32; stp x29, x30, [sp, #16]`: at the
/// upper.
#[test]
fn frame_records_are_found_at_either_end_of_a_frame() {
    let words = [STACK + 64, CODE + 8, STACK + 72, CODE + 16, 0];
    let lower = rule(StackPointer, 32, Saved::Record(24));
    assert_eq!(
        stepped(at(0, 0, 0), CALL, lower, &words),
        Ok((caller(CODE + 8, 4, 8), CALL))
    );
    let upper = rule(FramePointer, 16, Saved::Record(8));
    assert_eq!(
        stepped(at(0, 2, 0), CALL, upper, &words),
        Ok((caller(CODE + 16, 4, 9), CALL))
    );
    let link_only = rule(StackPointer, 32, Saved::Link(24));
    assert_eq!(
        stepped(at(0, 7, 0), CALL, link_only, &words),
        Ok((caller(CODE + 8, 4, 7), CALL))
    );
    let frame_pointer_only = rule(StackPointer, 32, Saved::FramePointer(32));
    assert_eq!(
        stepped(at(0, 7, CODE + 4), INSTRUCTION, frame_pointer_only, &words),
        Ok((caller(CODE + 4, 4, 8), CALL))
    );
}

/// A frame of 1 MiB with the record at its lower end.
#[test]
fn large_frames_are_told_from_their_base() {
    let large = rule(StackPointer, 1 << 20, Saved::Record((1 << 20) - 8));
    let words = [STACK + 64, CODE + 8];
    let found = stepped(at(0, 0, 0), CALL, large, &words).map(|(found, _)| found);
    assert_eq!(found, Ok(caller(CODE + 8, 1 << 17, 8)));
    for (n, saved) in [
        (4096, Saved::Record(2048)),
        (20, Saved::Nothing),
        (32, Saved::Link(12)),
        (MAX_CFA_OFFSET + 8, Saved::Nothing),
        (16, Saved::FramePointer(1024)),
    ] {
        assert_eq!(Rule::frame(StackPointer, n, saved), None, "{n} {saved:?}");
    }
}

#[test]
fn signed_return_addresses_lose_their_codes() {
    let words = [STACK + 64, SIGNED | (CODE + 8), 0, 0];
    let lower = rule(StackPointer, 32, Saved::Record(24));
    let found = stepped(at(0, 0, 0), CALL, lower, &words).map(|(found, _)| found.ip);
    assert_eq!(found, Ok(CODE + 8));
    let kernel = 0xffff_8000_0000_1234;
    assert_eq!(unsigned(kernel), kernel);
    let words = [STACK + 64, kernel, 0, 0];
    assert_eq!(
        stepped(at(0, 0, 0), CALL, lower, &words),
        Err(End::BadReturnAddress)
    );
}

/// Where a frame record led, the stack pointer is not known: rules that go by it are followed by the record.
#[test]
fn after_a_step_by_frame_record_the_stack_pointer_is_not_trusted() {
    let words = [
        0,
        0,
        STACK + 48,
        CODE + 8,
        0,
        0,
        STACK + 80,
        CODE + 16,
        0,
        0,
        0,
        0,
    ];
    let led = Position::CALL_BY_FRAME_POINTER;
    let first = stepped(at(0, 2, 0), CALL, Rule::NO_FDE, &words).expect("a record");
    assert_eq!(first, (caller(CODE + 8, 4, 6), led));
    let lower = rule(StackPointer, 64, Saved::Record(56));
    assert_eq!(
        stepped(first.0, led, lower, &words),
        Ok((caller(CODE + 16, 8, 10), led))
    );
    let leafless = rule(StackPointer, 64, Saved::Link(56));
    assert_eq!(
        stepped(first.0, led, leafless, &words),
        Err(End::BadFramePointer)
    );
    // By x29 the frame address is known again.
    let upper = rule(FramePointer, 32, Saved::Record(24));
    assert_eq!(
        stepped(first.0, led, upper, &words),
        Ok((caller(CODE + 16, 10, 10), CALL))
    );
}

#[test]
fn zeros_end_a_stack_only_where_frame_records_are_kept() {
    let end = |bp: u64, position| {
        let registers = Registers { bp, ..at(0, 0, 0) };
        stepped(registers, position, Rule::NO_FDE, &[0; 8])
    };
    for position in [CALL, INSTRUCTION] {
        assert_eq!(end(0, position), Err(End::BadFramePointer));
        assert_eq!(end(STACK + 16, position), Err(End::BadReturnAddress));
    }
    let led = Position::CALL_BY_FRAME_POINTER;
    assert_eq!(end(0, led), Err(End::Complete));
    assert_eq!(end(STACK + 16, led), Err(End::Complete));
    assert_eq!(end(STACK + 4, led), Err(End::BadFramePointer));
}

#[test]
fn a_signal_frame_may_lead_to_another_stack_and_has_a_link_register() {
    let mut words = vec![0; 80];
    words[4 + 68] = STACK + 16; // x29
    words[4 + 69] = CODE + 12; // x30
    words[4 + 70] = STACK + 8; // sp, below the handler's
    words[4 + 71] = CODE + 7 * 4; // pc
    let interrupted = Registers {
        ip: CODE + 7 * 4,
        ..at(1, 2, CODE + 12)
    };
    assert_eq!(
        stepped(at(4, 0, 0), CALL, Rule::SIGNAL, &words),
        Ok((interrupted, INSTRUCTION))
    );
    words[4 + 71] = 0;
    assert_eq!(
        stepped(at(4, 0, 0), CALL, Rule::SIGNAL, &words),
        Err(End::BadReturnAddress)
    );
}

#[test]
fn rules_that_lead_nowhere_say_why() {
    for (rule, end) in [
        (Rule::STOP, End::Complete),
        (Rule::UNSUPPORTED, End::UnsupportedRule),
        (Rule::NO_MAPPING, End::NoMapping),
        (Rule::RETURN_PROBE, End::ReturnProbe),
        (Rule::NO_TABLE, End::NoTable),
        (Rule::INTERPRETED, End::UnsupportedRule),
        (Rule(Kind::Rsp as u32), End::UnsupportedRule),
        (Rule(15), End::UnsupportedRule),
    ] {
        assert_eq!(
            stepped(at(0, 0, 0), CALL, rule, &[CODE; 4]),
            Err(end),
            "{rule:?}"
        );
    }
}

/// Small numbers, addresses of the stack and of code, and anything.
fn any_word() -> impl Strategy<Value = u64> {
    prop_oneof![
        0u64..4,
        (0u64..96).prop_map(|word| STACK + word * 8),
        (0u64..1024).prop_map(|byte| CODE + byte),
        any::<u64>(),
    ]
}

proptest! {
    /// What was packed is where it was said to be.
    #[test]
    fn rules_read_back(n in 0u64..1 << 19, below in 0u64..1 << 12, what in 0u8..4, by_frame_pointer: bool) {
        let (n, below) = (n * 8, below * 8);
        let saved = match what {
            0 => Saved::Nothing,
            1 => Saved::Link(below),
            2 => Saved::Record(below),
            _ => Saved::FramePointer(below),
        };
        let base = if by_frame_pointer { FramePointer } else { StackPointer };
        let Some(rule) = Rule::frame(base, n, saved) else {
            prop_assert!(below >= 64 * 8 && (below > n || n - below >= 64 * 8));
            return Ok(());
        };
        prop_assert_eq!(rule.kind(), if by_frame_pointer { Kind::Fp } else { Kind::Sp });
        prop_assert_eq!(rule.offset(), n);
        let cfa = STACK + n;
        let (link, frame_pointer) = match saved {
            Saved::Nothing => (0, 0),
            Saved::Link(below) => (cfa - below, 0),
            Saved::Record(below) => (cfa - below, cfa - below - 8),
            Saved::FramePointer(below) => (0, cfa - below),
        };
        prop_assert_eq!(rule.link_at(STACK, cfa), link);
        prop_assert_eq!(rule.frame_pointer_at(STACK, cfa), frame_pointer);
    }

    /// Whatever rules and stack hold, a step that is done moves up, but for those that may not.
    #[test]
    fn every_walk_moves_up(
        number: u32,
        kind in prop_oneof![Just(13u32), Just(14), Just(0), Just(6), 0u32..16],
        words in prop::collection::vec(any_word(), 0..96),
        sp in 0u64..64, bp in 0u64..64, lr: u64, position in 0u32..5,
    ) {
        let rule = Rule(number & !15 & 0xf_ffff | kind);
        let (before, position) = (at(sp, bp, lr), Position(position));
        if let Ok((after, next)) = stepped(before, position, rule, &words) {
            let may_stay = next == INSTRUCTION || position.0 & 1 == 0;
            prop_assert!(after.sp > before.sp || may_stay && (after.sp == before.sp || next == INSTRUCTION));
            prop_assert_eq!(after.sp & 7, 0);
            prop_assert!(is_code_address(after.ip));
            prop_assert!(next == INSTRUCTION || after.lr == 0);
        }
    }
}
