//! Transparent huge pages: how much of them holds nothing, by a sample.
//!
//! A huge page is in memory as a whole as soon as one byte of it is touched. Which of its parts the program has touched
//! the kernel does not know. But it gives every page out full of zeros, so a part that is still all zeros was most
//! likely never written.

use std::ops::Range;

use super::memory::{Memory, PAGE, Page, ReadError};
use crate::process::pagemap;
use crate::process::smaps::Region;
use crate::profile::ledger::HugePages;

/// Bytes of a transparent huge page of x86-64.
pub const HUGE_PAGE: u64 = 2 << 20;
/// Huge pages that are read at most: 128 MiB, some 30 ms.
const MOST_READ: usize = 64;

/// Reads a sample of a process's huge pages; `None` where it has none, or where they cannot be told from others.
///
/// # Errors
/// [`ReadError`], but only where nothing can be read any more.
pub fn look<M: Memory>(
    memory: &mut M,
    pid: u32,
    regions: &[Region],
) -> Result<Option<HugePages>, ReadError> {
    let total: u64 = regions.iter().map(|region| region.usage.huge).sum();
    let with_some = regions.iter().filter(|region| region.usage.huge > 0);
    let with_some: Vec<&Region> = with_some.collect();
    if with_some.is_empty() {
        return Ok(None);
    }
    let ranges: Vec<Range<u64>> = with_some
        .iter()
        .map(|region| region.mapping.start..region.mapping.end)
        .collect();
    let pages = match pagemap::huge(pid, &ranges) {
        Ok(Some(found)) => found
            .iter()
            .flat_map(|region| aligned(region.start, region.end))
            .collect(),
        Ok(None) => by_fullness(memory, &with_some)?,
        Err(_) => return Ok(None),
    };
    sample(memory, &pages, total)
}

/// Starts of the aligned huge pages that lie in a range as a whole.
fn aligned(start: u64, end: u64) -> impl Iterator<Item = u64> {
    (start.next_multiple_of(HUGE_PAGE)..end)
        .step_by(HUGE_PAGE as usize)
        .filter(move |page| page + HUGE_PAGE <= end)
}

/// Where the kernel does not say which pages are huge: those of mappings in which as many aligned pieces are in memory
/// as a whole as it counts huge pages.
fn by_fullness<M: Memory>(memory: &mut M, regions: &[&Region]) -> Result<Vec<u64>, ReadError> {
    let mut pages = Vec::new();
    for region in regions {
        let mut full = Vec::new();
        for page in aligned(region.mapping.start, region.mapping.end) {
            let parts = memory.pages(page, (HUGE_PAGE / PAGE) as usize)?;
            if parts.iter().all(|part| *part == Page::Present) {
                full.push(page);
            }
        }
        if full.len() as u64 * HUGE_PAGE == region.usage.huge {
            pages.extend(full);
        }
    }
    Ok(pages)
}

/// Reads some of the huge pages, evenly spread, and estimates from them how much of `total` bytes is zeros.
fn sample<M: Memory>(
    memory: &mut M,
    pages: &[u64],
    total: u64,
) -> Result<Option<HugePages>, ReadError> {
    let parts = (HUGE_PAGE / PAGE) as usize;
    let step = pages.len().div_ceil(MOST_READ).max(1);
    let mut bytes = vec![0; HUGE_PAGE as usize];
    let (mut read, mut zero) = (0_u64, 0_u64);
    for page in pages.iter().step_by(step) {
        match memory.copy(*page, &vec![Page::Present; parts], &mut bytes) {
            Ok(()) => {}
            Err(error) if error.is_final() => return Err(error),
            // It was given back, or divided, since it was found.
            Err(_) => continue,
        }
        read += 1;
        let parts = bytes.chunks_exact(PAGE as usize);
        zero += parts
            .filter(|part| part.iter().all(|byte| *byte == 0))
            .count() as u64;
    }
    let of_all = u128::from(total) * u128::from(zero);
    Ok((read > 0).then(|| HugePages {
        read,
        zero_bytes: zero * PAGE,
        zero_estimate_bytes: (of_all / u128::from(read * parts as u64)) as u64,
    }))
}

#[cfg(test)]
mod tests {
    use memmap2::MmapMut;

    use super::*;
    use crate::process::smaps;
    use crate::sources::ledger::memory::ProcessMemory;

    #[test]
    fn whole_huge_pages_lie_in_a_range() {
        let pages: Vec<u64> = aligned(HUGE_PAGE - PAGE, 3 * HUGE_PAGE + PAGE).collect();
        assert_eq!(pages, [HUGE_PAGE, 2 * HUGE_PAGE]);
        assert_eq!(aligned(PAGE, HUGE_PAGE).count(), 0);
    }

    #[test]
    fn zeros_are_counted_and_scaled() {
        let mut map = MmapMut::map_anon(4 * HUGE_PAGE as usize).expect("memory");
        // Every fourth page has a byte; all of them are in memory.
        for page in 0..4 * HUGE_PAGE / PAGE {
            map[(page * PAGE) as usize] = 1;
            map[(page * PAGE) as usize] = u8::from(page % 4 == 0);
        }
        let mut memory = ProcessMemory::open(std::process::id()).expect("own memory");
        let start = (map.as_ptr() as u64).next_multiple_of(HUGE_PAGE);
        let pages = [start, start + HUGE_PAGE];
        let found = sample(&mut memory, &pages, 100 * HUGE_PAGE).expect("readable");
        let expected = HugePages {
            read: 2,
            zero_bytes: 2 * HUGE_PAGE / 4 * 3,
            zero_estimate_bytes: 75 * HUGE_PAGE,
        };
        assert_eq!(found, Some(expected));
        assert_eq!(sample(&mut memory, &[], HUGE_PAGE), Ok(None));
    }

    #[test]
    fn own_huge_pages_are_found_where_the_kernel_gives_any() {
        let mut map = MmapMut::map_anon(16 * HUGE_PAGE as usize).expect("memory");
        // SAFETY: advice on our own pages.
        unsafe { libc::madvise(map.as_mut_ptr().cast(), map.len(), libc::MADV_HUGEPAGE) };
        for part in 0..16 * HUGE_PAGE / (64 << 10) {
            map[(part * (64 << 10)) as usize] = 1;
        }
        let start = map.as_ptr() as u64;
        let regions = smaps::read(std::process::id()).expect("own mappings");
        let own: Vec<Region> = regions
            .into_iter()
            .filter(|region| region.mapping.contains(start + 8 * HUGE_PAGE))
            .collect();
        let mut memory = ProcessMemory::open(std::process::id()).expect("own memory");
        let found = look(&mut memory, std::process::id(), &own).expect("readable");
        let huge: u64 = own.iter().map(|region| region.usage.huge).sum();
        assert_eq!(
            found.is_some(),
            huge > 0,
            "{huge} bytes are huge: {found:?}"
        );
        if let Some(found) = found {
            // Of sixteen pages one was written to.
            let expected = huge / 16 * 15;
            assert!(
                found.zero_estimate_bytes.abs_diff(expected) <= huge / 50,
                "{found:?} of {huge}"
            );
        }
    }
}
