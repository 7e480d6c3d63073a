//! The `ret` instructions of a piece of code, and where else it leads.

use super::decode::{Flow, instructions};
use super::emulated::{Handling, handling};
use crate::attach::exits::{ExitError, Search};

/// Reads the piece of code at `start` from one end to the other.
pub fn search(start: u64, code: &[u8]) -> Result<Search, ExitError> {
    let end = start + code.len() as u64;
    let mut search = Search::default();
    let mut falls_through = false;
    let mut table_read = false;
    for instruction in instructions(code, start) {
        let flow = instruction.flow();
        match flow {
            Flow::Return if handling(instruction) == Handling::Refused => {
                return Err(ExitError::Refused(instruction.at));
            }
            Flow::Return => search.returns.push(instruction.at),
            Flow::Jump(target) | Flow::Branch(target) if !(start..end).contains(&target) => {
                search.leaves_to.push(target);
            }
            Flow::JumpRegister(_) if !table_read => {
                return Err(ExitError::Pointer(instruction.at));
            }
            _ => {}
        }
        // The jump of a `switch` reads an element of a table, and adds it to an address.
        table_read = flow == Flow::Next && (table_read || instruction.is_indexed_load());
        falls_through = match flow {
            _ if instruction.is_padding() => falls_through,
            Flow::Next | Flow::Branch(_) => true,
            // What ends with a call ends with one that does not return.
            _ => false,
        };
    }
    if falls_through {
        search.leaves_to.push(end);
    }
    Ok(search)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::attach::exits::returns;
    use crate::attach::flow::Destination;

    const RET: u32 = 0xd65f_03c0;
    const NOP: u32 = 0xd503_201f;

    /// Pieces of code, each at its address.
    fn returns_of(pieces: &[(u64, &[u32])]) -> Result<Vec<u64>, ExitError> {
        let bytes = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect();
        let pieces: Vec<(u64, Vec<u8>)> = pieces
            .iter()
            .map(|(start, words)| (*start, bytes(words)))
            .collect();
        let piece = |vaddr: u64| {
            let holds = |(start, code): &&(u64, Vec<u8>)| {
                (*start..start + code.len() as u64).contains(&vaddr)
            };
            let (start, code) = pieces.iter().find(holds)?;
            Some((*start, code.as_slice()))
        };
        let resolve = |target: u64| match target {
            0x900 => Destination::Import("abort".to_owned()),
            target => Destination::Local(target),
        };
        returns(Arch::Aarch64, pieces[0].0, piece, resolve)
    }

    #[test]
    fn every_return_of_the_body_is_found() {
        // cbz x0, +8; ret; mov w0, #0; ret
        let code = [0xb400_0040, RET, 0x5280_0000, RET];
        assert_eq!(returns_of(&[(0x100, &code)]), Ok(vec![0x104, 0x10c]));
    }

    #[test]
    fn tail_jumps_are_followed_once_each() {
        // b.ne to 0x200; ret | ret; b back to 0x100
        let pieces: [(u64, &[u32]); 2] =
            [(0x100, &[0x5400_0801, RET]), (0x200, &[RET, 0x17ff_ffbf])];
        assert_eq!(returns_of(&pieces), Ok(vec![0x104, 0x200]));
    }

    #[test]
    fn code_that_runs_on_into_the_next_piece_is_followed() {
        // mov x19, x0; nop | ret
        let pieces: [(u64, &[u32]); 2] = [(0x100, &[0xaa00_03f3, NOP]), (0x108, &[RET])];
        assert_eq!(returns_of(&pieces), Ok(vec![0x108]));
        // ret; bl; nop; zeros | ret: what ends with a call does not run on.
        let pieces: [(u64, &[u32]); 2] = [(0x100, &[RET, 0x9400_0400, NOP, 0]), (0x110, &[RET])];
        assert_eq!(returns_of(&pieces), Ok(vec![0x100]));
    }

    #[test]
    fn a_jump_through_a_pointer_is_an_error_but_for_a_switch() {
        assert_eq!(
            returns_of(&[(0x100, &[0xd61f_0020])]),
            Err(ExitError::Pointer(0x100))
        );
        // ldrb w0, [x1, w0, uxtw]; adr x1, +12; add x0, x1, w0, sxtb #2; br x0; ret
        let switch = [0x3860_4820, 0x1000_0061, 0x8b20_8820, 0xd61f_0000, RET];
        assert_eq!(returns_of(&[(0x100, &switch)]), Ok(vec![0x110]));
    }

    #[test]
    fn what_leaves_the_object_or_takes_no_probe_is_an_error() {
        // b to 0x900
        assert_eq!(
            returns_of(&[(0x100, &[0x1400_0200])]),
            Err(ExitError::OtherObject("abort".to_owned()))
        );
        // retaa
        assert_eq!(
            returns_of(&[(0x100, &[RET, 0xd65f_0bff])]),
            Err(ExitError::Refused(0x104))
        );
        // b to itself
        assert_eq!(
            returns_of(&[(0x100, &[0x1400_0000])]),
            Err(ExitError::NoReturn)
        );
    }
}
