//! The address of a frame, and the one place where a return address is moved back into its call.

/// The address of a frame, as captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum FrameAddress {
    /// Where the thread was.
    InstructionPointer(u64),
    /// Where the thread will go on: the instruction after the call.
    ReturnAddress(u64),
}

impl FrameAddress {
    /// The address as captured.
    pub fn captured(self) -> u64 {
        match self {
            FrameAddress::InstructionPointer(address) | FrameAddress::ReturnAddress(address) => {
                address
            }
        }
    }

    /// The address to look up. A return address may already belong to the next line, or, after a call that never
    /// returns, to the next function; the byte before it is part of the call.
    pub fn lookup(self) -> u64 {
        match self {
            FrameAddress::InstructionPointer(address) => address,
            FrameAddress::ReturnAddress(address) => address.saturating_sub(1),
        }
    }
}

/// The frames of a stack, innermost first: all are return addresses, but perhaps the first.
pub fn frame_addresses(
    addresses: &[u64],
    first_is_return: bool,
) -> impl Iterator<Item = FrameAddress> {
    addresses.iter().enumerate().map(
        move |(index, address)| match index == 0 && !first_is_return {
            true => FrameAddress::InstructionPointer(*address),
            false => FrameAddress::ReturnAddress(*address),
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_return_addresses_are_moved_back() {
        let lookups = |first| {
            frame_addresses(&[10, 20, 0], first)
                .map(FrameAddress::lookup)
                .collect::<Vec<_>>()
        };
        assert_eq!(lookups(true), [9, 19, 0]);
        assert_eq!(lookups(false), [10, 19, 0]);
        let captured: Vec<_> = frame_addresses(&[10, 20], true)
            .map(FrameAddress::captured)
            .collect();
        assert_eq!(captured, [10, 20]);
    }
}
