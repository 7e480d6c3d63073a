//! The command: parse, run, exit code.

use std::process::ExitCode;

use memlens::{cli, commands};

fn main() -> ExitCode {
    if commands::play_victim() {
        return ExitCode::SUCCESS;
    }
    match cli::parse() {
        Ok(invocation) => ExitCode::from(commands::run(&invocation)),
        Err(error) => {
            // A closed pipe cannot be told about it.
            let _ = error.print();
            ExitCode::from(error.exit_code())
        }
    }
}
