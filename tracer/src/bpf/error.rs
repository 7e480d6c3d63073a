//! What fails when programs and maps are loaded, in sentences that say what to do.

use std::io;

use aya::maps::MapError;
use aya::programs::ProgramError;
use aya::{BtfError, EbpfError};
use tracer_common::limits;

use super::kernel_offsets::LayoutError;

/// Loading failed.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The kernel refused a map or a program.
    #[error("cannot load the BPF programs: {0}")]
    Refused(String),
    /// A map could not be created.
    #[error("cannot create the BPF map {map}: {cause}{}", remedy(map, cause))]
    Create {
        /// Its name.
        map: String,
        /// Why.
        cause: io::Error,
    },
    /// The process table is full.
    #[error(
        "more than {} processes in one trace; name fewer",
        limits::MAX_PROCESSES
    )]
    TooManyProcesses,
    /// The kernel has no tracepoints at system calls.
    #[error(
        "this kernel has no system call tracepoints, which memlens vm needs; boot one that is built with CONFIG_FTRACE_SYSCALLS"
    )]
    NoSystemCalls,
    /// The kernel has no tracepoints at page faults.
    #[error(
        "this kernel has no page fault tracepoints (exceptions:page_fault_user, on x86 only), which --faults needs; leave --faults out"
    )]
    NoPageFaults,
    /// The kernel has no such tracepoint at its allocators.
    #[error(
        "this kernel has no tracepoint {0}, which memlens kernel needs; boot one that is built with CONFIG_TRACEPOINTS and CONFIG_FTRACE"
    )]
    NoTracepoint(&'static str),
    /// The kernel does not tell enough about its own memory.
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// A map could not be read or written.
    #[error("cannot access the BPF map {map}: {source}")]
    Map {
        /// Its name.
        map: &'static str,
        /// Why.
        source: io::Error,
    },
}

impl LoadError {
    /// The kernel, or aya, refused something.
    pub(super) fn refused(error: &dyn std::error::Error) -> Self {
        Self::Refused(one_line(error))
    }

    /// The object lacks something that it was built with.
    pub(super) fn missing(what: &str, name: &str) -> Self {
        Self::Refused(format!("the object has no {what} {name}"))
    }
}

impl From<MapError> for LoadError {
    fn from(error: MapError) -> Self {
        match error {
            MapError::CreateError { name, io_error } => Self::Create {
                map: name,
                cause: io_error,
            },
            other => Self::refused(&other),
        }
    }
}

impl From<EbpfError> for LoadError {
    fn from(error: EbpfError) -> Self {
        match error {
            EbpfError::MapError(error) => error.into(),
            other => Self::refused(&other),
        }
    }
}

impl From<ProgramError> for LoadError {
    fn from(error: ProgramError) -> Self {
        Self::refused(&error)
    }
}

impl From<BtfError> for LoadError {
    fn from(error: BtfError) -> Self {
        Self::refused(&error)
    }
}

/// What to do where a map cannot be created, as the end of a sentence; empty where nothing is known to help.
fn remedy(map: &str, cause: &io::Error) -> String {
    let option = match map {
        "LIVE" | "KERNEL_LIVE" => Some("--max-live"),
        "UNWIND_ROWS" | "UNWIND_BUCKETS" | "MAPPINGS" => Some("--unwind-memory"),
        _ => None,
    };
    match (cause.raw_os_error(), option) {
        (Some(libc::ENOMEM), Some(option)) => format!(
            "; lower {option}, or raise the memory limit of the cgroup that memlens runs in (memory.max)"
        ),
        (Some(libc::ENOMEM), None) => {
            "; free memory, or raise the memory limit of the cgroup that memlens runs in (memory.max)".to_owned()
        }
        (Some(libc::E2BIG | libc::EINVAL), Some(option)) => format!("; lower {option}"),
        (Some(libc::EMFILE), _) => "; raise the limit of open files (ulimit -n)".to_owned(),
        (Some(libc::ENFILE), _) => {
            "; raise the host's limit of open files (sysctl fs.file-max)".to_owned()
        }
        _ => String::new(),
    }
}

/// Whether the developer asked for the verifier's whole log.
pub(super) fn verifier_log_wanted() -> bool {
    std::env::var_os("MEMLENS_VERIFIER_LOG").is_some()
}

/// One line out of an error and its causes; verifier logs are cut to their first line.
fn one_line(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    if verifier_log_wanted() {
        return text;
    }
    let line = text
        .lines()
        .find(|line| !line.trim().is_empty())
        .unwrap_or("unknown cause");
    line.trim().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sentence(map: &str, errno: i32) -> String {
        let error = MapError::CreateError {
            name: map.to_owned(),
            io_error: io::Error::from_raw_os_error(errno),
        };
        LoadError::from(EbpfError::MapError(error)).to_string()
    }

    #[test]
    fn a_map_that_cannot_be_created_names_what_to_change() {
        assert_eq!(
            sentence("LIVE", libc::ENOMEM),
            "cannot create the BPF map LIVE: Cannot allocate memory (os error 12); lower --max-live, or raise the memory \
             limit of the cgroup that memlens runs in (memory.max)"
        );
        for (map, errno, remedy) in [
            ("KERNEL_LIVE", libc::ENOMEM, "; lower --max-live, or"),
            ("LIVE", libc::E2BIG, "; lower --max-live"),
            ("UNWIND_ROWS", libc::ENOMEM, "; lower --unwind-memory, or"),
            ("STACKS", libc::ENOMEM, "; free memory, or"),
            ("STACKS", libc::EMFILE, "(ulimit -n)"),
            ("LIVE", libc::EMFILE, "(ulimit -n)"),
            ("FILES", libc::ENFILE, "fs.file-max"),
        ] {
            let sentence = sentence(map, errno);
            assert!(sentence.contains(remedy), "{sentence}");
            assert_eq!(sentence.lines().count(), 1, "{sentence}");
        }
    }

    #[test]
    fn other_causes_have_no_remedy() {
        let sentence = sentence("STACKS", libc::EPERM);
        assert!(sentence.ends_with("(os error 1)"), "{sentence}");
    }
}
