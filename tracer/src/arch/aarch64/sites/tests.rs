//! Choosing sites: hand-written code, random code.

use proptest::prelude::*;
use tracer_common::call::Call;

use super::*;

const MALLOC: Call = Call::alloc(Arg::First);
const FREE: Call = Call::free(Arg::First);

const BTI_C: u32 = 0xd503_245f;
const PACIASP: u32 = 0xd503_233f;
/// `stp x29, x30, [sp, #-32]!`
const PUSH: u32 = 0xa9be_7bfd;
/// `cbz x0, +8`
const CBZ_X0: u32 = 0xb400_0040;
/// `adrp x1, .`
const ADRP_X1: u32 = 0x9000_0001;
const RET: u32 = 0xd65f_03c0;

fn bytes(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn chosen(words: &[u32], call: Call) -> Site {
    choose_site(&bytes(words), Needs::of(&call)).expect("a site")
}

fn assert_site(site: &Site, offset: u32, instruction: &str, speed: Speed) {
    assert_eq!(
        (site.offset, site.instruction.as_str(), site.speed),
        (offset, instruction, speed),
        "{}",
        site.why
    );
}

/// As glibc's free: a landing pad, then a test of the argument.
#[test]
fn the_first_simulated_instruction_is_the_site() {
    let site = chosen(&[BTI_C, CBZ_X0, RET, RET], FREE);
    assert_site(&site, 4, "cbz x0, +0xc", Speed::Fast);
    let site = chosen(&[ADRP_X1, RET], MALLOC);
    assert_site(&site, 0, "adrp x1, +0x0", Speed::Fast);
}

/// Behind a push the stack pointer is another; behind `paciasp` the link register holds no address.
#[test]
fn the_return_address_has_to_be_in_place_where_the_return_is_seen() {
    let site = chosen(&[PUSH, CBZ_X0, RET, RET], MALLOC);
    assert_site(&site, 0, ".inst 0xa9be7bfd", Speed::Slow);
    assert!(
        site.why.contains(".inst 0xa9be7bfd at +0x0 overwrites"),
        "{}",
        site.why
    );
    let site = chosen(&[PUSH, CBZ_X0, RET, RET], FREE);
    assert_site(&site, 4, "cbz x0, +0xc", Speed::Fast);
    let site = chosen(&[PACIASP, ADRP_X1, RET], MALLOC);
    assert_site(&site, 0, "paciasp", Speed::Slow);
}

#[test]
fn arguments_are_followed_from_register_to_register() {
    // mov x1, x0; mov w0, #1; cbz x1, +8
    let moved = [0xaa00_03e1, 0x5280_0020, 0xb400_0041, RET, RET];
    let site = chosen(&moved, FREE);
    assert_site(&site, 8, "cbz x1, +0x10", Speed::Fast);
    assert_eq!(site.arguments[0], Arg::Second);
    assert!(
        site.why.ends_with("the argument of x0 in x1"),
        "{}",
        site.why
    );
    // mov x19, x0; mov w0, #1; cbz x19, +8: no argument's register holds it.
    let saved = [0xaa00_03f3, 0x5280_0020, 0xb400_0053, RET, RET];
    assert_site(&chosen(&saved, FREE), 0, ".inst 0xaa0003f3", Speed::Slow);
}

#[test]
fn code_that_is_jumped_to_is_no_site() {
    // mov x2, x0; cmp x0, #0 <- b.ne -4; ret
    let code = [0xaa00_03e2, 0xf100_001f, 0x54ff_ffe1, RET];
    let site = chosen(&code, FREE);
    assert_site(&site, 0, ".inst 0xaa0003e2", Speed::Slow);
    assert!(site.why.starts_with("a jump leads to +0x4"), "{}", site.why);
    // cbz x0, +0: the entry is jumped to.
    assert!(chosen(&[0xb400_0000, RET], FREE).repeats);
}

#[test]
fn what_takes_no_probe_is_an_error() {
    let needs = Needs::of(&MALLOC);
    let undecodable = Err(SiteError::Undecodable(Arch::Aarch64));
    assert_eq!(choose_site(&[], needs), undecodable);
    assert_eq!(choose_site(&[0x1f, 0x20, 0x03], needs), undecodable);
    assert_eq!(
        choose_site(&bytes(&[0xd65f_0bff]), needs),
        Err(SiteError::Refused(".inst 0xd65f0bff".to_owned()))
    );
}

/// Any word, and those that the choice goes by.
fn any_instruction() -> impl Strategy<Value = u32> {
    let mov_x1_x0 = Just(0xaa00_03e1);
    prop_oneof![
        any::<u32>(),
        Just(CBZ_X0),
        Just(PUSH),
        Just(BTI_C),
        mov_x1_x0
    ]
}

proptest! {
    /// Whatever the code, a site is one of its instructions, and what is needed was not written before it.
    #[test]
    fn sites_see_what_the_entry_sees(
        words in prop::collection::vec(any_instruction(), 1..24),
        needs: ([bool; 4], bool),
    ) {
        let needs = Needs { arguments: needs.0, stack_pointer: needs.1 };
        let Ok(site) = choose_site(&bytes(&words), needs) else {
            return Ok(());
        };
        let before = &words[..site.offset as usize / 4];
        prop_assert!(site.offset.is_multiple_of(4));
        for word in before {
            let written = Instruction { at: 0, word: *word }.written();
            prop_assert!(!needs.stack_pointer || written & (1 << 31 | 1 << 30) == 0);
            for arg in ARGUMENTS.into_iter().filter(|arg| needs.arguments[*arg as usize]) {
                let is_own = site.arguments[arg as usize] == arg;
                prop_assert!(!is_own || written & 1 << (arg as u8) == 0 || before.contains(&0xaa00_03e1));
            }
        }
    }
}
