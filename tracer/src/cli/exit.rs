//! Exit codes. Where a command is traced they stay out of the way of its own, as those of env(1) and timeout(1) do.

use crate::profile::CommandExit;

/// How a run went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It did what it was asked to; how the traced command ended, if there was one and it has.
    Done(Option<CommandExit>),
    /// The last report has what `--fail-over` or `--fail-on` does not allow.
    Leaks,
    /// memlens itself failed, usage errors included.
    Failed,
    /// The command cannot be executed.
    NotExecutable,
    /// There is no such command.
    NotFound,
}

/// What a signal adds to its number, as shells have it.
const SIGNAL: i32 = 128;

impl Outcome {
    /// The exit code; `of_command` where a command was to be traced.
    pub fn code(self, of_command: bool) -> u8 {
        match self {
            Self::Done(None) => 0,
            Self::Done(Some(CommandExit::Code(code))) => code.cast_unsigned() as u8,
            Self::Done(Some(CommandExit::Signal(number))) => (SIGNAL + number).clamp(0, 255) as u8,
            Self::Leaks if of_command => 124,
            Self::Leaks => 1,
            Self::Failed if of_command => 125,
            Self::NotExecutable if of_command => 126,
            Self::NotFound if of_command => 127,
            Self::Failed | Self::NotExecutable | Self::NotFound => 2,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_has_its_own_codes() {
        let code = |code| Outcome::Done(Some(CommandExit::Code(code))).code(true);
        assert_eq!([0, 1, 3, 255].map(code), [0, 1, 3, 255]);
        let killed = Outcome::Done(Some(CommandExit::Signal(9))).code(true);
        assert_eq!(killed, 137);
        let own = [
            Outcome::Leaks,
            Outcome::Failed,
            Outcome::NotExecutable,
            Outcome::NotFound,
        ];
        assert_eq!(own.map(|outcome| outcome.code(true)), [124, 125, 126, 127]);
        assert_eq!(own.map(|outcome| outcome.code(false)), [1, 2, 2, 2]);
        assert_eq!(Outcome::Done(None).code(true), 0);
    }
}
