//! The command: parse, run, exit code.

use std::process::ExitCode;

use memlens::{cli, commands};

/// Larger allocations have mappings of their own, so that their memory goes back to the system with them. Left to
/// itself, glibc keeps ever larger ones (up to 32 MiB), which a trace that runs for days would hold for good.
const OWN_MAPPING: libc::c_int = 256 << 10;

fn main() -> ExitCode {
    #[cfg(target_env = "gnu")]
    // SAFETY: called before there is any other thread; it changes no memory of ours.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_MAPPING);
    }
    if commands::play_victim() {
        return ExitCode::SUCCESS;
    }
    let outcome = match cli::parse() {
        Ok(invocation) => commands::run(&invocation),
        Err(error) => {
            // A closed pipe cannot be told about it.
            let _ = error.print();
            error.outcome()
        }
    };
    // Only the command to trace comes after it.
    let of_command = std::env::args_os().any(|word| word == "--");
    ExitCode::from(outcome.code(of_command))
}
