//! A BPF array, mapped into our own memory: read without a system call.

use std::io;
use std::marker::PhantomData;
use std::os::fd::{AsRawFd, BorrowedFd};

use memmap2::{MmapOptions, MmapRaw};
use tracer_common::key::StackTotals;

/// A mapped `BPF_F_MMAPABLE` array of `T`.
pub struct ArrayView<T> {
    map: MmapRaw,
    len: usize,
    element: PhantomData<T>,
}

impl<T: aya::Pod> ArrayView<T> {
    /// Maps an array of `len` elements.
    ///
    /// The kernel rounds elements up to 8 bytes (kernel/bpf/arraymap.c), so `T` must be a multiple of that.
    pub fn new(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        const {
            assert!(
                size_of::<T>().is_multiple_of(8),
                "elements are rounded up to 8 bytes"
            )
        };
        let map = MmapOptions::new()
            .len(len * size_of::<T>())
            .map_raw(map.as_raw_fd())?;
        Ok(Self {
            map,
            len,
            element: PhantomData,
        })
    }

    /// Address of an element, for volatile access; `None` beyond the end.
    pub fn pointer(&self, index: usize) -> Option<*mut T> {
        if index >= self.len {
            return None;
        }
        // SAFETY: the index is within the mapping, which is page aligned.
        Some(unsafe { self.map.as_mut_ptr().cast::<T>().add(index) })
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
            StackTotals {
                alloc_bytes: (&raw const (*element).alloc_bytes).read_volatile(),
                alloc_count: (&raw const (*element).alloc_count).read_volatile(),
                free_bytes,
                free_count,
            }
        }
    }
}
