//! Address spaces as a source of a trace.

use std::collections::HashSet;
use std::task::{Context as TaskContext, Poll};
use std::time::Instant;

use anyhow::{Context, Result};
use tracer_common::config::Admission;
use tracer_common::key::Owner;

use super::account::Account;
use super::space::{Kind, Origin};
use super::{AddressSpace, TABLES_AWAITED, lost, maps_of, ring_bytes};
use crate::bpf::Settings;
use crate::engine::console::Step;
use crate::engine::{Core, Flow, Snapshot, Source, readable};
use crate::profile::{Measure, Subject, Values};
use crate::sources::page_faults::Faults;
use crate::words;

impl Source for AddressSpace {
    fn configure(&self, settings: &mut Settings, in_scope: bool) {
        settings.space_ring = ring_bytes();
        settings.faults = self.options.faults;
        if in_scope {
            settings.admit = Admission::Births;
        }
    }

    fn load(&mut self, core: &mut Core) -> Result<()> {
        self.events =
            Some(readable(core.tracer.attach_space()?).context("cannot wait for events")?);
        if self.faults.is_some() {
            core.tracer.attach_faults()?;
        }
        Ok(())
    }

    fn attach_all(&mut self, core: &mut Core) -> Result<()> {
        // Which files the kernel means on filesystems that have no device of their own.
        core.look_at_all_code();
        Ok(())
    }

    fn begun(&mut self, core: &mut Core) -> Result<()> {
        let reading = Instant::now();
        self.admit_those_that_run(core)?;
        let owners = self.running(core);
        self.reconcile(core, owners);
        core.log.timing("reading maps", reading);
        let waiting = Instant::now();
        if let Some(unwinder) = &mut core.unwinder {
            let step = Step::new("building unwind tables");
            unwinder.finish_within(&step, TABLES_AWAITED);
            unwinder.collect(&mut core.tracer);
        }
        core.log.timing("waiting for unwind tables", waiting);
        Ok(())
    }

    fn summary(&self, core: &Core) -> String {
        let members = core.members.len() as u64;
        match (core.members.scope(), core.members.iter().next()) {
            (Some(scope), _) => {
                format!(
                    "the address spaces of {scope}: {}",
                    words::units::counted_processes(members)
                )
            }
            (None, Some(only)) if members == 1 => {
                format!(
                    "the address space of process {} ({})",
                    only.owner.tgid, only.command
                )
            }
            (None, _) => format!("the address space of {members} processes"),
        }
    }

    fn poll_ready(&mut self, context: &mut TaskContext<'_>) -> Poll<std::io::Result<()>> {
        match &self.events {
            None => Poll::Pending,
            Some(events) => events
                .poll_read_ready(context)
                .map_ok(|mut ready| ready.clear_ready()),
        }
    }

    fn drain(&mut self, core: &mut Core) -> Result<Flow> {
        self.take_in_all(core);
        std::mem::take(&mut self.awake)
            .into_iter()
            .for_each(|pid| core.look(pid));
        Ok(Flow::On)
    }

    fn joined(&mut self, core: &mut Core, owner: Owner, is_new: bool) {
        if core.members.come_by_themselves() {
            match self.accounts.contains_key(&owner) {
                true => self
                    .faults
                    .iter_mut()
                    .for_each(|faults| faults.begin(owner)),
                false => {
                    let lost = lost(core);
                    self.begin_account(core, owner, &maps_of(owner), is_new, lost);
                }
            }
        } else {
            let lost = lost(core);
            self.begin_account(core, owner, &maps_of(owner), is_new, lost);
            self.reconcile(core, vec![owner]);
        }
        self.begin_rates(core, owner);
    }

    fn passed_over(&mut self, _core: &mut Core, owner: Owner) {
        self.accounts.remove(&owner);
        self.early.remove(&owner);
    }

    fn closing(&mut self, _core: &mut Core, owner: Owner) {
        if let Some(faults) = &mut self.faults {
            faults.close(owner.tgid);
        }
        if let Some(account) = self.accounts.get_mut(&owner) {
            account.over = true;
        }
    }

    fn replaced(&mut self, _core: &mut Core, old: Owner) {
        self.accounts.retain(|other, _| other.tgid != old.tgid);
        if let Some(faults) = &mut self.faults {
            faults.forget(old.tgid);
        }
    }

    fn left(&mut self, _core: &mut Core, owner: Owner, row: Option<u32>) -> Option<Values> {
        let account = self.accounts.remove(&owner);
        self.before.remove(&owner);
        self.rates.remove(&owner);
        if let Some(faults) = &mut self.faults {
            faults.forget(owner.tgid);
        }
        // A program that was replaced is not worth a word: its process goes on.
        row.map(|_| account.as_ref().map(held).unwrap_or_default())
    }

    fn sweep(&mut self, core: &mut Core, _over: &HashSet<Owner>) -> Result<()> {
        if core.members.come_by_themselves() {
            self.forget_the_unknown(core);
        }
        Ok(())
    }

    /// Ranges of forked children came by stacks of their parents; also those of ranges that were touched.
    fn referred_rows(&self) -> HashSet<u32> {
        let forked = self
            .accounts
            .values()
            .filter(|account| account.born_ns.is_some());
        let pieces = forked.flat_map(|account| account.space.pieces().iter());
        let inherited = pieces.filter_map(|piece| match piece.origin {
            Origin::Call(row) => Some(row),
            Origin::Before | Origin::Found => None,
        });
        inherited
            .chain(self.faults.iter().flat_map(Faults::mappers))
            .collect()
    }

    fn freeze(&mut self, core: &mut Core) {
        self.take_in_all(core);
        let owners = self.running(core);
        self.reconcile(core, owners);
        self.is_frozen = true;
    }

    fn measure(&mut self, core: &mut Core) -> Result<()> {
        if !self.is_frozen {
            let owners = self.running(core);
            self.reconcile(core, owners);
        }
        self.measure_parts(core);
        Ok(())
    }

    fn describe(&mut self, core: &mut Core, owner: Owner, subject: &mut Subject) -> bool {
        self.describe_program(core, owner, subject)
    }

    fn ranked_by(&self) -> &'static [Measure] {
        &[Measure::VmResidentBytes, Measure::VmMappedBytes]
    }

    fn write(&mut self, core: &mut Core, out: &mut Snapshot) -> Result<()> {
        self.write_samples(core, out);
        self.write_faults(core, out);
        Ok(())
    }

    fn is_exact(&self) -> bool {
        self.accounts
            .values()
            .all(|account| account.corrections.are_explained())
    }
}

/// What a program held at its end.
fn held(account: &Account) -> Values {
    let (mut mapped, mut called, mut anonymous) = (0, 0, 0);
    for piece in account.space.pieces().iter() {
        mapped += piece.len();
        let inherited = account.born_ns.is_some_and(|born| piece.mapped_ns <= born);
        if matches!(piece.origin, Origin::Call(_)) && !inherited {
            called += piece.len();
            let is_memory = matches!(piece.kind, Kind::Brk | Kind::Anonymous | Kind::Stack);
            if is_memory && !piece.reserved {
                anonymous += piece.len();
            }
        }
    }
    Values::default()
        .with(Measure::VmMappedBytes, mapped)
        .with(Measure::VmCalledBytes, called)
        .with(Measure::VmAnonymousBytes, anonymous)
        .with(Measure::VmUnreadMaps, u64::from(!account.map_known))
}
