//! Which processes map new code: `mmap` records of one dummy perf event for each CPU.
//!
//! Driven by events: nothing is polled, and the traced program pays nothing but the record. Records:
//! perf_event_open(2), `PERF_RECORD_MMAP` (written for executable mappings only) and `PERF_RECORD_LOST`.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::ptr;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use aya_obj::generated::{
    perf_event_attr, perf_event_mmap_page, perf_event_type, perf_sw_ids, perf_type_id,
};
use memmap2::{MmapOptions, MmapRaw};

/// Data pages of a ring: room for some 500 records, whose file names take most of it.
const RING_PAGES: usize = 16;

/// What the records say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mapped {
    /// This process has mapped executable memory.
    Process(u32),
    /// Records were lost: any process may have.
    Unknown,
}

/// The ring of one CPU.
pub struct MappingEvents {
    event: OwnedFd,
    ring: MmapRaw,
    page_size: usize,
}

impl MappingEvents {
    /// Opens a ring for each online CPU.
    pub fn open() -> io::Result<Vec<Self>> {
        let cpus = aya::util::online_cpus().map_err(|(_, error)| error)?;
        cpus.into_iter().map(Self::open_on).collect()
    }

    fn open_on(cpu: u32) -> io::Result<Self> {
        // SAFETY: a structure of integers, for which zero means "not asked for".
        let mut attr: perf_event_attr = unsafe { std::mem::zeroed() };
        attr.type_ = perf_type_id::PERF_TYPE_SOFTWARE as u32;
        attr.size = size_of::<perf_event_attr>() as u32;
        attr.config = perf_sw_ids::PERF_COUNT_SW_DUMMY as u64;
        attr.set_mmap(1);
        attr.set_watermark(1);
        attr.__bindgen_anon_2.wakeup_watermark = 1;
        const CLOEXEC: libc::c_ulong = 1 << 3;
        // SAFETY: a complete attribute structure with its size; all processes on one CPU.
        let fd = unsafe {
            libc::syscall(
                libc::SYS_perf_event_open,
                &raw const attr,
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
            .len((1 + RING_PAGES) * page_size)
            .map_raw(event.as_raw_fd())?;
        Ok(Self {
            event,
            ring,
            page_size,
        })
    }

    /// Takes all records out.
    pub fn drain(&mut self) -> Vec<Mapped> {
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
        let mut mapped = Vec::new();
        while at < end {
            let mut words = [0u8; 16];
            self.copy(at, &mut words);
            let kind = u32::from_ne_bytes([words[0], words[1], words[2], words[3]]);
            let size = u16::from_ne_bytes([words[6], words[7]]);
            let pid = u32::from_ne_bytes([words[8], words[9], words[10], words[11]]);
            if size == 0 {
                break; // not a record; the kernel does not write this
            }
            if kind == perf_event_type::PERF_RECORD_MMAP as u32 {
                mapped.push(Mapped::Process(pid));
            } else if kind == perf_event_type::PERF_RECORD_LOST as u32 {
                mapped.push(Mapped::Unknown);
            }
            at += u64::from(size);
        }
        fence(Ordering::SeqCst);
        tail.store(end, Ordering::Release);
        mapped.dedup();
        mapped
    }

    /// Copies bytes out of the ring, around its end if need be.
    fn copy(&self, at: u64, to: &mut [u8]) {
        let size = RING_PAGES * self.page_size;
        for (index, byte) in to.iter_mut().enumerate() {
            let offset = (at as usize + index) % size;
            // SAFETY: within the data pages, which begin one page into the mapping.
            *byte = unsafe { ptr::read_volatile(self.ring.as_ptr().add(self.page_size + offset)) };
        }
    }
}

impl AsRawFd for MappingEvents {
    fn as_raw_fd(&self) -> RawFd {
        self.event.as_raw_fd()
    }
}
