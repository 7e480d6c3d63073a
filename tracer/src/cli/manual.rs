//! `memlens completions` and `memlens man`: their arguments, which are their settings.

use std::path::PathBuf;

use clap::{Args, ValueHint};
use clap_complete::Shell;

const COMPLETIONS: &str = "\
Examples:
  memlens completions bash > /etc/bash_completion.d/memlens
  memlens completions zsh > ~/.zfunc/_memlens
  memlens completions fish > ~/.config/fish/completions/memlens.fish";

const MAN: &str = "\
Examples:
  memlens man | man -l -           the page of memlens
  memlens man leaks | man -l -     the page of a command
  memlens man --to ./man1          all pages, as files";

/// Print the completions of a shell.
///
/// With them the Tab key completes commands, options and their values.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(after_help = COMPLETIONS)]
pub struct CompletionsConfig {
    /// The shell.
    #[arg(value_enum)]
    pub shell: Shell,
}

/// Print the manual page of memlens or of one of its commands.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(after_help = MAN)]
pub struct ManConfig {
    /// The command; without it the page of memlens itself.
    #[arg(conflicts_with = "to")]
    pub command: Option<String>,
    /// Write all pages to this folder, which is made if it is not there.
    #[arg(long, value_name = "FOLDER", value_hint = ValueHint::DirPath)]
    pub to: Option<PathBuf>,
}
