//! The machine's memory as one ledger: parts that add up to the total, and where each kind of growth belongs. Pure.

use std::io::Cursor;

use procfs::{FromBufRead, Meminfo};

use crate::profile::machine::{Figure, Holder, HugePool};

/// The figures that a holder's memory is made of.
const fn figures_of(holder: Holder) -> &'static [Figure] {
    match holder {
        Holder::Processes => &[Figure::Anonymous, Figure::Zswap],
        Holder::Shared => &[Figure::Shared],
        Holder::Cache => &[Figure::Cache, Figure::SlabReclaimable],
        Holder::Kernel => &[
            Figure::SlabUnreclaimable,
            Figure::PageTables,
            Figure::KernelStacks,
            Figure::PerCpu,
            Figure::Vmalloc,
        ],
        Holder::HugePages => &[Figure::HugePages],
        Holder::Other => &[Figure::Other],
    }
}

/// The machine's memory at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    figures: [u64; Figure::ALL.len()],
    /// The pool of huge pages, counted in pages.
    pub pool: HugePool,
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
        let holders = Holder::ALL.iter().map(|holder| machine.held_by(*holder));
        let named = holders.fold(info.mem_free, u64::saturating_add);
        machine.figures[Figure::Other as usize] = info.mem_total.saturating_sub(named);
        Ok(machine)
    }

    /// One of the figures, in bytes.
    pub fn get(&self, figure: Figure) -> u64 {
        self.figures[figure as usize]
    }

    /// What a holder has, in bytes.
    pub fn held_by(&self, holder: Holder) -> u64 {
        figures_of(holder)
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

    #[test]
    fn what_everybody_holds_adds_up_to_the_total() {
        for text in [NEW, OLD] {
            let machine = Machine::parse(text).expect("recorded");
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
