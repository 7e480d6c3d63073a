//! What is asked of machine code, whatever the processor.

use crate::attach::exits::{ExitError, Search};
use crate::attach::flow::Branch;
use crate::attach::sites::{Needs, Site, SiteError};

/// Instructions of an architecture. Addresses are as linked.
pub trait InstructionSet: Sync {
    /// Chooses the site of a probe in a function whose whole body is `code`.
    fn choose_site(&self, code: &[u8], needs: Needs) -> Result<Site, SiteError>;

    /// The entry as the site, for the reason `why` that nothing better serves.
    fn entry_site(&self, code: &[u8], why: String) -> Result<Site, SiteError>;

    /// Reads the piece of code at `start` from one end to the other.
    fn search(&self, start: u64, code: &[u8]) -> Result<Search, ExitError>;

    /// The memory slot through which the linkage stub at `address` jumps; `None` if it is no stub.
    fn slot_of_stub(&self, address: u64, stub: &[u8]) -> Option<u64>;

    /// The jumps and calls in the code at `address`, but for those through registers.
    fn branches(&self, address: u64, code: &[u8]) -> Vec<Branch>;

    /// Targets of the jumps to fixed addresses in the code at `address`; calls are none.
    fn jumps(&self, address: u64, code: &[u8]) -> Vec<u64>;

    /// Tells `found` of everything in the code at `address` that may be a jump out of its function: where it is and
    /// where it leads. Where bytes are no instruction of their own they may look like one.
    fn far_jumps(&self, address: u64, code: &[u8], found: &mut dyn FnMut(u64, u64));

    /// Whether an instruction starts at `address`, when the code is read from its start.
    fn starts_at(&self, start: u64, code: &[u8], address: u64) -> bool;

    /// Whether every return in `code` hands back a constant that was put into the result's register just before. Such a
    /// path returns an error or NULL, not a block.
    fn returns_only_constants(&self, code: &[u8]) -> bool;

    /// Whether `code` stores a register anywhere but on the stack. An allocator's fast path does, when it takes a block
    /// from a list or puts one on it; a function that only hands on does not.
    fn stores_a_register(&self, code: &[u8]) -> bool;

    /// How many of these bytes run before control leaves them for good; `None` if it may return to a caller, or reach
    /// the end of the bytes.
    fn never_returns(&self, code: &[u8]) -> Option<usize>;

    /// Whether the first instruction of a function puts another stack in place of its caller's.
    fn discards_its_stack(&self, code: &[u8]) -> bool;

    /// Whether these bytes, which precede a function, end with a call to a fixed target.
    fn ends_with_call(&self, before: &[u8]) -> bool;

    /// The only code from which the kernel takes a signal frame: a call of `rt_sigreturn`.
    fn signal_return(&self) -> &'static [u8];
}

/// Makes `Instructions` of an architecture's functions, which have the names of the trait's.
macro_rules! instructions_of_modules {
    () => {
        /// The instructions of this architecture.
        pub struct Instructions;

        impl $crate::arch::InstructionSet for Instructions {
            fn choose_site(&self, code: &[u8], needs: Needs) -> Result<Site, SiteError> {
                sites::choose_site(code, needs)
            }

            fn entry_site(&self, code: &[u8], why: String) -> Result<Site, SiteError> {
                sites::entry_site(code, why)
            }

            fn search(&self, start: u64, code: &[u8]) -> Result<Search, ExitError> {
                exits::search(start, code)
            }

            fn slot_of_stub(&self, address: u64, stub: &[u8]) -> Option<u64> {
                flow::slot_of_stub(address, stub)
            }

            fn branches(&self, address: u64, code: &[u8]) -> Vec<Branch> {
                flow::branches(address, code)
            }

            fn jumps(&self, address: u64, code: &[u8]) -> Vec<u64> {
                flow::jumps(address, code)
            }

            fn far_jumps(&self, address: u64, code: &[u8], found: &mut dyn FnMut(u64, u64)) {
                flow::far_jumps(address, code).for_each(|(from, target)| found(from, target));
            }

            fn starts_at(&self, start: u64, code: &[u8], address: u64) -> bool {
                flow::starts_at(start, code, address)
            }

            fn returns_only_constants(&self, code: &[u8]) -> bool {
                flow::returns_only_constants(code)
            }

            fn stores_a_register(&self, code: &[u8]) -> bool {
                flow::stores_a_register(code)
            }

            fn never_returns(&self, code: &[u8]) -> Option<usize> {
                outermost::never_returns(code)
            }

            fn discards_its_stack(&self, code: &[u8]) -> bool {
                outermost::discards_its_stack(code)
            }

            fn ends_with_call(&self, before: &[u8]) -> bool {
                outermost::ends_with_call(before)
            }

            fn signal_return(&self) -> &'static [u8] {
                &outermost::SIGNAL_RETURN
            }
        }
    };
}
pub(super) use instructions_of_modules;
