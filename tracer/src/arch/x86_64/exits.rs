//! The `ret` instructions of a piece of code, and where else it leads.

use iced_x86::{Code, FlowControl, Instruction, OpKind};

use super::decode::decoder;
use crate::attach::exits::{ExitError, Search};

/// Reads the piece of code at `start` from one end to the other.
pub fn search(start: u64, code: &[u8]) -> Result<Search, ExitError> {
    let end = start + code.len() as u64;
    let mut search = Search::default();
    let mut falls_through = false;
    let mut table_read = false;
    for instruction in &mut decoder(code, start) {
        match instruction.flow_control() {
            FlowControl::Return => search.returns.push(instruction.ip()),
            FlowControl::UnconditionalBranch | FlowControl::ConditionalBranch => {
                let target = instruction.near_branch_target();
                if !(start..end).contains(&target) {
                    search.leaves_to.push(target);
                }
            }
            FlowControl::IndirectBranch if !(table_read || is_table(&instruction)) => {
                return Err(ExitError::Pointer(instruction.ip()));
            }
            _ => {}
        }
        table_read = matches!(instruction.flow_control(), FlowControl::Next)
            && (table_read
                || instruction.code() == Code::Movsxd_r64_rm32 && is_table(&instruction));
        falls_through = match instruction.flow_control() {
            FlowControl::Next if is_padding(&instruction) => falls_through,
            FlowControl::Next | FlowControl::ConditionalBranch => true,
            // What ends with a call ends with one that does not return.
            _ => false,
        };
    }
    if falls_through {
        search.leaves_to.push(end);
    }
    Ok(search)
}

/// Whether the instruction reads an element of a table, as the jump of a `switch` does.
fn is_table(instruction: &Instruction) -> bool {
    let reads_memory =
        (0..instruction.op_count()).any(|op| instruction.op_kind(op) == OpKind::Memory);
    reads_memory && instruction.memory_index_scale() >= 4
}

fn is_padding(instruction: &Instruction) -> bool {
    instruction.mnemonic() == iced_x86::Mnemonic::Nop
        || instruction.mnemonic() == iced_x86::Mnemonic::Int3
        || instruction.is_invalid()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;
    use crate::attach::exits::returns;
    use crate::attach::flow::Destination;

    /// Pieces of code, each at its address.
    fn returns_of(pieces: &[(u64, &[u8])]) -> Result<Vec<u64>, ExitError> {
        let piece = |vaddr: u64| {
            pieces
                .iter()
                .copied()
                .find(|(start, code)| (*start..start + code.len() as u64).contains(&vaddr))
        };
        let resolve = |target: u64| match target {
            0x900 => Destination::Import("abort".to_owned()),
            target => Destination::Local(target),
        };
        returns(Arch::X86_64, pieces[0].0, piece, resolve)
    }

    #[test]
    fn every_return_of_the_body_is_found() {
        // test rdi, rdi; je +1; ret; xor eax, eax; ret 8
        let code = [
            0x48, 0x85, 0xff, 0x74, 0x01, 0xc3, 0x31, 0xc0, 0xc2, 0x08, 0x00,
        ];
        assert_eq!(returns_of(&[(0x100, &code)]), Ok(vec![0x105, 0x108]));
    }

    #[test]
    fn tail_jumps_are_followed_once_each() {
        // jne to 0x200; rep ret
        let entry = [0x0f, 0x85, 0xfa, 0x00, 0x00, 0x00, 0xf3, 0xc3];
        // ret; jmp back to 0x100
        let slow = [0xc3, 0xe9, 0xfa, 0xfe, 0xff, 0xff];
        assert_eq!(
            returns_of(&[(0x100, &entry), (0x200, &slow)]),
            Ok(vec![0x106, 0x200])
        );
    }

    #[test]
    fn code_that_runs_on_into_the_next_piece_is_followed() {
        // mov rax, rdi; nop | ret
        let pieces: [(u64, &[u8]); 2] = [(0x100, &[0x48, 0x89, 0xf8, 0x90]), (0x104, &[0xc3])];
        assert_eq!(returns_of(&pieces), Ok(vec![0x104]));
    }

    #[test]
    fn a_piece_that_ends_with_a_call_does_not_run_on() {
        // ret; call; nop | ret
        let pieces: [(u64, &[u8]); 2] =
            [(0x100, &[0xc3, 0xe8, 0, 1, 0, 0, 0x90]), (0x107, &[0xc3])];
        assert_eq!(returns_of(&pieces), Ok(vec![0x100]));
    }

    #[test]
    fn a_jump_through_a_pointer_is_an_error() {
        let through_register = [0xff, 0xe0];
        assert_eq!(
            returns_of(&[(0x100, &through_register)]),
            Err(ExitError::Pointer(0x100))
        );
        let through_slot = [0xff, 0x25, 0, 1, 0, 0];
        assert_eq!(
            returns_of(&[(0x100, &through_slot)]),
            Err(ExitError::Pointer(0x100))
        );
    }

    #[test]
    fn a_switch_table_is_understood() {
        // movsxd rax, [rdx+rax*4]; add rax, rdx; jmp rax; ret
        let code = [0x48, 0x63, 0x04, 0x82, 0x48, 0x01, 0xd0, 0xff, 0xe0, 0xc3];
        assert_eq!(returns_of(&[(0x100, &code)]), Ok(vec![0x109]));
        // jmp [rax*8+0x1000]; ret
        let code = [0xff, 0x24, 0xc5, 0, 0x10, 0, 0, 0xc3];
        assert_eq!(returns_of(&[(0x100, &code)]), Ok(vec![0x107]));
    }

    #[test]
    fn what_leaves_the_object_or_the_code_is_an_error() {
        // jmp 0x900
        let to_import = [0xe9, 0xfb, 0x07, 0x00, 0x00];
        assert_eq!(
            returns_of(&[(0x100, &to_import)]),
            Err(ExitError::OtherObject("abort".to_owned()))
        );
        // jmp 0x800
        let to_nowhere = [0xe9, 0xfb, 0x06, 0x00, 0x00];
        assert_eq!(
            returns_of(&[(0x100, &to_nowhere)]),
            Err(ExitError::NoCode(0x800))
        );
        // jmp to itself
        assert_eq!(
            returns_of(&[(0x100, &[0xeb, 0xfe])]),
            Err(ExitError::NoReturn)
        );
    }
}
