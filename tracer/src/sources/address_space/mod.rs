//! Address spaces: system calls that change them, what is mapped by whom, held against the maps.

mod account;
mod source;
pub mod space;
mod write;

use std::collections::{HashMap, HashSet};
use std::ops::Range;
use std::time::Duration;

use anyhow::Result;
use tokio::io::unix::AsyncFd;
use tracer_common::faults::SpaceRecord;
use tracer_common::key::Owner;
use tracer_common::limits;
use tracer_common::loss::Loss;

use self::account::Account;
use self::space::Origin;
use self::write::Part;
use super::page_faults::Faults;
use crate::bpf::{Events, LoadError};
use crate::engine::{Core, Rates, monotonic_ns};
use crate::process::info;
use crate::process::maps::{self, Mapping};

/// Records kept of a program whose `exec` has not been reported: it is within milliseconds.
const MOST_EARLY: usize = 65_536;
/// Records of a program that no event has reported are kept for so long: its admission comes within milliseconds,
/// unless that was lost.
const EARLY_KEPT_NS: u64 = 10_000_000_000;
/// For how long the start waits for unwind tables. A host with a few hundred processes has them by then; of a larger
/// one the first stacks are cut.
const TABLES_AWAITED: Duration = Duration::from_millis(300);

/// What is followed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AddressSpaceOptions {
    /// Order of the samples.
    pub order: SpaceOrder,
    /// Follow page faults, by a sample of this mean distance; 0 adapts it.
    pub faults: Option<u32>,
    /// Samples without a stack; `None` is all.
    pub others: Option<usize>,
}

/// The order of the samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum SpaceOrder {
    /// Most bytes in memory or in swap first.
    #[default]
    Resident,
    /// Most bytes mapped first.
    Mapped,
    /// Most ranges first.
    Ranges,
    /// Most bytes mapped since the last report first.
    Growth,
    /// Oldest range first.
    Age,
}

/// A range, and the row of its stack with whose it is, where a call was seen.
pub type MappedSince = (Range<u64>, Option<(Owner, u32)>);

/// The address spaces of a trace's programs.
pub struct AddressSpace {
    options: AddressSpaceOptions,
    events: Option<AsyncFd<Events<SpaceRecord>>>,
    accounts: HashMap<Owner, Account>,
    rates: HashMap<Owner, Rates>,
    /// Page faults, where they are followed.
    pub(super) faults: Option<Faults>,
    /// Records of programs whose `exec` has not been reported yet.
    early: HashMap<Owner, Vec<SpaceRecord>>,
    /// Processes that have made their first call of the trace.
    awake: Vec<u32>,
    /// Bytes mapped at the last report: of each program, and of each stack.
    before: HashMap<Owner, u64>,
    before_by_stack: HashMap<(Owner, u32), u64>,
    parts: HashMap<Owner, Part>,
    /// Index in the last profile of each stack, and of the empty one for ranges of which no call was seen.
    stacks: HashMap<Option<(Owner, u32)>, u32>,
    huge_page: u64,
    is_frozen: bool,
}

/// Bytes of the ring; `MEMLENS_SPACE_RING` makes it another, for tests.
fn ring_bytes() -> u32 {
    let given = std::env::var("MEMLENS_SPACE_RING").ok();
    let given = given.and_then(|bytes| bytes.parse::<u32>().ok());
    given
        .filter(|bytes| bytes.is_power_of_two() && *bytes >= 4096)
        .unwrap_or(limits::SPACE_RING_BYTES)
}

/// Bytes of a huge page where a program does not say which; 2 MiB where the kernel does not tell.
fn default_huge_page() -> u64 {
    use procfs::Current;
    let told = procfs::Meminfo::current().ok();
    told.and_then(|told| told.hugepagesize).unwrap_or(2 << 20)
}

/// What a program has mapped; nothing if it has ended.
fn maps_of(owner: Owner) -> Vec<Mapping> {
    maps::read(owner.tgid).unwrap_or_default()
}

/// Events that were lost, of all programs.
fn lost(core: &Core) -> u64 {
    let counters = [Loss::SpaceRingFull, Loss::NoThreadState].into_iter();
    counters
        .filter_map(|loss| core.tracer.loss(loss).ok())
        .sum()
}

impl AddressSpace {
    /// Nothing is followed yet.
    pub fn new(options: AddressSpaceOptions) -> Self {
        Self {
            options,
            events: None,
            accounts: HashMap::new(),
            rates: HashMap::new(),
            faults: options.faults.is_some().then(Faults::default),
            early: HashMap::new(),
            awake: Vec::new(),
            before: HashMap::new(),
            before_by_stack: HashMap::new(),
            parts: HashMap::new(),
            stacks: HashMap::new(),
            huge_page: default_huge_page(),
            is_frozen: false,
        }
    }

    /// What a process has mapped since `begun` (`CLOCK_MONOTONIC`, nanoseconds) and has still, by ascending address,
    /// with the row of its stack and whose it is.
    pub fn ranges(&self, pid: u32, begun: u64) -> Vec<MappedSince> {
        let own = self.accounts.iter().filter(|(owner, _)| owner.tgid == pid);
        let pieces = own.flat_map(|(owner, account)| {
            account
                .space
                .pieces()
                .iter()
                .map(move |piece| (*owner, piece))
        });
        let mut ranges: Vec<_> = pieces
            .filter(|(_, piece)| piece.mapped_ns >= begun)
            .filter_map(|(owner, piece)| match piece.origin {
                Origin::Call(row) => Some((piece.range(), Some((owner, row)))),
                Origin::Found => Some((piece.range(), None)),
                Origin::Before => None,
            })
            .collect();
        ranges.sort_by_key(|(range, _)| range.start);
        ranges
    }

    /// Index in the last profile of the stack that a range has.
    pub fn stack_index(&self, stack: Option<(Owner, u32)>) -> Option<u32> {
        self.stacks.get(&stack).copied()
    }

    /// Takes in the calls that were sent by now, and no later ones: a program may make them faster than they are taken
    /// in.
    pub(super) fn take_in_all(&mut self, core: &Core) {
        let now = monotonic_ns();
        let mut is_over = false;
        while !is_over
            && let Some(record) = self
                .events
                .as_mut()
                .and_then(|events| events.get_mut().take_next())
        {
            is_over = record.time_ns() > now;
            self.take_in(core, &record);
        }
        if let Some(faults) = &mut self.faults {
            faults.measure(now);
        }
    }

    /// Takes in a call, a fork or a page fault.
    fn take_in(&mut self, core: &Core, record: &SpaceRecord) {
        let owner = record.owner();
        let Some(account) = self.accounts.get_mut(&owner) else {
            let early = self.early.entry(owner).or_default();
            if early.len() < MOST_EARLY {
                early.push(*record);
            }
            return;
        };
        if account.over {
            return;
        }
        let is_first = match record {
            SpaceRecord::Call(event) => match event.child() {
                Some(child) => {
                    let account = account.fork(child, event.left_ns);
                    self.accounts.insert(child, account);
                    false
                }
                None => {
                    let is_first = account.calls == 0;
                    account.apply(event, self.huge_page);
                    is_first
                }
            },
            SpaceRecord::Fault(event) => match &mut self.faults {
                Some(faults) => faults.apply(event, &account.space),
                None => false,
            },
        };
        // From its first call on a process's stacks are worth a look.
        if is_first && core.members.come_by_themselves() {
            self.awake.push(owner.tgid);
        }
    }

    /// Begins the account of a program from its maps, and from what was sent of it before; so many events of all
    /// programs were lost before the maps were read.
    fn begin_account(
        &mut self,
        core: &Core,
        owner: Owner,
        maps: &[Mapping],
        is_new: bool,
        lost: u64,
    ) {
        if let Some(faults) = &mut self.faults {
            faults.begin(owner);
        }
        self.accounts
            .insert(owner, Account::begin(owner, maps, is_new, lost));
        for record in self.early.remove(&owner).unwrap_or_default() {
            self.take_in(core, &record);
        }
    }

    /// A program grows by what it maps from now on.
    fn begin_rates(&mut self, core: &Core, owner: Owner) {
        let mapped = self
            .accounts
            .get(&owner)
            .map_or(0, |account| account.space.mapped());
        self.rates
            .insert(owner, Rates::with(core.elapsed(), mapped));
    }

    /// Holds the accounts of programs against their maps.
    fn reconcile(&mut self, core: &mut Core, owners: Vec<Owner>) {
        let differences = account::reconcile(
            &mut (self, &mut *core),
            owners,
            |(own, core), owner| match core.tracer.is_present(owner) {
                true => own.accounts.get_mut(&owner),
                // It has replaced its program: the maps are of another one.
                false => None,
            },
            |(own, core)| own.take_in_all(core),
            |(_, core)| lost(core),
        );
        for (owner, difference) in differences {
            core.log
                .event(|| format!("process {}: {difference}", owner.tgid));
        }
    }

    /// The programs that run.
    fn running(&self, core: &Core) -> Vec<Owner> {
        let runs = |owner: &Owner| {
            self.accounts
                .get(owner)
                .is_some_and(|account| !account.over)
        };
        core.members
            .iter()
            .map(|member| member.owner)
            .filter(runs)
            .collect()
    }

    /// Takes in all processes of a scope that run. A process whose parent was not known yet may come while the list is
    /// read: so it is read until there is nobody new.
    fn admit_those_that_run(&mut self, core: &mut Core) -> Result<()> {
        let mut looked_at = core.tracer.own_processes().collect::<HashSet<_>>();
        loop {
            let mut pids = info::all_pids()?;
            pids.retain(|pid| looked_at.insert(*pid));
            if pids.is_empty() {
                return Ok(());
            }
            let lost = lost(core);
            for pid in pids {
                self.admit_running(core, pid, lost)?;
            }
        }
    }

    fn admit_running(&mut self, core: &mut Core, pid: u32, lost: u64) -> Result<()> {
        // One that has ended meanwhile is none of ours; threads of the kernel have no address space.
        let Some(info) = info::read(pid).ok().filter(|info| !info.kernel_thread) else {
            return Ok(());
        };
        let owner = match core.tracer.add_process(pid) {
            Ok(owner) => owner,
            Err(error @ LoadError::TooManyProcesses) => {
                core.notes
                    .add(format!("some processes are not followed: {error}"));
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let Some(row) = core.tracer.row_of(pid) else {
            return Ok(());
        };
        if core
            .members
            .admit_running(&core.tracer, owner, row, info, Duration::ZERO)
        {
            let mut maps = maps_of(owner);
            self.begin_account(core, owner, &maps, false, lost);
            // Its first call is then walked by the tables of its code, before anybody has looked at it.
            if let Some(unwinder) = &mut core.unwinder {
                core.identities.translate(pid, &mut maps);
                unwinder.expect(pid, &maps);
            }
        }
        Ok(())
    }

    /// Drops what was sent of programs that nobody knows, and that are not about to be reported.
    fn forget_the_unknown(&mut self, core: &Core) {
        let now = monotonic_ns();
        self.early.retain(|_, records| {
            let last = records.last().map_or(0, SpaceRecord::time_ns);
            now.saturating_sub(last) < EARLY_KEPT_NS
        });
        self.accounts.retain(|owner, account| {
            let is_young = |born| now.saturating_sub(born) < EARLY_KEPT_NS;
            core.members.row(*owner).is_some() || account.born_ns.is_some_and(is_young)
        });
        // Also those that go by another owner id now.
        self.rates
            .retain(|owner, _| core.members.row(*owner).is_some());
        self.before
            .retain(|owner, _| core.members.row(*owner).is_some());
    }
}
