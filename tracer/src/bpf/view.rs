//! A BPF array, mapped into our own memory: read without a system call.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::OnceLock;
use std::sync::atomic::{Ordering, fence};

use memmap2::{MmapOptions, MmapRaw};
use tracer_common::key::StackTotals;

/// Bytes that are mapped at a time of an array that is mapped in parts.
const PART: usize = 64 << 10;

/// A mapped `BPF_F_MMAPABLE` array of `T`.
///
/// The kernel rounds elements up to 8 bytes (kernel/bpf/arraymap.c), so `T` must be a multiple of that.
pub struct ArrayView<T> {
    map: OwnedFd,
    len: usize,
    /// Elements of a part.
    part: usize,
    parts: Vec<OnceLock<MmapRaw>>,
    element: PhantomData<T>,
}

impl<T: aya::Pod> ArrayView<T> {
    /// Maps an array of `len` elements.
    ///
    /// # Errors
    /// What the kernel says.
    pub fn new(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        let view = Self::with_parts(map, len, len.max(1))?;
        if let Some(part) = view.parts.first() {
            let map = view.map(0)?;
            part.get_or_init(|| map);
        }
        Ok(view)
    }

    /// An array of `len` elements, each part of which is mapped when it is used for the first time: a page that is
    /// mapped counts as memory of ours, and of some arrays few are ever used. An element in a part that cannot be
    /// mapped is as one beyond the end.
    ///
    /// # Errors
    /// If there is no further descriptor.
    pub fn in_parts(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        const {
            assert!(
                PART.is_multiple_of(size_of::<T>()),
                "no element lies in two parts"
            )
        };
        Self::with_parts(map, len, PART / size_of::<T>())
    }

    fn with_parts(map: BorrowedFd<'_>, len: usize, part: usize) -> io::Result<Self> {
        const {
            assert!(
                size_of::<T>().is_multiple_of(8),
                "elements are rounded up to 8 bytes"
            )
        };
        Ok(Self {
            map: map.try_clone_to_owned()?,
            len,
            part,
            parts: (0..len.div_ceil(part)).map(|_| OnceLock::new()).collect(),
            element: PhantomData,
        })
    }

    fn map(&self, part: usize) -> io::Result<MmapRaw> {
        let first = part * self.part;
        MmapOptions::new()
            .offset((first * size_of::<T>()) as u64)
            .len(self.part.min(self.len - first) * size_of::<T>())
            .map_raw(self.map.as_raw_fd())
    }

    /// Address of an element, for volatile access; `None` beyond the end.
    pub fn pointer(&self, index: usize) -> Option<*mut T> {
        if index >= self.len {
            return None;
        }
        let number = index / self.part;
        let part = self.parts.get(number)?;
        let map = match part.get() {
            Some(map) => map,
            None => {
                let map = self.map(number).ok()?;
                part.get_or_init(|| map)
            }
        };
        // SAFETY: the index is within the part, which is page aligned.
        Some(unsafe { map.as_mut_ptr().cast::<T>().add(index % self.part) })
    }

    /// A copy of an element, word by word as the kernel side left it.
    pub fn read(&self, index: usize) -> Option<T> {
        // SAFETY: a mapped, aligned element; `Pod` is valid for every bit pattern. Volatile because BPF
        // programs write it meanwhile.
        self.pointer(index)
            .map(|element| unsafe { element.read_volatile() })
    }

    /// Replaces an element.
    pub fn write(&self, index: usize, value: T) -> bool {
        // SAFETY: as in `read`; the mapping is writable.
        self.pointer(index)
            .map(|element| unsafe { element.write_volatile(value) })
            .is_some()
    }
}

impl ArrayView<StackTotals> {
    /// A row's totals. What was released is read first, so that live memory is never negative.
    pub fn totals(&self, row: u32) -> StackTotals {
        let Some(element) = self.pointer(row as usize) else {
            return StackTotals::default();
        };
        // SAFETY: mapped, aligned counters that BPF programs add to meanwhile.
        unsafe {
            let free_bytes = (&raw const (*element).free_bytes).read_volatile();
            let free_count = (&raw const (*element).free_count).read_volatile();
            fence(Ordering::Acquire);
            StackTotals {
                alloc_bytes: (&raw const (*element).alloc_bytes).read_volatile(),
                alloc_count: (&raw const (*element).alloc_count).read_volatile(),
                free_bytes,
                free_count,
            }
        }
    }
}
