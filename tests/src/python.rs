//! Python programs that work in one step.

use std::path::Path;
use std::process::Command;

use anyhow::Result;

use crate::need;
use crate::stepped::Stepped;

/// Starts this program.
pub fn start(program: &str) -> Result<Stepped> {
    start_in(&need::program("python3")?, program)
}

/// The same in this interpreter.
pub fn start_in(interpreter: &Path, program: &str) -> Result<Stepped> {
    let mut command = Command::new(interpreter);
    command.args(["-X", "utf8", "-c", program]);
    Stepped::start(command)
}
