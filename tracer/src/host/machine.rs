//! The machine's memory as one ledger: parts that add up to the total, and where each kind of growth belongs. Pure.

use std::io::Cursor;

use procfs::{FromBufRead, Meminfo};

/// One figure of the machine's memory, in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Figure {
    /// All memory that the kernel manages.
    Total,
    /// What programs could take without swapping, by the kernel's estimate (`MemAvailable`).
    Available,
    /// Used for nothing.
    Free,
    /// Anonymous memory of processes: heaps, stacks, arenas.
    Anonymous,
    /// Contents of files and of block devices; given back when needed, once written.
    Cache,
    /// tmpfs, System V and shared anonymous memory; leaves the machine only by swapping.
    Shared,
    /// Kernel objects that can be given back: mostly cached names and inodes of files.
    SlabReclaimable,
    /// Kernel objects that cannot.
    SlabUnreclaimable,
    /// Page tables, those of virtual machines and IOMMUs included.
    PageTables,
    /// Stacks of threads in the kernel.
    KernelStacks,
    /// Per-CPU memory of the kernel.
    PerCpu,
    /// Large areas of the kernel (vmalloc), its stacks not counted.
    Vmalloc,
    /// Pool of huge pages (hugetlbfs), used or not.
    HugePages,
    /// Swapped pages that are kept compressed in memory.
    Zswap,
    /// The rest of the total: pages that drivers, virtual machines' balloons and others took directly.
    Other,
    /// Swap space in use.
    Swap,
    /// Size of the swap space.
    SwapTotal,
    /// Address space that was promised, touched or not.
    Committed,
    /// The promise that the kernel keeps to in strict mode (`vm.overcommit_memory` 2).
    CommitLimit,
    /// Anonymous memory in transparent huge pages; part of the anonymous memory.
    AnonymousHuge,
    /// Page cache in huge pages, shared memory included.
    FileHuge,
}

impl Figure {
    /// All, in the order in which they are given out.
    pub const ALL: [Self; 21] = [
        Self::Total,
        Self::Available,
        Self::Free,
        Self::Anonymous,
        Self::Cache,
        Self::Shared,
        Self::SlabReclaimable,
        Self::SlabUnreclaimable,
        Self::PageTables,
        Self::KernelStacks,
        Self::PerCpu,
        Self::Vmalloc,
        Self::HugePages,
        Self::Zswap,
        Self::Other,
        Self::Swap,
        Self::SwapTotal,
        Self::Committed,
        Self::CommitLimit,
        Self::AnonymousHuge,
        Self::FileHuge,
    ];

    /// Those that add up to the total.
    pub const PARTS: [Self; 13] = [
        Self::Free,
        Self::Anonymous,
        Self::Cache,
        Self::Shared,
        Self::SlabReclaimable,
        Self::SlabUnreclaimable,
        Self::PageTables,
        Self::KernelStacks,
        Self::PerCpu,
        Self::Vmalloc,
        Self::HugePages,
        Self::Zswap,
        Self::Other,
    ];

    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Available => "available",
            Self::Free => "free",
            Self::Anonymous => "anonymous",
            Self::Cache => "cache",
            Self::Shared => "shared",
            Self::SlabReclaimable => "slab_reclaimable",
            Self::SlabUnreclaimable => "slab_unreclaimable",
            Self::PageTables => "page_tables",
            Self::KernelStacks => "kernel_stacks",
            Self::PerCpu => "per_cpu",
            Self::Vmalloc => "vmalloc",
            Self::HugePages => "huge_pages",
            Self::Zswap => "zswap",
            Self::Other => "other",
            Self::Swap => "swap",
            Self::SwapTotal => "swap_total",
            Self::Committed => "committed",
            Self::CommitLimit => "commit_limit",
            Self::AnonymousHuge => "anonymous_huge",
            Self::FileHuge => "file_huge",
        }
    }
}

/// Who has memory, in the words of the sentence that says where it goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Holder {
    /// Anonymous memory.
    Processes,
    /// Shared memory.
    Shared,
    /// Page cache and reclaimable kernel objects.
    Cache,
    /// Kernel memory that cannot be given back.
    Kernel,
    /// Pool of huge pages.
    HugePages,
    /// Drivers and others.
    Other,
}

impl Holder {
    /// All.
    pub const ALL: [Self; 6] = [
        Self::Processes,
        Self::Shared,
        Self::Cache,
        Self::Kernel,
        Self::HugePages,
        Self::Other,
    ];

    /// The figures that it is made of.
    pub const fn figures(self) -> &'static [Figure] {
        match self {
            Self::Processes => &[Figure::Anonymous, Figure::Zswap],
            Self::Shared => &[Figure::Shared],
            Self::Cache => &[Figure::Cache, Figure::SlabReclaimable],
            Self::Kernel => &[
                Figure::SlabUnreclaimable,
                Figure::PageTables,
                Figure::KernelStacks,
                Figure::PerCpu,
                Figure::Vmalloc,
            ],
            Self::HugePages => &[Figure::HugePages],
            Self::Other => &[Figure::Other],
        }
    }

    /// Its stable name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Processes => "processes",
            Self::Shared => "shared",
            Self::Cache => "cache",
            Self::Kernel => "kernel",
            Self::HugePages => "huge_pages",
            Self::Other => "other",
        }
    }

    /// What a sentence calls it.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Processes => "processes (anonymous)",
            Self::Shared => "shared memory and tmpfs",
            Self::Cache => "cache (given back when needed)",
            Self::Kernel => "the kernel",
            Self::HugePages => "the pool of huge pages",
            Self::Other => "drivers and others (not accounted)",
        }
    }
}

/// The machine's memory at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    figures: [u64; Figure::ALL.len()],
    /// The pool of huge pages, counted in pages.
    pub pool: HugePool,
}

/// The pool of huge pages (hugetlbfs) of the default size.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct HugePool {
    /// Pages in it.
    pub pages: u64,
    /// Pages that nobody uses.
    pub free: u64,
    /// Of those, pages that somebody has reserved.
    pub reserved: u64,
    /// Bytes of a page.
    pub page_bytes: u64,
}

/// The kernel's text was not as expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot make sense of /proc/meminfo: {0}")]
pub struct MeminfoError(String);

impl Machine {
    /// Reads the text of `/proc/meminfo`.
    ///
    /// # Errors
    /// [`MeminfoError`] where lines are missing that every kernel since 3.14 writes.
    pub fn parse(text: &[u8]) -> Result<Self, MeminfoError> {
        let info = Meminfo::from_buf_read(Cursor::new(text))
            .map_err(|error| MeminfoError(first_line(&error.to_string())))?;
        let (Some(available), Some(anonymous)) = (info.mem_available, info.anon_pages) else {
            return Err(MeminfoError("MemAvailable or AnonPages is missing".into()));
        };
        let or_none = |value: Option<u64>| value.unwrap_or(0);
        let shared = or_none(info.shmem);
        let stacks = or_none(info.kernel_stack);
        let mut machine = Self {
            figures: Default::default(),
            pool: HugePool {
                pages: or_none(info.hugepages_total),
                free: or_none(info.hugepages_free),
                reserved: or_none(info.hugepages_rsvd),
                page_bytes: or_none(info.hugepagesize),
            },
        };
        // Linux 4.20 and newer give the pools of all sizes together.
        let pool = info
            .hugetlb
            .unwrap_or(machine.pool.pages.saturating_mul(machine.pool.page_bytes));
        for (figure, value) in [
            (Figure::Total, info.mem_total),
            (Figure::Available, available),
            (Figure::Free, info.mem_free),
            (Figure::Anonymous, anonymous),
            // Shared memory lives in the page cache, and cannot be given back as files can.
            (
                Figure::Cache,
                info.cached
                    .saturating_add(info.buffers)
                    .saturating_sub(shared),
            ),
            (Figure::Shared, shared),
            (Figure::SlabReclaimable, or_none(info.s_reclaimable)),
            (Figure::SlabUnreclaimable, or_none(info.s_unreclaim)),
            (
                Figure::PageTables,
                or_none(info.page_tables).saturating_add(or_none(info.secondary_page_tables)),
            ),
            (Figure::KernelStacks, stacks),
            (Figure::PerCpu, or_none(info.per_cpu)),
            // Kernel stacks are vmalloc areas (CONFIG_VMAP_STACK).
            (Figure::Vmalloc, info.vmalloc_used.saturating_sub(stacks)),
            (Figure::HugePages, pool),
            (Figure::Zswap, or_none(info.z_swap)),
            (Figure::Swap, info.swap_total.saturating_sub(info.swap_free)),
            (Figure::SwapTotal, info.swap_total),
            (Figure::Committed, info.committed_as),
            (Figure::CommitLimit, or_none(info.commit_limit)),
            (Figure::AnonymousHuge, or_none(info.anon_hugepages)),
            (
                Figure::FileHuge,
                or_none(info.file_huge_pages).saturating_add(or_none(info.shmem_hugepages)),
            ),
        ] {
            machine.figures[figure as usize] = value;
        }
        let named = Figure::PARTS
            .iter()
            .fold(0_u64, |sum, part| sum.saturating_add(machine.get(*part)));
        machine.figures[Figure::Other as usize] = info.mem_total.saturating_sub(named);
        Ok(machine)
    }

    /// One of the figures, in bytes.
    pub fn get(&self, figure: Figure) -> u64 {
        self.figures[figure as usize]
    }

    /// What somebody has, in bytes.
    pub fn held_by(&self, holder: Holder) -> u64 {
        holder
            .figures()
            .iter()
            .map(|figure| self.get(*figure))
            .sum()
    }
}

/// The crate's own errors go on with a backtrace.
fn first_line(text: &str) -> String {
    text.lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NEW: &[u8] = include_bytes!("samples/meminfo.6.18.txt");
    const OLD: &[u8] = include_bytes!("samples/meminfo.5.10.txt");
    const KIB: u64 = 1024;

    fn parts(machine: &Machine) -> u64 {
        Figure::PARTS.iter().map(|part| machine.get(*part)).sum()
    }

    #[test]
    fn the_parts_add_up_to_the_total() {
        for text in [NEW, OLD] {
            let machine = Machine::parse(text).expect("recorded");
            assert_eq!(parts(&machine), machine.get(Figure::Total));
            let held: u64 = Holder::ALL
                .iter()
                .map(|holder| machine.held_by(*holder))
                .sum();
            assert_eq!(held + machine.get(Figure::Free), machine.get(Figure::Total));
        }
    }

    #[test]
    fn a_recorded_machine_is_read() {
        let machine = Machine::parse(OLD).expect("recorded");
        for (figure, kibibytes) in [
            (Figure::Total, 8_152_172),
            (Figure::Available, 4_317_012),
            (Figure::Anonymous, 2_746_060),
            (Figure::Cache, 310_232 + 3_718_300 - 178_116),
            (Figure::Shared, 178_116),
            (Figure::KernelStacks, 14_480),
            (Figure::Vmalloc, 41_820 - 14_480),
            (Figure::HugePages, 262_144),
            (Figure::Other, 189_700),
            (Figure::Swap, 86_528),
            (Figure::AnonymousHuge, 524_288),
        ] {
            assert_eq!(machine.get(figure), kibibytes * KIB, "{}", figure.name());
        }
        let pool = HugePool {
            pages: 128,
            free: 96,
            reserved: 4,
            page_bytes: 2 << 20,
        };
        assert_eq!(machine.pool, pool);
    }

    #[test]
    fn a_broken_text_is_refused_in_one_line() {
        for broken in [
            &b""[..],
            b"MemTotal: many kB\n",
            b"MemTotal: 1 kB\nMemFree: 1 kB\n",
            b"\xff",
        ] {
            let error = Machine::parse(broken).expect_err("is refused").to_string();
            assert_eq!(error.lines().count(), 1, "{error}");
        }
    }

    proptest! {
        #[test]
        fn no_damaged_text_panics(at in 0..NEW.len(), byte in any::<u8>(), end in 0..NEW.len()) {
            let mut text = NEW.to_vec();
            text[at] = byte;
            let _ = Machine::parse(&text);
            let _ = Machine::parse(&text[..end]);
        }
    }
}
