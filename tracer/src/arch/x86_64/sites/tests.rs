//! Choosing sites: hand-written code, random code.

use proptest::prelude::*;

use super::*;
use tracer_common::call::Call;

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
    assert_eq!(
        choose_site(&[], needs),
        Err(SiteError::Undecodable(Arch::X86_64))
    );
    assert_eq!(
        choose_site(&[0x06], needs),
        Err(SiteError::Undecodable(Arch::X86_64))
    );
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
        for instruction in &mut decoder(&code, 0) {
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
