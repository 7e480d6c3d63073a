//! What clap says of an argument that it does not know, with a tip that is right for memlens.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue, ErrorKind};

/// Replaces the tip for an unknown argument: clap's own is to put "--" before it, which begins a command here.
pub fn with_tip(mut error: clap::Error, words: &[OsString]) -> clap::Error {
    if error.kind() != ErrorKind::UnknownArgument {
        return error;
    }
    let tip = match error.get(ContextKind::InvalidArg) {
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
