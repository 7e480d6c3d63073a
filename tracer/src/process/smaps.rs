//! What each mapping of a process holds, from `/proc/PID/smaps`, and the sum from `smaps_rollup`.

use super::error::{self, ProcessError};
use super::maps::{self, Mapping};

/// Bytes of a mapping, by what the kernel knows of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// In memory (RSS).
    pub resident: u64,
    /// In memory, each page divided by the number of processes that share it (PSS).
    pub proportional: u64,
    /// In memory without a file behind it.
    pub anonymous: u64,
    /// Swapped out.
    pub swapped: u64,
    /// In transparent huge pages.
    pub huge: u64,
    /// In huge pages of hugetlbfs, which no RSS counts.
    pub hugetlb: u64,
}

/// A mapping and what it holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Region {
    /// Where, and of what.
    pub mapping: Mapping,
    /// How much of it.
    pub usage: Usage,
}

impl Region {
    /// Cuts its end off. What was in which part is not known, so each is taken to hold its share.
    fn end_at(&mut self, end: u64) {
        let whole = self.mapping.end - self.mapping.start;
        let left = end - self.mapping.start;
        let share = |bytes: &mut u64| {
            let part = u128::from(*bytes) * u128::from(left) / u128::from(whole);
            *bytes = u64::try_from(part).unwrap_or(*bytes);
        };
        let usage = &mut self.usage;
        share(&mut usage.resident);
        share(&mut usage.proportional);
        share(&mut usage.anonymous);
        share(&mut usage.swapped);
        share(&mut usage.huge);
        share(&mut usage.hugetlb);
        self.mapping.end = end;
    }
}

/// Reads every mapping of a process. The kernel writes the text page by page, so a process that works meanwhile is not
/// seen at one moment.
///
/// # Errors
/// [`ProcessError`]; `Denied` without the right to trace the process.
pub fn read(pid: u32) -> Result<Vec<Region>, ProcessError> {
    parse(&error::read(pid, "smaps")?).map_err(|what| ProcessError::Malformed {
        path: format!("/proc/{pid}/smaps").into(),
        what,
    })
}

/// Reads the sum over all mappings, which the kernel takes in one go.
///
/// # Errors
/// As [`read`].
pub fn read_rollup(pid: u32) -> Result<Usage, ProcessError> {
    let text = error::read(pid, "smaps_rollup")?;
    let mut usage = Usage::default();
    for line in lines(&text) {
        add(&mut usage, line);
    }
    Ok(usage)
}

/// Parses a whole `smaps` text.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(text: &[u8]) -> Result<Vec<Region>, String> {
    let mut regions: Vec<Region> = Vec::new();
    for line in lines(text) {
        match (is_field(line), regions.last_mut()) {
            (true, Some(region)) => add(&mut region.usage, line),
            (true, None) => return Err("it does not begin with a mapping".to_owned()),
            (false, _) => {
                let region = Region {
                    mapping: maps::parse_line(line).map_err(|error| error.to_string())?,
                    usage: Usage::default(),
                };
                maps::add(
                    &mut regions,
                    region,
                    |region| &region.mapping,
                    Region::end_at,
                );
            }
        }
    }
    Ok(regions)
}

fn lines(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    text.split(|byte| *byte == b'\n')
        .filter(|line| !line.is_empty())
}

/// Fields begin with a capital letter, mappings with a hexadecimal address.
fn is_field(line: &[u8]) -> bool {
    line.first().is_some_and(u8::is_ascii_uppercase)
}

fn add(usage: &mut Usage, line: &[u8]) {
    let Some(colon) = line.iter().position(|byte| *byte == b':') else {
        return;
    };
    let place = match &line[..colon] {
        b"Rss" => &mut usage.resident,
        b"Pss" => &mut usage.proportional,
        b"Anonymous" => &mut usage.anonymous,
        b"Swap" => &mut usage.swapped,
        b"AnonHugePages" | b"ShmemPmdMapped" | b"FilePmdMapped" => &mut usage.huge,
        b"Shared_Hugetlb" | b"Private_Hugetlb" => &mut usage.hugetlb,
        _ => return,
    };
    let digits = line[colon + 1..]
        .iter()
        .skip_while(|byte| **byte == b' ')
        .map_while(|byte| byte.is_ascii_digit().then(|| u64::from(byte - b'0')));
    let kib = digits.fold(0_u64, |sum, digit| {
        sum.saturating_mul(10).saturating_add(digit)
    });
    *place = place.saturating_add(kib.saturating_mul(1024));
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

    use super::*;
    use crate::process::maps::MappingName;

    const SAMPLE: &[u8] = b"\
55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0                          [heap]\n\
Size:                132 kB\n\
KernelPageSize:        4 kB\n\
MMUPageSize:           4 kB\n\
Rss:                  88 kB\n\
Pss:                  44 kB\n\
Pss_Dirty:            12 kB\n\
Anonymous:            80 kB\n\
AnonHugePages:         4 kB\n\
FilePmdMapped:         2 kB\n\
Private_Hugetlb:       8 kB\n\
Swap:                 16 kB\n\
SwapPss:               8 kB\n\
THPeligible:           0\n\
VmFlags: rd wr mr mw me ac \n\
7f0000000000-7f0000001000 r-xp 00000000 00:1a 99                         /usr/lib/libRss: 5 kB.so\n\
Rss:                   4 kB\n";

    #[test]
    fn fields_belong_to_the_mapping_before_them() {
        let regions = parse(SAMPLE).expect("sample parses");
        assert_eq!(regions.len(), 2);
        assert_eq!(
            regions[0].usage,
            Usage {
                resident: 88 << 10,
                proportional: 44 << 10,
                anonymous: 80 << 10,
                swapped: 16 << 10,
                huge: 6 << 10,
                hugetlb: 8 << 10,
            }
        );
        assert_eq!(
            regions[0].mapping.name,
            MappingName::Special("[heap]".into())
        );
        assert_eq!(regions[1].usage.resident, 4 << 10);
    }

    #[test]
    fn a_mapping_that_has_grown_meanwhile_counts_once() {
        let text = b"\
55d0c1000000-55d0c1021000 rw-p 00000000 00:00 0                          [heap]\n\
Rss:                  88 kB\n\
55d0c1000000-55d0c1042000 rw-p 00000000 00:00 0                          [heap]\n\
Rss:                 172 kB\n\
7f0000000000-7f0000004000 rw-p 00000000 00:00 0 \n\
Rss:                  16 kB\n\
Swap:                  8 kB\n\
7f0000001000-7f0000006000 ---p 00000000 00:00 0 \n\
Rss:                   0 kB\n";
        let regions = parse(text).expect("parses");
        let told = regions.iter().map(|region| {
            let size = region.mapping.end - region.mapping.start;
            [size, region.usage.resident, region.usage.swapped].map(|bytes| bytes >> 10)
        });
        assert_eq!(
            told.collect::<Vec<_>>(),
            [[264, 172, 0], [4, 4, 2], [20, 0, 0]]
        );
    }

    const STRETCH: usize = 64 << 20;
    const STRETCHES: usize = 16;
    const PAGE: usize = 4096;

    /// Makes the first pages of each stretch accessible, one more with each round.
    fn grow(reserved: usize, stop: &AtomicBool) {
        let protect = |at: usize, len: usize, access| {
            // SAFETY: a part of the test's own reservation, which nothing else uses.
            let result = unsafe { libc::mprotect(at as *mut libc::c_void, len, access) };
            assert_eq!(result, 0);
        };
        while !stop.load(Relaxed) {
            for len in (PAGE..STRETCH).step_by(PAGE) {
                for at in (reserved..).step_by(STRETCH).take(STRETCHES) {
                    protect(at, len, libc::PROT_READ | libc::PROT_WRITE);
                }
                if stop.load(Relaxed) {
                    return;
                }
            }
            protect(reserved, STRETCH * STRETCHES, libc::PROT_NONE);
        }
    }

    /// The text ends a page behind one of five mappings, so some of these are read in two parts.
    #[test]
    fn what_grows_while_it_is_read_is_told_once() {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE;
        let len = STRETCH * STRETCHES;
        // SAFETY: address space that nothing else uses, without access.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), len, libc::PROT_NONE, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        let reserved = start as usize;
        let stop = AtomicBool::new(false);
        let overlaps = |mappings: &[&Mapping]| mappings.windows(2).any(|m| m[0].end > m[1].start);
        let found = std::thread::scope(|scope| {
            scope.spawn(|| grow(reserved, &stop));
            let pid = std::process::id();
            let found = (0..200).any(|_| {
                let regions = read(pid).expect("own smaps");
                let maps = maps::read(pid).expect("own maps");
                overlaps(
                    &regions
                        .iter()
                        .map(|region| &region.mapping)
                        .collect::<Vec<_>>(),
                ) || overlaps(&maps.iter().collect::<Vec<_>>())
            });
            stop.store(true, Relaxed);
            found
        });
        assert!(!found);
        // SAFETY: the range mapped above, which nothing uses any more.
        unsafe { libc::munmap(start, len) };
    }

    #[test]
    fn what_is_not_a_mapping_is_refused() {
        assert!(parse(b"Rss: 4 kB\n").is_err());
        assert!(parse(b"55zz-66 rw-p 0 0:0 0\n").is_err());
        assert_eq!(parse(b""), Ok(Vec::new()));
    }

    #[test]
    fn the_sum_is_near_the_rollup() {
        let pid = std::process::id();
        let sum: u64 = read(pid)
            .expect("own smaps")
            .iter()
            .map(|region| region.usage.resident)
            .sum();
        let rollup = read_rollup(pid).expect("own rollup").resident;
        // Other tests of this process allocate meanwhile.
        assert!(
            sum > 0 && sum.abs_diff(rollup) < rollup / 2,
            "{sum} {rollup}"
        );
    }
}
