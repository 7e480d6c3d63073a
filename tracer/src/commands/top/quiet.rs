//! Standard streams that are `/dev/null` for a while, so that a command that is started meanwhile has those.

use std::fs::OpenOptions;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use anyhow::{Context, Result};
use nix::unistd::{dup2_stderr, dup2_stdin, dup2_stdout};

/// The streams as they were. They are that again when it is dropped.
pub struct Streams {
    before: [OwnedFd; 3],
}

impl Streams {
    /// Makes all of them `/dev/null`.
    pub fn silence() -> Result<Self> {
        let before = [
            io::stdin().as_fd().try_clone_to_owned(),
            io::stdout().as_fd().try_clone_to_owned(),
            io::stderr().as_fd().try_clone_to_owned(),
        ];
        let [input, output, errors] = before;
        let before = [input?, output?, errors?];
        let null = OpenOptions::new()
            .read(true)
            .write(true)
            .open("/dev/null")
            .context("cannot open /dev/null")?;
        let streams = Self { before };
        dup2_stdin(&null)?;
        dup2_stdout(&null)?;
        dup2_stderr(&null)?;
        Ok(streams)
    }
}

impl Drop for Streams {
    fn drop(&mut self) {
        let [input, output, errors] = &self.before;
        // What was open before can be put back.
        let _ = dup2_stdin(input);
        let _ = dup2_stdout(output);
        let _ = dup2_stderr(errors);
    }
}
