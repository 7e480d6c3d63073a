//! The command: parse, run, exit code.

use std::process::ExitCode;

use memlens::{cli, commands};

fn main() -> ExitCode {
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
