//! Which pages of a process are in memory or in swap: the scan of Linux 6.7 and newer, or the page map itself.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use super::ProcessError;
use super::smaps::{self, Usage};

/// Pages that lie together and are all in memory, or all in swap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Region {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// They are in swap, not in memory.
    pub swapped: bool,
}

const PAGE: u64 = 4096;
/// Bytes whose pages are looked at in one go, which takes a fraction of a millisecond: the process cannot change its
/// mappings meanwhile.
const SLICE: u64 = 64 << 20;
/// Where there are no page tables at all, there is nothing to wait for.
const LONGEST_SLICE: u64 = 4 << 30;

/// The pages in these ranges that are in memory or in swap, by ascending address. The ranges must ascend.
///
/// Pages that were only read are left out where the kernel can tell (it gives all of them one page of zeros).
pub fn touched(pid: u32, ranges: &[Range<u64>]) -> Result<Vec<Region>, ProcessError> {
    let map = PageMap::open(pid)?;
    match map.scan(ranges) {
        Err(error) if is_unknown(&error) => map.read(pid, ranges),
        scanned => scanned.map_err(|error| map.error(error)),
    }
}

/// The huge pages in these ranges, by ascending address; `None` where the kernel does not tell. The ranges must ascend.
pub fn huge(pid: u32, ranges: &[Range<u64>]) -> Result<Option<Vec<Region>>, ProcessError> {
    let map = PageMap::open(pid)?;
    match map.scan_for(ranges, HUGE_PAGES) {
        Err(error) if is_unknown(&error) => Ok(None),
        scanned => scanned.map(Some).map_err(|error| map.error(error)),
    }
}

/// The kernel has no such request: it is older than 6.7.
fn is_unknown(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::ENOTTY | libc::EINVAL))
}

/// The page map of a process, kept open to ask for single pages.
pub struct PageMap {
    pid: u32,
    path: PathBuf,
    file: File,
}

impl PageMap {
    /// Opens the page map of a process; its memory goes when it ends, all the same.
    pub fn open(pid: u32) -> Result<Self, ProcessError> {
        let path = PathBuf::from(format!("/proc/{pid}/pagemap"));
        match File::open(&path) {
            Ok(file) => Ok(Self { pid, path, file }),
            Err(error) => Err(ProcessError::from_io(pid, &path, error)),
        }
    }

    fn error(&self, error: io::Error) -> ProcessError {
        ProcessError::from_io(self.pid, &self.path, error)
    }

    /// Whether the page at an address is a part of a huge one; `None` where there is no page, or the kernel cannot tell
    /// (before 6.7).
    pub fn is_huge(&self, address: u64) -> Option<bool> {
        let page = address & !(PAGE - 1);
        let mut arg = ScanArg {
            size: size_of::<ScanArg>() as u64,
            start: page,
            end: page + PAGE,
            category_mask: PRESENT,
            return_mask: PRESENT | HUGE,
            ..ScanArg::default()
        };
        let mut found = [PageRegion::default()];
        match request(&self.file, &mut arg, &mut found) {
            Ok(1) => Some(found[0].categories & HUGE != 0),
            _ => None,
        }
    }

    /// Lets the kernel look for the pages.
    fn scan(&self, ranges: &[Range<u64>]) -> io::Result<Vec<Region>> {
        self.scan_for(ranges, TOUCHED_PAGES)
    }

    fn scan_for(&self, ranges: &[Range<u64>], wanted: Wanted) -> io::Result<Vec<Region>> {
        let mut regions = Regions::default();
        let mut found = vec![PageRegion::default(); 4096];
        for range in ranges {
            let (mut at, mut slice) = (range.start, SLICE);
            while at < range.end {
                let end = range.end.min(at.saturating_add(slice));
                let (count, scanned_to) = scan(&self.file, at..end, wanted, &mut found)?;
                for region in &found[..count] {
                    let swapped = region.categories & SWAPPED != 0;
                    regions.push(region.start..region.end, swapped);
                }
                slice = match count {
                    0 => (slice * 2).min(LONGEST_SLICE),
                    _ => SLICE,
                };
                if scanned_to <= at {
                    return Err(io::Error::other("the page scan does not move on"));
                }
                at = scanned_to;
            }
        }
        Ok(regions.0)
    }

    /// Reads the page map, eight bytes for each page, where there are any in memory or in swap.
    fn read(&self, pid: u32, ranges: &[Range<u64>]) -> Result<Vec<Region>, ProcessError> {
        let mut regions = Regions::default();
        let mut entries = vec![0u8; 64 << 10];
        let inhabited = inhabited(pid)?;
        for range in both(ranges, &inhabited) {
            let mut at = range.start;
            while at < range.end {
                let want = ((range.end - at) / PAGE * 8).min(entries.len() as u64) as usize;
                let got = self.file.read_at(&mut entries[..want], at / PAGE * 8);
                let got = got.map_err(|error| self.error(error))? / 8;
                if got == 0 {
                    break; // beyond the address space, or the process is gone
                }
                for entry in entries[..got * 8].chunks_exact(8) {
                    let entry = entry
                        .iter()
                        .rev()
                        .fold(0u64, |sum, byte| sum << 8 | u64::from(*byte));
                    if entry & (ENTRY_PRESENT | ENTRY_SWAPPED) != 0 {
                        regions.push(at..at + PAGE, entry & ENTRY_PRESENT == 0);
                    }
                    at += PAGE;
                }
            }
        }
        Ok(regions.0)
    }
}

/// Regions by ascending address, neighbours joined.
#[derive(Default)]
struct Regions(Vec<Region>);

impl Regions {
    /// Adds a region that begins no earlier than those before it. What they have told already is left out: a page that
    /// is larger than the part that was asked for is told whole.
    fn push(&mut self, range: Range<u64>, swapped: bool) {
        let told = self.0.last().map_or(0, |last| last.end);
        let range = range.start.max(told)..range.end;
        match self.0.last_mut() {
            _ if range.is_empty() => {}
            Some(last) if last.end == range.start && last.swapped == swapped => {
                last.end = range.end
            }
            _ => self.0.push(Region {
                start: range.start,
                end: range.end,
                swapped,
            }),
        }
    }
}

/// Mappings that have pages in memory or in swap: most of a large reservation need not be looked at page by page.
fn inhabited(pid: u32) -> Result<Vec<Range<u64>>, ProcessError> {
    let has_pages = |usage: &Usage| usage.resident > 0 || usage.swapped > 0 || usage.hugetlb > 0;
    let regions = smaps::read(pid)?;
    Ok(regions
        .into_iter()
        .filter(|region| has_pages(&region.usage))
        .map(|region| region.mapping.start..region.mapping.end)
        .collect())
}

/// Where two ascending lists of ranges overlap.
fn both(one: &[Range<u64>], other: &[Range<u64>]) -> Vec<Range<u64>> {
    let (mut one, mut other) = (one.iter().peekable(), other.iter().peekable());
    let mut both = Vec::new();
    while let (Some(a), Some(b)) = (one.peek(), other.peek()) {
        let overlap = a.start.max(b.start)..a.end.min(b.end);
        if overlap.start < overlap.end {
            both.push(overlap);
        }
        match a.end < b.end {
            true => one.next(),
            false => other.next(),
        };
    }
    both
}

/// Bits of a page map entry (Documentation/admin-guide/mm/pagemap.rst).
const ENTRY_PRESENT: u64 = 1 << 63;
const ENTRY_SWAPPED: u64 = 1 << 62;

/// `PAGEMAP_SCAN`, categories and structures from include/uapi/linux/fs.h.
const PAGEMAP_SCAN: libc::Ioctl =
    3 << 30 | (size_of::<ScanArg>() as libc::Ioctl) << 16 | 0x66 << 8 | 16;
const PRESENT: u64 = 1 << 3;
const SWAPPED: u64 = 1 << 4;
const ZERO_PAGE: u64 = 1 << 5;
const HUGE: u64 = 1 << 6;

/// Pages to look for: all of the `mask`, where those that are `inverted` must not be set, and one of `any`.
#[derive(Clone, Copy)]
struct Wanted {
    inverted: u64,
    mask: u64,
    any: u64,
}

const TOUCHED_PAGES: Wanted = Wanted {
    inverted: ZERO_PAGE,
    mask: ZERO_PAGE,
    any: PRESENT | SWAPPED,
};
const HUGE_PAGES: Wanted = Wanted {
    inverted: ZERO_PAGE,
    mask: ZERO_PAGE | HUGE,
    any: PRESENT,
};

#[repr(C)]
#[derive(Default)]
struct ScanArg {
    size: u64,
    flags: u64,
    start: u64,
    end: u64,
    walk_end: u64,
    vec: u64,
    vec_len: u64,
    max_pages: u64,
    category_inverted: u64,
    category_mask: u64,
    category_anyof_mask: u64,
    return_mask: u64,
}

#[repr(C)]
#[derive(Clone, Copy, Default)]
struct PageRegion {
    start: u64,
    end: u64,
    categories: u64,
}

const _: () = assert!(size_of::<ScanArg>() == 96 && size_of::<PageRegion>() == 24);

/// One scan: how many regions were found, and the address that it got to.
fn scan(
    file: &File,
    range: Range<u64>,
    wanted: Wanted,
    found: &mut [PageRegion],
) -> io::Result<(usize, u64)> {
    let mut arg = ScanArg {
        size: size_of::<ScanArg>() as u64,
        start: range.start,
        end: range.end,
        category_inverted: wanted.inverted,
        category_mask: wanted.mask,
        category_anyof_mask: wanted.any,
        return_mask: PRESENT | SWAPPED,
        ..ScanArg::default()
    };
    let count = request(file, &mut arg, found)?;
    Ok((count, arg.walk_end))
}

/// Makes a request; how many regions were found.
fn request(file: &File, arg: &mut ScanArg, found: &mut [PageRegion]) -> io::Result<usize> {
    arg.vec = found.as_mut_ptr() as u64;
    arg.vec_len = found.len() as u64;
    // SAFETY: the request's structure; the kernel writes at most `vec_len` regions into `found`.
    let count = unsafe { libc::ioctl(file.as_raw_fd(), PAGEMAP_SCAN, std::ptr::from_mut(arg)) };
    match usize::try_from(count) {
        Ok(count) => Ok(count.min(found.len())),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use memmap2::MmapMut;

    /// 64 pages: eight written, then eight left alone, and so on.
    fn striped() -> (MmapMut, Range<u64>, Vec<Region>) {
        let mut memory = MmapMut::map_anon(64 * PAGE as usize).expect("memory");
        let start = memory.as_ptr() as u64;
        // SAFETY: advice on our own pages, so that none comes as a part of a huge one.
        unsafe {
            libc::madvise(
                memory.as_mut_ptr().cast(),
                memory.len(),
                libc::MADV_NOHUGEPAGE,
            )
        };
        let mut expected = Vec::new();
        for page in (0..64).filter(|page| page & 8 == 0) {
            memory[page * PAGE as usize] = 1;
            if page % 8 == 0 {
                let start = start + page as u64 * PAGE;
                expected.push(Region {
                    start,
                    end: start + 8 * PAGE,
                    swapped: false,
                });
            }
        }
        (memory, start..start + 64 * PAGE, expected)
    }

    #[test]
    fn pages_that_were_written_are_in_memory() {
        let (_memory, range, expected) = striped();
        let found = touched(std::process::id(), &[range]).expect("own page map");
        assert_eq!(found, expected);
    }

    #[test]
    fn reading_the_page_map_finds_the_same() {
        let (_memory, range, expected) = striped();
        let pid = std::process::id();
        let map = PageMap::open(pid).expect("own page map");
        assert_eq!(map.read(pid, &[range]).expect("own page map"), expected);
    }

    #[test]
    fn a_page_that_was_only_read_is_not_in_memory() {
        let memory = MmapMut::map_anon(PAGE as usize).expect("memory");
        assert_eq!(std::hint::black_box(memory[0]), 0);
        let start = memory.as_ptr() as u64;
        let map = PageMap::open(std::process::id()).expect("own page map");
        match map.scan(std::slice::from_ref(&(start..start + PAGE))) {
            Ok(found) => assert_eq!(found, []),
            Err(error) => assert!(is_unknown(&error), "{error}"),
        }
    }

    #[test]
    fn a_large_reservation_takes_no_time() {
        let len = 1u64 << 40;
        // SAFETY: address space that nothing else uses, without access.
        let start = unsafe {
            libc::mmap(
                std::ptr::null_mut(),
                len as usize,
                libc::PROT_NONE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        assert_ne!(start, libc::MAP_FAILED);
        let range = start as u64..start as u64 + len;
        let before = std::time::Instant::now();
        let pid = std::process::id();
        assert_eq!(
            touched(pid, std::slice::from_ref(&range)).expect("own page map"),
            []
        );
        let map = PageMap::open(pid).expect("own page map");
        assert_eq!(map.read(pid, &[range]).expect("own page map"), []);
        assert!(before.elapsed().as_secs() < 5, "{:?}", before.elapsed());
        // SAFETY: the range mapped above.
        unsafe { libc::munmap(start, len as usize) };
    }

    #[test]
    fn overlaps_of_ranges() {
        let found = both(&[0..10, 20..30, 30..31], &[5..6, 8..25, 29..40]);
        assert_eq!(found, [5..6, 8..10, 20..25, 29..30, 30..31]);
    }

    #[test]
    fn a_vanished_process_is_gone() {
        assert!(matches!(
            touched(1 << 23, &[]),
            Err(ProcessError::Gone { .. })
        ));
    }
}
