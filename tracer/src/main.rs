//! The command: parse, run, exit code.

use std::process::ExitCode;

use memlens::{cli, session};

fn main() -> ExitCode {
    if session::demo::play_victim() {
        return ExitCode::SUCCESS;
    }
    match cli::parse() {
        Ok(invocation) => ExitCode::from(session::run(invocation)),
        Err(error) => {
            // A closed pipe cannot be told about it.
            let _ = error.print();
            ExitCode::from(error.exit_code())
        }
    }
}
