//! The one figure that gperftools' tcmalloc exports as data: what it has taken from the kernel.

use std::path::Path;

use super::memory::{Memory, PAGE, ProcessMemory, ReadError};
use super::symbols;
use crate::process::files;
use crate::process::maps::{Mapping, executable_files};
use crate::process::smaps::Region;
use crate::profile::ledger::PublishedFigure;

/// Bytes taken from the kernel, since the start; never less than what it has now.
const TAKEN: &str = "TCMalloc_SystemTaken";

/// Reads it, if the library exports it and it fits the process.
///
/// # Errors
/// [`ReadError`], but only where nothing can be read any more.
pub fn figures(
    memory: &mut ProcessMemory,
    pid: u32,
    file: &Path,
    regions: &[Region],
) -> Result<Vec<PublishedFigure>, ReadError> {
    let mappings: Vec<Mapping> = regions
        .iter()
        .map(|region| region.mapping.clone())
        .collect();
    let mapped = executable_files(&mappings)
        .into_iter()
        .find(|mapped| mapped.path == file);
    let address = mapped.and_then(|mapped| {
        let opened = files::open(pid, &mapped).ok()?;
        let image = files::bytes(&opened).ok()?;
        symbols::exported(&image, &mapped, [TAKEN])
    });
    let Some([address]) = address else {
        return Ok(Vec::new());
    };
    let private = |region: &&Region| region.mapping.write && !region.mapping.shared;
    let room: u64 = regions
        .iter()
        .filter(private)
        .map(|region| region.mapping.end - region.mapping.start)
        .sum();
    match memory.word(address) {
        Ok(taken) if taken > 0 && taken <= room && taken.is_multiple_of(PAGE) => {
            Ok(vec![PublishedFigure::new("taken from the kernel", taken)])
        }
        Err(error) if error.is_final() => Err(error),
        _ => Ok(Vec::new()),
    }
}
