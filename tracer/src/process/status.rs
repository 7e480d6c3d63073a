//! A process's memory as a whole, from `/proc/PID/status`, which everybody may read.

use procfs::process::Process;

use super::ProcessError;

/// Sizes in bytes; 0 where the kernel does not tell, as of a zombie.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryStatus {
    /// Address space (`VmSize`).
    pub virtual_size: u64,
    /// In memory (`VmRSS`).
    pub resident: u64,
    /// In memory without a file behind it (`RssAnon`).
    pub anonymous: u64,
    /// In memory with a file behind it (`RssFile`).
    pub file: u64,
    /// In memory and shared (`RssShmem`).
    pub shared: u64,
    /// Swapped out (`VmSwap`).
    pub swapped: u64,
    /// Page tables (`VmPTE`).
    pub page_tables: u64,
    /// In pages of hugetlbfs (`HugetlbPages`).
    pub hugetlb: u64,
}

/// Reads them.
///
/// # Errors
/// [`ProcessError`].
pub fn memory(pid: u32) -> Result<MemoryStatus, ProcessError> {
    let id = i32::try_from(pid).map_err(|_| ProcessError::Gone { pid })?;
    let status = Process::new(id)
        .and_then(|process| process.status())
        .map_err(|error| ProcessError::from_procfs(pid, error))?;
    let bytes = |kib: Option<u64>| kib.unwrap_or(0).saturating_mul(1024);
    Ok(MemoryStatus {
        virtual_size: bytes(status.vmsize),
        resident: bytes(status.vmrss),
        anonymous: bytes(status.rssanon),
        file: bytes(status.rssfile),
        shared: bytes(status.rssshmem),
        swapped: bytes(status.vmswap),
        page_tables: bytes(status.vmpte),
        hugetlb: bytes(status.hugetlbpages),
    })
}

/// The process that traces a process by ptrace, such as a debugger; `None` if none does, or if it has ended.
pub fn tracer(pid: u32) -> Option<u32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("TracerPid:"))?;
    line.trim().parse().ok().filter(|tracer| *tracer != 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_parts_are_the_whole() {
        let own = memory(std::process::id()).expect("own status");
        assert!(
            own.resident > 0 && own.virtual_size >= own.resident,
            "{own:?}"
        );
        assert_eq!(own.anonymous + own.file + own.shared, own.resident);
        assert!(matches!(memory(u32::MAX), Err(ProcessError::Gone { .. })));
    }
}
