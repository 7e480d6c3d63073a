//! Records of `memlens kernel`: what the kernel's own allocations are kept by, and what user space tells the programs.

mod loss;

pub use loss::KernelLoss;

use zerocopy::{FromBytes, IntoBytes};

use crate::live::Payload;
use crate::sampling::{self, COUNT_ONE};

/// Where memory of the kernel comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Kind {
    /// The slab allocator: `kmalloc` and the caches.
    Slab = 0,
    /// The page allocator.
    Pages = 1,
    /// The per-CPU allocator.
    PerCpu = 2,
}

impl Kind {
    /// All kinds, in order of their numbers.
    pub const ALL: [Self; 3] = [Self::Slab, Self::Pages, Self::PerCpu];

    /// Stable name, as in the JSON report.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Slab => "slab",
            Self::Pages => "pages",
            Self::PerCpu => "percpu",
        }
    }

    /// Key of a live block, of bits 2 to 62. The upper seven bits of all kernel addresses are the same, so blocks of
    /// two kinds never meet.
    #[inline(always)]
    pub const fn key(self, address: u64) -> u64 {
        (address ^ ((self as u64 + 1) << 57)) << 3 >> 1
    }
}

/// Flavours of `kmalloc` caches, in the order in which the kernel decides (`kmalloc_type`, include/linux/slab.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Flavour {
    /// `kmalloc-N`.
    Normal = 0,
    /// `dma-kmalloc-N`.
    Dma = 1,
    /// `kmalloc-rcl-N`: the kernel can take it back.
    Reclaimable = 2,
    /// `kmalloc-cg-N`: charged to a cgroup.
    Accounted = 3,
}

/// What a stack has allocated: one cache's objects, blocks of pages of one order, or per-CPU memory.
///
/// A cache is known by its address in the kernel, whose upper byte is 0xff; everything else has another upper byte.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
#[repr(transparent)]
pub struct What(pub u64);

const KMALLOC: u64 = 1;
const PAGES: u64 = 2;
const PERCPU: u64 = 3;
const TAG_SHIFT: u32 = 56;
const FLAVOUR_SHIFT: u32 = 48;

impl What {
    /// Objects of `kmalloc`, by the bytes that each takes.
    #[inline(always)]
    pub const fn kmalloc(bytes: u64, flavour: u32) -> Self {
        let bytes = bytes & ((1 << FLAVOUR_SHIFT) - 1);
        Self(KMALLOC << TAG_SHIFT | (flavour as u64) << FLAVOUR_SHIFT | bytes)
    }

    /// Blocks of `2^order` pages.
    #[inline(always)]
    pub const fn pages(order: u32) -> Self {
        Self(PAGES << TAG_SHIFT | order as u64)
    }

    /// Per-CPU memory.
    pub const PERCPU: Self = Self(PERCPU << TAG_SHIFT);

    /// Reads it back.
    pub const fn decode(self) -> Decoded {
        let low = self.0 & ((1 << FLAVOUR_SHIFT) - 1);
        match self.0 >> TAG_SHIFT {
            KMALLOC => Decoded::Kmalloc {
                bytes: low,
                flavour: match (self.0 >> FLAVOUR_SHIFT) & 0xff {
                    1 => Flavour::Dma,
                    2 => Flavour::Reclaimable,
                    3 => Flavour::Accounted,
                    _ => Flavour::Normal,
                },
            },
            PAGES => Decoded::Pages { order: low as u32 },
            PERCPU => Decoded::PerCpu,
            _ => Decoded::Cache(self.0),
        }
    }

    /// Where the memory comes from.
    pub const fn kind(self) -> Kind {
        match self.decode() {
            Decoded::Kmalloc { .. } | Decoded::Cache(_) => Kind::Slab,
            Decoded::Pages { .. } => Kind::Pages,
            Decoded::PerCpu => Kind::PerCpu,
        }
    }
}

/// What a [`What`] means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Decoded {
    /// An object of a cache, by the cache's address.
    Cache(u64),
    /// An object of `kmalloc`.
    Kmalloc {
        /// Bytes that it takes.
        bytes: u64,
        /// Which of the caches of that size.
        flavour: Flavour,
    },
    /// A block of pages.
    Pages {
        /// It has `2^order` pages.
        order: u32,
    },
    /// Per-CPU memory.
    PerCpu,
}

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Largest block of the page allocator has `2^MAX_ORDER` pages (`MAX_PAGE_ORDER` on x86-64).
pub const MAX_ORDER: u32 = 10;
/// Words of a cache's name that are kept and compared.
pub const NAME_WORDS: usize = 4;
/// Every order, or every class of `kmalloc`.
pub const ANY: u32 = u32::MAX;

/// Constants of one trace, frozen before the programs are loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct KernelConfig {
    /// Mean bytes between two samples; 0 traces every block.
    pub sample_bytes: u64,
    /// Smaller blocks are not tracked.
    pub min_size: u64,
    /// Length of the kernel's tick, in nanoseconds.
    pub tick_ns: u64,
    /// The only cache to track, by the beginning of its name; zero for all.
    pub cache_name: [u64; NAME_WORDS],
    /// The only `kmalloc` class to track, as [`What`]; 0 for all, [`NO_KMALLOC`] for none.
    pub kmalloc: u64,
    /// The only order of pages to track, or [`ANY`].
    pub order: u32,
    /// 1: also track movable pages, which are user memory and page cache.
    pub movable: u32,
    /// Flag of movable allocations, `__GFP_MOVABLE`.
    pub gfp_movable: u32,
    /// `__GFP_DMA`.
    pub gfp_dma: u32,
    /// `__GFP_RECLAIMABLE`.
    pub gfp_reclaimable: u32,
    /// `__GFP_ACCOUNT`.
    pub gfp_accounted: u32,
    /// Offset of `kmem_cache.size`.
    pub cache_size: u32,
    /// Offset of `kmem_cache.name`.
    pub cache_name_offset: u32,
    /// Bytes of `struct page`, as a power of two.
    pub page_shift: u32,
    /// Keeps the record free of implicit padding.
    pub reserved: u32,
}

/// [`KernelConfig::kmalloc`] where no class of `kmalloc` is wanted.
pub const NO_KMALLOC: u64 = u64::MAX;

/// Counters and the switch of a running trace; one element.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct KernelState {
    /// 0 until all programs are in place.
    pub enabled: u32,
    /// Rows for stacks handed out, one number above the last.
    pub rows: u32,
    /// Frames handed out.
    pub frames: u32,
    /// Keeps the record free of implicit padding.
    pub reserved: u32,
    /// Live blocks of pages by order, at least: none is looked for where there is none.
    pub orders: [u64; 12],
}

/// A live block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct KernelBlock {
    /// `CLOCK_MONOTONIC` at the allocation, in nanoseconds.
    pub time_ns: u64,
    /// Row of the stack.
    pub row: u32,
    /// Bytes.
    pub size: u32,
    /// Bytes of the block that it was allocated in: more than `size` where others of its pages were released by
    /// themselves.
    pub whole: u32,
}

impl KernelBlock {
    /// As it is kept in the table of live blocks, with a mark of 0.
    #[inline(always)]
    pub const fn payload(&self) -> Payload {
        [
            self.size as u64,
            self.time_ns,
            self.row as u64 | (self.whole as u64) << 32,
        ]
    }

    /// The block in a slot of that table.
    #[inline(always)]
    pub const fn from_payload(payload: &Payload) -> Self {
        Self {
            time_ns: payload[1],
            row: payload[2] as u32,
            size: payload[0] as u32,
            whole: (payload[2] >> 32) as u32,
        }
    }

    /// What it stands for, in bytes and in blocks of 1/[`COUNT_ONE`]: its share of what the whole block stands for, so
    /// that the parts of a block that is released bit by bit take off what it has added. Sizes of parts are powers of
    /// two, as the whole is.
    #[inline(always)]
    pub fn weight(&self, interval: u64) -> (u64, u64) {
        let (bytes, count) = if interval == 0 {
            (self.whole as u64, COUNT_ONE)
        } else {
            sampling::weight(self.whole as u64, interval)
        };
        if self.size == self.whole {
            return (bytes, count);
        }
        // Only blocks of pages have parts: both are powers of two.
        let shift = self
            .whole
            .trailing_zeros()
            .saturating_sub(self.size.trailing_zeros())
            & 31;
        (bytes >> shift, count >> shift)
    }
}

/// Key of a row: a stack, and what it has allocated.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes)]
#[repr(C)]
pub struct KernelStackKey {
    /// Hash over the frames.
    pub hash: u64,
    /// What was allocated.
    pub what: u64,
}

/// What is known of a row besides its frames and totals.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct KernelRow {
    /// What was allocated, a [`What`].
    pub what: u64,
    /// Its first frame in the store.
    pub first_frame: u32,
    /// Number of its frames.
    pub frames: u32,
    /// [`KernelRow::READY`] once all is written.
    pub state: u32,
    /// Blocks of this row that were allocated again although no release had been seen.
    pub missed_frees: u32,
}

impl KernelRow {
    /// The row holds a stack.
    pub const READY: u32 = 1;
}

/// A cache of the slab allocator, as it was when its first object was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Cache {
    /// The beginning of its name, ended by a zero where that is shorter.
    pub name: [u64; NAME_WORDS],
    /// Bytes that an object takes.
    pub size: u32,
    /// 1: its objects are tracked.
    pub wanted: u32,
}

/// Rows without a stack, one for each [`Kind`]: for what found no row of its own.
pub const SPARE_ROWS: u32 = 3;
/// Rows for stacks. The paths of a kernel under mixed load are some thousands; interrupts make more, since each lies
/// upon what it has interrupted.
pub const ROWS: u32 = 1 << 16;
/// Frames of all stacks: 32 for each row on average, 16 MiB.
pub const FRAMES: u32 = 1 << 21;
/// Most frames of one stack.
pub const DEPTH: u32 = 127;
/// Caches known: hosts have two hundred, more where file systems make their own.
pub const CACHES: u32 = 4096;
/// Live blocks that there is room for by default: 40 MiB.
pub const DEFAULT_MAX_LIVE: u32 = 1 << 20;
/// Most objects that are taken out of one release in bulk; the kernel's own batches have some five hundred at most.
pub const MAX_BULK: u32 = 4096;

/// The programs that can be interrupted by themselves: each has its counters, and those that allocate their room for a
/// stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Program {
    /// `kmalloc`.
    Kmalloc = 0,
    /// `kmem_cache_alloc`.
    CacheAlloc = 1,
    /// `mm_page_alloc`.
    PageAlloc = 2,
    /// `percpu_alloc_percpu`.
    PerCpuAlloc = 3,
    /// `kfree`.
    Kfree = 4,
    /// `kmem_cache_free`.
    CacheFree = 5,
    /// `mm_page_free`.
    PageFree = 6,
}

/// Number of [`Program`]s.
pub const PROGRAMS: u32 = 7;

/// What a program and the one behind it tell each other, on one CPU.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct KernelGuard {
    /// The block that the first program has done with, and the second one has not been called for.
    pub done: u64,
    /// What stood there before.
    pub previous: u64,
    /// How often the second one has done its work.
    pub taken_over: u64,
}

const _: () = assert!(size_of::<KernelConfig>() == 104);
const _: () = assert!(size_of::<KernelState>() == 112);
const _: () = assert!(size_of::<KernelBlock>() == 24);
const _: () = assert!(size_of::<KernelStackKey>() == 16);
const _: () = assert!(size_of::<KernelRow>() == 24);
const _: () = assert!(size_of::<Cache>() == 40);
const _: () = assert!(size_of::<KernelGuard>() == 24);

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_read_back() {
        let flavours = [
            Flavour::Normal,
            Flavour::Dma,
            Flavour::Reclaimable,
            Flavour::Accounted,
        ];
        for flavour in flavours {
            let what = What::kmalloc(192, flavour as u32);
            assert_eq!(
                what.decode(),
                Decoded::Kmalloc {
                    bytes: 192,
                    flavour
                }
            );
            assert_eq!(what.kind(), Kind::Slab);
        }
        for order in 0..=MAX_ORDER {
            assert_eq!(What::pages(order).decode(), Decoded::Pages { order });
        }
        let cache = What(0xffff_8881_0004_2a00);
        assert_eq!(cache.decode(), Decoded::Cache(cache.0));
        assert_eq!(What::PERCPU.kind(), Kind::PerCpu);
    }

    proptest! {
        /// Blocks of two kinds have two keys, whatever their addresses: of the direct map, of `struct page`, of per-CPU
        /// memory.
        #[test]
        fn kinds_have_keys_of_their_own(one in 0u64..1 << 56, other in 0u64..1 << 56, negative: bool) {
            let canonical = |address: u64| address | 0xff00 << 48;
            let (slab, page) = (Kind::Slab.key(canonical(one)), Kind::Pages.key(canonical(other)));
            let percpu = if negative { canonical(one) } else { one };
            let percpu = Kind::PerCpu.key(percpu);
            prop_assert!(slab != page && page != percpu && slab != percpu);
            prop_assert_eq!(Kind::Slab.key(canonical(one)) == Kind::Slab.key(canonical(other)), one == other);
        }

        /// However a block of pages is released in parts, these take off what the block has added, to less than a byte
        /// each.
        #[test]
        fn parts_weigh_what_the_whole_does(order in 0u32..=MAX_ORDER, interval in 0u64..1 << 30, choice: u64) {
            let whole = (PAGE << order) as u32;
            let block = KernelBlock { size: whole, whole, ..KernelBlock::default() };
            let total = block.weight(interval);
            let (mut sum, mut left, mut parts) = ((0, 0), vec![whole], 0u32);
            while let Some(size) = left.pop() {
                if u64::from(size) > PAGE && choice >> (parts % 64) & 1 == 1 {
                    left.extend([size / 2, size / 2]);
                    parts += 1;
                    continue;
                }
                let weight = KernelBlock { size, ..block }.weight(interval);
                sum = (sum.0 + weight.0, sum.1 + weight.1);
                parts += 1;
            }
            prop_assert!(sum.0 <= total.0 && total.0 - sum.0 <= u64::from(parts));
            prop_assert!(sum.1 <= total.1 && total.1 - sum.1 <= u64::from(parts));
            if interval == 0 {
                prop_assert_eq!(sum, total);
            }
        }
    }
}
