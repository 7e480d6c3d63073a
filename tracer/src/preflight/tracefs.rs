//! Mounts tracefs where a tracepoint or a perf-event probe needs it and nobody has mounted it.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::mount::{MsFlags, mount};
use thiserror::Error;

use super::facts::find_tracefs;

/// Where the kernel makes room for it (Documentation/trace/ftrace.rst).
const MOUNT_POINT: &str = "/sys/kernel/tracing";

/// tracefs was not there and has been mounted. It stays mounted: another tool may use it by now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mounted {
    /// Where it is now.
    pub path: PathBuf,
}

impl fmt::Display for Mounted {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "mounted tracefs at {}", self.path.display())
    }
}

/// Why tracefs could not be mounted.
#[derive(Debug, Error)]
pub enum TracefsError {
    /// The kernel has no such folder.
    #[error("no {MOUNT_POINT}: mount /sys, or boot a kernel built with CONFIG_FTRACE=y")]
    NoMountPoint,
    /// The mount was refused.
    #[error(
        "cannot mount tracefs at {MOUNT_POINT}: {}; run this as root: mount -t tracefs tracefs \
         {MOUNT_POINT}",
        .0.desc().to_lowercase()
    )]
    Refused(Errno),
    /// The list of mounts could not be read.
    #[error("cannot read /proc/mounts: {0}; mount /proc")]
    Mounts(#[from] std::io::Error),
}

/// Makes sure that tracefs is mounted. `None`: it was already.
///
/// # Errors
/// [`TracefsError`]; without privileges, `Refused`.
pub fn ensure_tracefs() -> Result<Option<Mounted>, TracefsError> {
    if find_tracefs(&fs::read_to_string("/proc/mounts")?).is_some() {
        return Ok(None);
    }
    if !Path::new(MOUNT_POINT).is_dir() {
        return Err(TracefsError::NoMountPoint);
    }
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC | MsFlags::MS_RELATIME;
    match mount(
        Some("tracefs"),
        MOUNT_POINT,
        Some("tracefs"),
        flags,
        None::<&str>,
    ) {
        Ok(()) => Ok(Some(Mounted {
            path: PathBuf::from(MOUNT_POINT),
        })),
        // Somebody else was faster, such as a second memlens.
        Err(Errno::EBUSY) => Ok(None),
        Err(errno) => Err(TracefsError::Refused(errno)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_command() {
        assert_eq!(
            TracefsError::Refused(Errno::EPERM).to_string(),
            "cannot mount tracefs at /sys/kernel/tracing: operation not permitted; run this as \
             root: mount -t tracefs tracefs /sys/kernel/tracing"
        );
    }
}
