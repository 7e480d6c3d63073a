//! What clap says of an argument that it does not know, with a tip that is right for memlens.

use std::ffi::OsString;

use clap::CommandFactory;
use clap::error::{ContextKind, ContextValue, ErrorKind};

use super::command::Cli;
use super::parsers::parse_pid;

/// Replaces the tip for an unknown argument: clap's own is to put "--" before it, which begins a command here.
pub fn with_tip(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let tip = match error.get(ContextKind::InvalidArg) {
        Some(ContextValue::String(typed)) if !typed.starts_with('-') => process_tip(typed, words),
        Some(ContextValue::String(typed)) => moved_tip(typed, words),
        _ => None,
    };
    let tips = tip.map(|tip| ContextValue::StyledStrs(vec![tip.into()]));
    error.insert(ContextKind::Suggested, tips.unwrap_or(ContextValue::None));
    error
}

/// Where an option has gone.
fn moved_tip(typed: &str, words: &[OsString]) -> Option<String> {
    let is_watch = matches!(typed, "--watch" | "-w") && words.iter().any(|word| word == "host");
    is_watch.then(|| "a view that refreshes in place is 'memlens top'".to_owned())
}

/// How to name a process, where a command that has no other positional argument was given a bare word.
fn process_tip(typed: &str, words: &[OsString]) -> Option<String> {
    let cli = Cli::command();
    let command = words.iter().find_map(|word| cli.find_subcommand(word))?;
    let takes_processes = command.get_arguments().any(|arg| arg.get_id() == "pid");
    if !takes_processes || !command.get_positionals().all(|arg| arg.is_last_set()) {
        return None;
    }
    Some(match parse_pid(typed) {
        Ok(pid) => format!("for process {pid} use '-p {pid}'"),
        Err(_) => format!("for processes named {typed} use '-n {typed}'"),
    })
}
