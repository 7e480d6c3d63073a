//! What a process's code is, byte by byte, beside the files that it was mapped from.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use crate::child::until;
use crate::patience::patient;

/// The one-byte breakpoint instruction that a probe is.
pub const BREAKPOINT: u8 = 0xcc;
/// How long it may take until probes are there, or gone.
const LIMIT: Duration = Duration::from_secs(10);
/// How long no probe is added once all are there: they are placed one function after the other.
const STILL: Duration = Duration::from_millis(100);
/// What is read at a time.
const CHUNK: usize = 1 << 16;

/// A byte of a process's code that is not what its file holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Where.
    pub address: u64,
    /// What is there.
    pub byte: u8,
    /// What the file has there.
    pub original: u8,
    /// The file.
    pub path: String,
}

/// All bytes of a process's code that its files do not hold.
pub fn changed(pid: u32) -> Result<Vec<Changed>> {
    let maps = format!("/proc/{pid}/maps");
    let maps = std::fs::read_to_string(&maps).with_context(|| format!("cannot read {maps}"))?;
    let memory = File::open(format!("/proc/{pid}/mem"))
        .with_context(|| format!("cannot open the memory of PID {pid}"))?;
    let mut found = Vec::new();
    for line in maps.lines() {
        let mut fields = line.split_whitespace();
        let (Some(range), Some(rights), Some(offset), Some(_), Some(inode)) = (
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
        ) else {
            continue;
        };
        if inode == "0" || !rights.contains('x') {
            continue;
        }
        let path = fields.next().unwrap_or("?");
        let (start, end) = range.split_once('-').context("a range of addresses")?;
        let [start, end, offset] = [start, end, offset].map(|text| u64::from_str_radix(text, 16));
        let (start, end) = (start?, end?);
        // Through the mapping itself: the file may have been deleted, or lie in another mount namespace.
        let file = File::open(format!("/proc/{pid}/map_files/{start:x}-{end:x}"))
            .with_context(|| format!("cannot open {path} of PID {pid}"))?;
        compare(&memory, start..end, &file, offset?, path, &mut found)?;
    }
    Ok(found)
}

/// Puts the files' bytes back, as a careless program may.
pub fn restore(pid: u32, changed: &[Changed]) -> Result<()> {
    let memory = std::fs::OpenOptions::new()
        .write(true)
        .open(format!("/proc/{pid}/mem"))?;
    for byte in changed {
        memory.write_all_at(&[byte.original], byte.address)?;
    }
    Ok(())
}

/// Waits until the code that a process has mapped from a file with these words in its path has its probes: some, and no
/// more of them for a while.
pub fn until_probed(pid: u32, file: &str) -> Result<()> {
    let mut last = (0, Instant::now());
    until(&format!("probes in {file} of PID {pid}"), LIMIT, || {
        let all = changed(pid)?.into_iter();
        let probes = all.filter(|byte| byte.byte == BREAKPOINT && byte.path.contains(file));
        let count = probes.count();
        if count != last.0 {
            last = (count, Instant::now());
        }
        Ok((count > 0 && last.1.elapsed() > patient(STILL)).then_some(()))
    })
}

/// Waits until a process's code is as its files are: the kernel removes probes a moment after their owner has ended.
pub fn until_unchanged(pid: u32) -> Result<()> {
    let what = format!("no probe in PID {pid}");
    until(&what, LIMIT, || Ok(changed(pid)?.is_empty().then_some(())))
}

fn compare(
    memory: &File,
    range: std::ops::Range<u64>,
    file: &File,
    offset: u64,
    path: &str,
    found: &mut Vec<Changed>,
) -> Result<()> {
    let (mut mapped, mut stored) = (vec![0; CHUNK], vec![0; CHUNK]);
    for at in range.clone().step_by(CHUNK) {
        let length = usize::try_from(range.end - at)?.min(CHUNK);
        // The last page of a mapping may reach beyond the end of its file.
        let length = file.read_at(&mut stored[..length], offset + (at - range.start))?;
        memory
            .read_exact_at(&mut mapped[..length], at)
            .with_context(|| format!("cannot read the code of {path} at {at:#x}"))?;
        let differing = (0..length).filter(|index| mapped[*index] != stored[*index]);
        found.extend(differing.map(|index| Changed {
            address: at + index as u64,
            byte: mapped[index],
            original: stored[index],
            path: path.to_owned(),
        }));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Our own code is as it was built.
    #[test]
    fn own_code_is_unchanged() {
        assert_eq!(changed(std::process::id()).expect("readable"), []);
    }
}
