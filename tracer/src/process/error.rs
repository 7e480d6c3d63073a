//! Why something about a process could not be read.

use std::io;
use std::path::{Path, PathBuf};

/// Why something about a process could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ProcessError {
    /// It has exited, or never was.
    #[error("process {pid} is gone")]
    Gone {
        /// Its PID.
        pid: u32,
    },
    /// The kernel refused the read.
    #[error(
        "no permission to read {path}: {}",
        remedy("run as root, or with CAP_SYS_PTRACE")
    )]
    Denied {
        /// What was read.
        path: PathBuf,
    },
    /// Any other I/O error.
    #[error("cannot read {path}: {source}")]
    Io {
        /// What was read.
        path: PathBuf,
        /// What the kernel said.
        source: io::Error,
    },
    /// The kernel's text was not as expected.
    #[error("cannot make sense of {path}: {what}")]
    Malformed {
        /// What was read.
        path: PathBuf,
        /// The part that was not understood.
        what: String,
    },
}

/// What helps where the kernel refuses to show a process: `to_a_user`, unless root already asked.
pub(super) fn remedy(to_a_user: &'static str) -> &'static str {
    remedy_for(nix::unistd::geteuid().is_root(), to_a_user)
}

fn remedy_for(root: bool, to_a_user: &'static str) -> &'static str {
    match root {
        false => to_a_user,
        true => {
            "the kernel or a security module forbids it even to root (a container without CAP_SYS_PTRACE, \
             SELinux, AppArmor, Yama); trace from the host, or another process"
        }
    }
}

impl ProcessError {
    /// Sorts an I/O error on `/proc/PID/...` into its case.
    pub fn from_io(pid: u32, path: &Path, error: io::Error) -> ProcessError {
        match error.raw_os_error() {
            Some(libc::ENOENT | libc::ESRCH) => ProcessError::Gone { pid },
            Some(libc::EACCES | libc::EPERM) => ProcessError::Denied { path: path.into() },
            _ => ProcessError::Io {
                path: path.into(),
                source: error,
            },
        }
    }

    /// Sorts an error of the `procfs` crate into its case.
    pub(super) fn from_procfs(pid: u32, error: procfs::ProcError) -> ProcessError {
        use procfs::ProcError;
        let or_proc = |path: Option<PathBuf>| path.unwrap_or_else(|| format!("/proc/{pid}").into());
        match error {
            ProcError::NotFound(_) => ProcessError::Gone { pid },
            ProcError::PermissionDenied(path) => ProcessError::Denied {
                path: or_proc(path),
            },
            ProcError::Io(source, path) => ProcessError::from_io(pid, &or_proc(path), source),
            // A file that is cut off or empty is what is left of a process that exits during the read.
            ProcError::Incomplete(path) => ProcessError::Malformed {
                path: or_proc(path),
                what: "the text is cut off".into(),
            },
            ProcError::Other(what) => ProcessError::Malformed {
                path: or_proc(None),
                what,
            },
            ProcError::InternalError(error) => ProcessError::Malformed {
                path: or_proc(None),
                what: error.msg,
            },
        }
    }
}

/// Reads one file of `/proc/PID`.
pub(super) fn read(pid: u32, name: &str) -> Result<Vec<u8>, ProcessError> {
    let path = PathBuf::from(format!("/proc/{pid}/{name}"));
    std::fs::read(&path).map_err(|error| ProcessError::from_io(pid, &path, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_is_not_told_to_become_root() {
        let advice = "run as root";
        assert_eq!(remedy_for(false, advice), advice);
        let told = remedy_for(true, advice);
        assert!(
            !told.contains(advice) && told.contains("even to root"),
            "{told}"
        );
    }
}
