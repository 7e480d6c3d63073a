//! Finds the stacks of threads among anonymous mappings.
//!
//! The C library puts a thread's descriptor at the top of its stack. The descriptor begins with its own address, and
//! glibc's has it a second time, 16 bytes on. Where the descriptor is elsewhere, the stack pointer that the kernel
//! shows of a sleeping thread leads to its stack.

use super::memory::{Memory, PAGE, ReadError, Window};
use crate::process::maps::{Mapping, MappingName};

/// Ranges of the thread stacks. `pointers` are stack pointers of sleeping threads.
///
/// # Errors
/// [`ReadError`], but only where nothing can be read any more.
pub fn find<M: Memory>(
    memory: &mut M,
    mappings: &[Mapping],
    pointers: &[u64],
) -> Result<Vec<(u64, u64)>, ReadError> {
    let mut found = Vec::new();
    for pair in mappings.windows(2) {
        let (guard, stack) = (&pair[0], &pair[1]);
        let guarded = guard.end == stack.start && !guard.read && !guard.write;
        let anonymous = matches!(stack.name, MappingName::Anonymous);
        if !anonymous || !stack.write || stack.shared || !guarded {
            continue;
        }
        let slept_on = pointers.iter().any(|pointer| stack.contains(*pointer));
        if slept_on || has_descriptor(memory, stack.end)? {
            found.push((stack.start, stack.end));
        }
    }
    Ok(found)
}

/// Whether the last page below an address holds a thread's descriptor.
fn has_descriptor<M: Memory>(memory: &mut M, end: u64) -> Result<bool, ReadError> {
    let mut window = Window::default();
    match window.load(memory, end - PAGE, PAGE as usize) {
        Ok(()) => {}
        Err(error) if error.is_final() => return Err(error),
        Err(_) => return Ok(false),
    }
    let is_own = |at: u64| window.word(at) == Ok(at);
    Ok((end - PAGE..end - 32)
        .step_by(16)
        .any(|at| is_own(at) && window.word(at + 16) == Ok(at)))
}

/// The stack pointer in the text of `/proc/PID/task/TID/syscall`; `None` for a thread that runs.
pub fn pointer(text: &str) -> Option<u64> {
    let mut words = text.split_ascii_whitespace().rev();
    let pointer = words.nth(1)?;
    u64::from_str_radix(pointer.strip_prefix("0x")?, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::maps;
    use crate::sources::ledger::memory::ProcessMemory;

    #[test]
    fn the_stack_pointer_is_the_last_but_one() {
        let asleep = "7 0x7ffd 0x1 0x2 0x3 0x4 0x5 0x7ffe1234 0x7f0000\n";
        assert_eq!(pointer(asleep), Some(0x7ffe_1234));
        assert_eq!(pointer("-1 0x7ffe1234 0x7f0000"), Some(0x7ffe_1234));
        assert_eq!(pointer("running\n"), None);
        assert_eq!(pointer(""), None);
    }

    #[test]
    fn a_thread_of_this_process_has_a_stack() {
        let (out, place) = std::sync::mpsc::channel();
        let (done_out, done) = std::sync::mpsc::channel::<()>();
        let thread = std::thread::spawn(move || {
            let local = 0_u64;
            out.send(&raw const local as u64).expect("send");
            let _ = done.recv();
        });
        let local = place.recv().expect("an address");
        let pid = std::process::id();
        let mut memory = ProcessMemory::open(pid).expect("own memory");
        let mappings = maps::read(pid).expect("own maps");
        let stacks = find(&mut memory, &mappings, &[]).expect("readable");
        assert!(
            stacks
                .iter()
                .any(|stack| (stack.0..stack.1).contains(&local))
        );
        drop(done_out);
        thread.join().expect("join");
    }
}
