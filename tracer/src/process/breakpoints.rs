//! Takes probes out of one process, where they were placed on a file for every process.
//!
//! The kernel has no way to say "this file, but not in that process" once a probe is in place: its filters are asked
//! only when a probe is placed or a file is mapped. What a probe is in a process is one byte, the breakpoint
//! instruction in the process's own copy of the page; here the original byte is put back. The kernel tolerates that:
//! a hit that is under way is still served, and the removal of the probe finds nothing to do in that process
//! (kernel/events/uprobes.c, `verify_opcode` and `handle_swbp`).

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;

/// The one-byte breakpoint instruction, `int3`.
const BREAKPOINT: u8 = 0xcc;

/// A probed instruction in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Where it lies.
    pub address: u64,
    /// Its first byte in the file.
    pub original: u8,
}

/// What became of the sites of a process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Breakpoints that were replaced by the original byte.
    pub removed: usize,
    /// Sites that hold neither the breakpoint nor the original byte: left alone.
    pub strange: usize,
}

/// Why probes could not be taken out.
#[derive(Debug, thiserror::Error)]
#[error("cannot take the probes out of process {pid}: {source}")]
pub struct RemoveError {
    pid: u32,
    source: io::Error,
}

/// What is to be done with the byte at a site.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Breakpoint,
    Original,
    Strange,
}

fn judge(byte: u8, site: &Site) -> Found {
    match byte {
        // A file that has a breakpoint of its own there keeps it.
        byte if byte == site.original => Found::Original,
        BREAKPOINT => Found::Breakpoint,
        _ => Found::Strange,
    }
}

/// Puts the original bytes back in one process. Each is written on its own, and only over a breakpoint: a thread that
/// runs there meanwhile sees the one or the other.
pub fn remove(pid: u32, sites: &[Site]) -> Result<Removed, RemoveError> {
    let failed = |source| RemoveError { pid, source };
    let memory = OpenOptions::new()
        .read(true)
        .write(true)
        .open(format!("/proc/{pid}/mem"))
        .map_err(failed)?;
    let mut result = Removed::default();
    for site in sites {
        match byte_at(&memory, site.address).map(|byte| judge(byte, site)) {
            Ok(Found::Breakpoint) => {
                memory
                    .write_all_at(&[site.original], site.address)
                    .map_err(failed)?;
                result.removed += 1;
            }
            Ok(Found::Original) => {}
            // Unmapped meanwhile, or other code by now.
            Ok(Found::Strange) | Err(_) => result.strange += 1,
        }
    }
    Ok(result)
}

fn byte_at(memory: &File, address: u64) -> io::Result<u8> {
    let mut byte = [0];
    memory.read_exact_at(&mut byte, address)?;
    Ok(byte[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only a breakpoint that is not the file's own is replaced.
    #[test]
    fn only_breakpoints_are_replaced() {
        let site = Site {
            address: 0,
            original: 0x41,
        };
        assert_eq!(judge(0xcc, &site), Found::Breakpoint);
        assert_eq!(judge(0x41, &site), Found::Original);
        assert_eq!(judge(0x90, &site), Found::Strange);
        let own = Site {
            address: 0,
            original: 0xcc,
        };
        assert_eq!(judge(0xcc, &own), Found::Original);
    }

    /// In this very process: a byte that looks like a breakpoint is put back, others are not touched.
    #[test]
    fn bytes_are_put_back() {
        let mut code: Vec<u8> = vec![0x90, 0xcc, 0xc3, 0x55];
        let mut at = |index: usize, original| Site {
            address: code.as_mut_ptr().wrapping_add(index) as u64,
            original,
        };
        let sites = [at(0, 0x90), at(1, 0x41), at(3, 0x99)];
        let removed = remove(std::process::id(), &sites).expect("our own memory can be written");
        assert_eq!(
            removed,
            Removed {
                removed: 1,
                strange: 1
            }
        );
        assert_eq!(std::hint::black_box(&code)[..], [0x90, 0x41, 0xc3, 0x55]);
    }

    /// A process that is gone is an error in words.
    #[test]
    fn a_process_that_is_gone() {
        let error = remove(0x7fff_fffe, &[]).expect_err("there is no such process");
        assert!(
            error
                .to_string()
                .starts_with("cannot take the probes out of process 2147483646: ")
        );
    }
}
