//! The rules, the step and the search, on arrays.

use proptest::prelude::*;

use super::*;
use crate::limits::MAX_DEPTH;
use crate::stack::{End, Memory, Registers, hash_end, hash_frame};

const STACK: u64 = 0x7000_0000;
const CODE: u64 = 0x40_0000;

/// A stack at `STACK` that counts reads outside of it.
struct Words(Vec<u64>);

impl Memory for Words {
    fn read(&mut self, addr: u64) -> Option<u64> {
        let offset = addr.checked_sub(STACK)?;
        let index = usize::try_from(offset / 8).ok()?;
        (offset & 7 == 0).then(|| self.0.get(index).copied())?
    }
}

/// The three arrays; an index outside is no element.
#[derive(Clone, Debug, Default)]
struct Arrays {
    mappings: Vec<Mapping>,
    buckets: Vec<u64>,
    rows: Vec<u64>,
    reads: u32,
}

impl Source for Arrays {
    fn mapping(&mut self, index: u32) -> Option<Mapping> {
        self.reads += 1;
        self.mappings.get(index as usize).copied()
    }
    fn bucket(&mut self, index: u32) -> Option<u64> {
        self.reads += 1;
        self.buckets.get(index as usize).copied()
    }
    fn row(&mut self, index: u32) -> Option<u64> {
        self.reads += 1;
        self.rows.get(index as usize).copied()
    }
}

impl Tables for Arrays {
    fn rule(&mut self, lookup_address: u64) -> Rule {
        let count = self.mappings.len() as u32;
        find_rule(self, Range { first: 0, count }, lookup_address)
    }
}

/// Registers with `sp` and `bp` given in words from the stack's start.
fn at(sp: u64, bp: u64) -> Registers {
    Registers {
        ip: CODE,
        sp: STACK + sp * 8,
        bp: STACK + bp * 8,
    }
}

fn stepped(registers: Registers, rule: Rule, words: &[u64]) -> Result<(Registers, Position), End> {
    let (mut registers, mut position) = (registers, Position::INSTRUCTION);
    step(
        &mut registers,
        &mut position,
        rule,
        &mut Words(words.to_vec()),
    )
    .map(|()| (registers, position))
}

fn caller(ip: u64, sp: u64, bp: u64) -> Registers {
    Registers { ip, ..at(sp, bp) }
}

#[test]
fn stack_pointer_rule_with_and_without_saved_frame_pointer() {
    let words = [0, STACK + 72, CODE + 5, 0];
    let rule = Rule::rsp(24, 0).expect("fits");
    let call = Position::CALL;
    assert_eq!(
        stepped(at(0, 1), rule, &words),
        Ok((caller(CODE + 5, 3, 1), call))
    );
    let rule = Rule::rsp(24, 16).expect("fits");
    assert_eq!(
        stepped(at(0, 1), rule, &words),
        Ok((caller(CODE + 5, 3, 9), call))
    );
    assert_eq!(
        stepped(at(2, 1), Rule::ENTRY, &words),
        Ok((caller(CODE + 5, 3, 1), call))
    );
}

#[test]
fn frame_pointer_rule_and_missing_information() {
    let words = [0, 0, STACK + 72, CODE + 5, 0];
    let expected = Ok((caller(CODE + 5, 4, 9), Position::CALL));
    let rule = Rule::rbp(16, 16).expect("fits");
    assert_eq!(stepped(at(0, 2), rule, &words), expected);
    let guessed = Ok((caller(CODE + 5, 4, 9), Position::CALL_BY_FRAME_POINTER));
    assert_eq!(stepped(at(0, 2), Rule::NO_FDE, &words), guessed);
    // The same registers, where rbp holds something else.
    assert_eq!(
        stepped(at(3, 2), Rule::NO_FDE, &words),
        Err(End::BadFramePointer)
    );
    assert_eq!(stepped(at(3, 1), rule, &words), Err(End::BadStackPointer));
}

/// Without a table a zero in rbp, or behind what rbp points to, ends the stack only where frame pointers have led
/// there.
#[test]
fn zeros_end_a_stack_only_where_frame_pointers_are_kept() {
    let end = |registers: Registers, position: Position| {
        let (mut registers, mut position) = (registers, position);
        let words = &mut Words(vec![0; 8]);
        step(&mut registers, &mut position, Rule::NO_FDE, words)
    };
    let zero = Registers { bp: 0, ..at(0, 0) };
    let stack_address = at(0, 2);
    for position in [Position::CALL, Position::INSTRUCTION] {
        assert_eq!(end(zero, position), Err(End::BadFramePointer));
        assert_eq!(end(stack_address, position), Err(End::BadReturnAddress));
    }
    let led = Position::CALL_BY_FRAME_POINTER;
    assert_eq!(end(zero, led), Err(End::Complete));
    assert_eq!(end(stack_address, led), Err(End::Complete));
}

#[test]
fn procedure_linkage_slots_push_from_their_threshold_on() {
    let words = [CODE + 1, CODE + 2, 0];
    for (low, threshold, ip) in [
        (10, 11, CODE + 1),
        (11, 11, CODE + 2),
        (9, 10, CODE + 1),
        (10, 10, CODE + 2),
    ] {
        let registers = Registers {
            ip: CODE + 0x20 + low,
            ..at(0, 0)
        };
        let next = stepped(registers, Rule::plt(threshold), &words).map(|(next, _)| next.ip);
        assert_eq!(next, Ok(ip), "byte {low}, threshold {threshold}");
    }
}

#[test]
fn aligned_stacks_are_found_through_memory() {
    // [rsp + 8] holds the stack pointer as it was, the CFA is 8 above; rbp is saved below it.
    let words = [
        0,
        STACK + 40,
        0,
        0,
        STACK + 72,
        CODE + 5,
        STACK + 48,
        STACK + 80,
        0,
    ];
    let rule = Rule::deref_rsp(8, 8, 16).expect("fits");
    let call = Position::CALL;
    assert_eq!(
        stepped(at(0, 0), rule, &words),
        Ok((caller(CODE + 5, 6, 9), call))
    );
    let rule = Rule::deref_rbp(-8, 0).expect("fits");
    assert_eq!(
        stepped(at(0, 7), rule, &words),
        Ok((caller(CODE + 5, 6, 10), call))
    );
    assert_eq!(
        stepped(at(0, 70), rule, &words),
        Err(End::Unreadable),
        "rbp outside the stack"
    );
}

#[test]
fn a_signal_frame_may_lead_to_another_stack() {
    let mut words = vec![0; 40];
    words[30 + 15 - 8] = 0;
    let frame = 10;
    words[frame + 15] = STACK + 16; // rbp
    words[frame + 20] = STACK + 8; // rsp, below the handler's
    words[frame + 21] = CODE + 7; // rip
    let interrupted = stepped(at(frame as u64, 0), Rule::SIGNAL, &words);
    assert_eq!(
        interrupted,
        Ok((caller(CODE + 7, 1, 2), Position::INSTRUCTION))
    );
    words[frame + 21] = 0;
    let through_null = stepped(at(frame as u64, 0), Rule::SIGNAL, &words);
    assert_eq!(through_null, Err(End::BadReturnAddress));
}

#[test]
fn rules_that_lead_nowhere_say_why() {
    for (rule, end) in [
        (Rule::STOP, End::Complete),
        (Rule::UNSUPPORTED, End::UnsupportedRule),
        (Rule::NO_MAPPING, End::NoMapping),
        (Rule::RETURN_PROBE, End::ReturnProbe),
        (Rule::NO_TABLE, End::NoTable),
        (Rule(15), End::UnsupportedRule),
        (Rule(Kind::Rsp as u32), End::BadStackPointer),
    ] {
        assert_eq!(stepped(at(0, 0), rule, &[CODE; 4]), Err(end), "{rule:?}");
    }
}

#[test]
fn a_return_address_of_zero_completes_and_an_impossible_one_does_not() {
    assert_eq!(stepped(at(0, 0), Rule::ENTRY, &[0]), Err(End::Complete));
    assert_eq!(
        stepped(at(0, 0), Rule::ENTRY, &[5]),
        Err(End::BadReturnAddress)
    );
    assert_eq!(stepped(at(1, 0), Rule::ENTRY, &[5]), Err(End::Unreadable));
}

/// A call at the end of a function that does not return: the address behind it is the next function's.
#[test]
fn return_addresses_are_looked_up_inside_the_call() {
    let rule = Rule::rsp(8, 0).expect("fits");
    let mut tables = Arrays {
        mappings: vec![Mapping {
            start: CODE,
            end: CODE + 256,
            bias: CODE,
            first_bucket: 0,
            buckets: 1,
        }],
        buckets: vec![bucket(1, 2)],
        rows: vec![row(0, rule), row(0x10, Rule::UNSUPPORTED)],
        reads: 0,
    };
    let mut memory = Words(vec![CODE + 0x10, 0]);
    let (mut registers, mut position) = (at(0, 0), Position::ENTRY);
    let mut turn =
        |registers: &mut _, position: &mut _| unwind(registers, position, &mut tables, &mut memory);
    assert_eq!(turn(&mut registers, &mut position), Ok(()));
    assert_eq!((registers.ip, position), (CODE + 0x10, Position::CALL));
    assert_eq!(turn(&mut registers, &mut position), Err(End::Complete));
    position = Position::INSTRUCTION;
    assert_eq!(
        turn(&mut registers, &mut position),
        Err(End::UnsupportedRule)
    );
}

#[test]
fn what_does_not_fit_is_no_rule() {
    assert_eq!(Rule::rsp(12, 0), None);
    assert_eq!(Rule::rsp(MAX_CFA_OFFSET + 8, 0), None);
    assert_eq!(Rule::rbp(16, 20), None);
    assert_eq!(Rule::rbp(16, 512), None);
    assert_eq!(Rule::deref_rsp(8 << 15, 0, 0), None);
    assert_eq!(Rule::deref_rsp(0, 512, 0), None);
    assert_eq!(Rule::deref_rbp(-4, 0), None);
    let largest = Rule::rbp(MAX_CFA_OFFSET, 504).expect("fits");
    assert_eq!(
        (largest.cfa_offset(), largest.rbp_below()),
        (MAX_CFA_OFFSET, 504)
    );
}

/// Stored stacks are found again by their hash: it must not depend on what ends were added.
#[test]
fn hashes_and_numbers_of_ends_are_stable() {
    let hash = |end| hash_end(hash_frame(hash_frame(0, CODE), CODE + 5), end);
    assert_eq!(hash(End::Complete), 0x4312_40b3_f593_f52d);
    for (number, end) in [
        (1, End::Complete),
        (5, End::BadReturnAddress),
        (6, End::NoMapping),
        (7, End::UnsupportedRule),
        (8, End::BadStackPointer),
        (9, End::ReturnProbe),
        (10, End::NoTable),
    ] {
        assert_eq!(end as u32, number);
        assert_eq!(End::from_raw(number), end);
        assert_eq!(end.clause().is_none(), end == End::Complete);
    }
    assert_eq!(End::from_raw(99), End::Unreadable);
}

#[test]
fn a_full_set_of_mappings_is_searched_to_its_ends() {
    let mapping =
        |i: u64| Mapping::uniform(i * 0x2000, i * 0x2000 + 0x1000, Rule::plt((i & 15) as u32));
    let mut tables = Arrays {
        mappings: (1..=u64::from(MAX_MAPPINGS)).map(mapping).collect(),
        ..Arrays::default()
    };
    for i in 1..=u64::from(MAX_MAPPINGS) {
        let rule = Rule::plt((i & 15) as u32);
        assert_eq!(tables.rule(i * 0x2000), rule);
        assert_eq!(tables.rule(i * 0x2000 + 0xfff), rule);
        assert_eq!(tables.rule(i * 0x2000 + 0x1000), Rule::NO_MAPPING);
    }
    assert_eq!(tables.rule(0x1fff), Rule::NO_MAPPING);
}

#[test]
fn a_bucket_with_a_row_for_every_byte_is_searched_to_its_ends() {
    let rows: Vec<u64> = (0..1024)
        .map(|i| row(i, Rule::rsp(u64::from(i) * 8, 0).expect("fits")))
        .collect();
    let mut tables = Arrays {
        mappings: vec![Mapping {
            start: CODE,
            end: CODE + 1024,
            bias: CODE,
            first_bucket: 0,
            buckets: 4,
        }],
        buckets: (0..4).map(|b| bucket(b * 256 + 1, b * 256 + 256)).collect(),
        rows,
        reads: 0,
    };
    for i in 0..1024 {
        assert_eq!(tables.rule(CODE + i).cfa_offset(), i * 8);
    }
}

#[test]
fn moved_buckets_find_moved_rows() {
    assert_eq!(bucket_rebased(bucket(1, 5), 1000), bucket(1001, 1005));
}

prop_compose! {
    fn any_rule()(kind in 0u32..16, slot in 0u32..4, operand in 0u32..8) -> Rule {
        Rule(kind | slot << 4 | operand << 10)
    }
}

prop_compose! {
    /// Tables that may say anything, with indices that often lead outside.
    fn any_tables()(
        mappings in prop::collection::vec((0u64..64, 0u64..64, 0u64..64, 0u32..12, 0u32..4), 0..8),
        buckets in prop::collection::vec((0u32..40, 0u32..40, any::<bool>()), 0..12),
        rows in prop::collection::vec((0u32..1024, any_rule()), 0..32),
    ) -> Arrays {
        Arrays {
            mappings: mappings.into_iter().map(|(start, end, bias, first_bucket, buckets)| Mapping {
                start: CODE + start * 16, end: CODE + end * 16, bias: CODE + bias * 16 - 128, first_bucket, buckets,
            }).collect(),
            buckets: buckets.into_iter().map(|(first, end, wild)| if wild { !bucket(first, end) } else { bucket(first, end) }).collect(),
            rows: rows.into_iter().map(|(address, rule)| row(address, rule)).collect(),
            reads: 0,
        }
    }
}

proptest! {
    #[test]
    fn register_rules_read_back(n in 0..=MAX_CFA_OFFSET / 8, slot in 0u64..64, by_rbp: bool) {
        let (n, below) = (n * 8, slot * 8);
        let rule = if by_rbp { Rule::rbp(n, below) } else { Rule::rsp(n, below) }.expect("fits");
        prop_assert_eq!(rule.kind(), if by_rbp { Kind::Rbp } else { Kind::Rsp });
        prop_assert_eq!((rule.cfa_offset(), rule.rbp_below()), (n, below));
    }

    #[test]
    fn dereferencing_rules_read_back(n: i16, m in 0u64..64, slot in 0u64..64) {
        let rule = Rule::deref_rsp(i64::from(n) * 8, m * 8, slot * 8).expect("fits");
        prop_assert_eq!(rule.kind(), Kind::DerefRsp);
        prop_assert_eq!(rule.deref_offset() as i64, i64::from(n) * 8);
        prop_assert_eq!((rule.deref_plus(), rule.rbp_below()), (m * 8, slot * 8));
    }

    #[test]
    fn any_number_is_a_rule_of_its_kind(number: u32) {
        let rule = Rule(number);
        prop_assert!(rule.kind() as u32 == rule.kind_number() || rule.kind() == Kind::Unsupported);
    }

    /// The search in well-formed tables agrees with a linear one.
    #[test]
    fn search_agrees_with_a_linear_one(starts in prop::collection::btree_set(1u32..2048, 0..300), looked in 0u32..2100) {
        let mut rows = vec![row(0, Rule::NO_FDE)];
        rows.extend(starts.iter().map(|start| row(*start, Rule::rsp(u64::from(*start) * 8, 0).expect("fits"))));
        let behind = |address: u32| rows.iter().position(|row| row_address(*row) >= address).unwrap_or(rows.len()) as u32;
        let buckets = (0..8).map(|b| bucket(behind(b * 256 + 1), behind(b * 256 + 256))).collect();
        let expected = match looked {
            0..2048 => rows.iter().rfind(|row| row_address(**row) <= looked).map(|row| row_rule(*row)),
            _ => Some(Rule::NO_FDE),
        };
        let mapping = Mapping { start: CODE, end: CODE + 4096, bias: CODE, first_bucket: 0, buckets: 8 };
        let mut tables = Arrays { mappings: vec![mapping], buckets, rows: rows.clone(), reads: 0 };
        prop_assert_eq!(Some(tables.rule(CODE + u64::from(looked))), expected);
        prop_assert!(tables.reads <= MAPPING_STEPS + ROW_STEPS + 3);
    }

    /// Whatever the tables say, a search reads a bounded number of elements and never leaves the arrays.
    #[test]
    fn malformed_tables_are_searched_in_bounded_steps(mut tables in any_tables(), address in 0u64..2048, range: (u32, u32)) {
        let range = Range { first: range.0, count: range.1 };
        find_rule(&mut tables, range, CODE - 64 + address);
        prop_assert!(tables.reads <= MAPPING_STEPS + ROW_STEPS + 3, "{} reads", tables.reads);
        tables.rule(CODE - 64 + address);
        prop_assert!(tables.reads <= 2 * (MAPPING_STEPS + ROW_STEPS + 3), "{} reads", tables.reads);
    }

    /// Whatever tables and stack hold, a walk ends with a reason, and it moves up the stack between signal frames.
    #[test]
    fn every_walk_ends_with_a_reason(
        mut tables in any_tables(),
        words in prop::collection::vec(prop_oneof![0u64..4, (0u64..96).prop_map(|w| STACK + w * 8), (0u64..1024).prop_map(|c| CODE + c), any::<u64>()], 0..96),
        sp in 0u64..64, bp in 0u64..64, position in 0u32..5,
    ) {
        let mut memory = Words(words);
        let (mut registers, mut position) = (at(sp, bp), Position(position));
        let mut end = End::TooDeep;
        for _ in 0..MAX_DEPTH {
            let before = (registers, position);
            match unwind(&mut registers, &mut position, &mut tables, &mut memory) {
                Err(reason) => {
                    prop_assert_eq!((registers, position), before, "a failed step changes nothing");
                    end = reason;
                    break;
                }
                Ok(()) => {
                    prop_assert!(registers.sp > before.0.sp || position == Position::INSTRUCTION);
                    prop_assert_eq!(registers.sp & 7, 0);
                }
            }
        }
        prop_assert_ne!(end, End::Walking);
    }
}
