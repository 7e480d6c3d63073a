//! The ring of a perf event: records in, their bytes out (perf_event_open(2)).

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering};

use aya_obj::generated::{perf_event_attr, perf_event_mmap_page};
use memmap2::{MmapOptions, MmapRaw};

/// The ring of an event of all processes on one CPU.
pub struct PerfRing {
    event: OwnedFd,
    ring: MmapRaw,
    page_size: usize,
    pages: usize,
}

impl PerfRing {
    /// Opens the event on each online CPU, with so many data pages, a power of two.
    pub fn open_all(attr: &perf_event_attr, pages: usize) -> io::Result<Vec<Self>> {
        let cpus = aya::util::online_cpus().map_err(|(_, error)| error)?;
        cpus.into_iter()
            .map(|cpu| Self::open_on(attr, pages, cpu))
            .collect()
    }

    fn open_on(attr: &perf_event_attr, pages: usize, cpu: u32) -> io::Result<Self> {
        const CLOEXEC: libc::c_ulong = 1 << 3;
        // SAFETY: a complete attribute structure with its size; all processes on one CPU.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                ptr::from_ref(attr),
                -1,
                cpu as libc::c_int,
                -1,
                CLOEXEC,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the kernel has just made this descriptor for us.
        let event = unsafe { OwnedFd::from_raw_fd(fd as RawFd) };
        let page_size = nix::unistd::sysconf(nix::unistd::SysconfVar::PAGE_SIZE)
            .ok()
            .flatten()
            .and_then(|size| usize::try_from(size).ok())
            .unwrap_or(4096);
        let ring = MmapOptions::new()
            .len((1 + pages) * page_size)
            .map_raw(event.as_raw_fd())?;
        Ok(Self {
            event,
            ring,
            page_size,
            pages,
        })
    }

    /// Takes all records out, oldest first.
    pub fn drain(&mut self) -> Vec<Vec<u8>> {
        let header = self.ring.as_mut_ptr().cast::<perf_event_mmap_page>();
        // SAFETY: the mapping begins with this structure; `data_head` is written by the kernel, `data_tail` by us,
        // both aligned.
        let (head, tail) = unsafe {
            (
                AtomicU64::from_ptr(&raw mut (*header).data_head),
                AtomicU64::from_ptr(&raw mut (*header).data_tail),
            )
        };
        let end = head.load(Ordering::Acquire);
        let mut at = tail.load(Ordering::Relaxed);
        let mut records = Vec::new();
        while at < end {
            let size = u16::from_ne_bytes(self.bytes(at + 6));
            if size == 0 {
                break; // not a record; the kernel does not write this
            }
            records.push((at..at + u64::from(size)).map(|at| self.byte(at)).collect());
            at += u64::from(size);
        }
        tail.store(end, Ordering::Release);
        records
    }

    fn bytes<const N: usize>(&self, at: u64) -> [u8; N] {
        std::array::from_fn(|index| self.byte(at + index as u64))
    }

    /// One byte of the data, around the ring's end if need be.
    fn byte(&self, at: u64) -> u8 {
        let offset = at as usize % (self.pages * self.page_size);
        // SAFETY: within the data pages, which begin one page into the mapping.
        unsafe { ptr::read_volatile(self.ring.as_ptr().add(self.page_size + offset)) }
    }
}

impl AsRawFd for PerfRing {
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}

/// An attribute structure that asks for nothing but the time of each record, and to be woken by the first.
pub fn attributes() -> perf_event_attr {
    // SAFETY: a structure of integers, for which zero means "not asked for".
    let mut attr: perf_event_attr = unsafe { std::mem::zeroed() };
    attr.size = size_of::<perf_event_attr>() as u32;
    attr.sample_type = aya_obj::generated::perf_event_sample_format::PERF_SAMPLE_TIME as u64;
    attr.clockid = libc::CLOCK_MONOTONIC;
    attr.set_use_clockid(1);
    attr.set_sample_id_all(1);
    attr.set_watermark(1);
    attr.__bindgen_anon_2.wakeup_watermark = 1;
    attr
}

/// A number within a record.
pub fn u32_at(record: &[u8], at: usize) -> Option<u32> {
    let bytes = record.get(at..at.checked_add(4)?)?;
    Some(u32::from_ne_bytes(bytes.try_into().ok()?))
}

/// A number within a record.
pub fn u64_at(record: &[u8], at: usize) -> Option<u64> {
    let bytes = record.get(at..at.checked_add(8)?)?;
    Some(u64::from_ne_bytes(bytes.try_into().ok()?))
}
