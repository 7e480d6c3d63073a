//! How a traced command ended, as a sentence.

use nix::sys::signal::Signal;

use crate::profile::CommandExit;

/// The sentence, without a full stop.
pub fn command_exit(exit: CommandExit) -> String {
    match exit {
        CommandExit::Code(code) => format!("the command exited with code {code}"),
        CommandExit::Signal(number) => match Signal::try_from(number) {
            Ok(signal) => format!("the command was killed by signal {number} ({signal})"),
            Err(_) => format!("the command was killed by signal {number}"),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_are_named_where_they_have_a_name() {
        assert_eq!(
            command_exit(CommandExit::Code(3)),
            "the command exited with code 3"
        );
        assert_eq!(
            command_exit(CommandExit::Signal(9)),
            "the command was killed by signal 9 (SIGKILL)"
        );
        assert_eq!(
            command_exit(CommandExit::Signal(99)),
            "the command was killed by signal 99"
        );
    }
}
