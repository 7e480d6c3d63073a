//! A trace of running processes that hands over what was mapped meanwhile: for `memlens explain`.

use std::collections::{BTreeMap, HashMap};
use std::ops::Range;

use anyhow::Result;
use tracer_common::key::Owner;

use super::Vm;
use crate::cli::{Invocation, VmConfig};
use crate::session::{start, target};
use crate::space::Origin;
use crate::symbolize::Frame;

/// What was mapped during a trace and is mapped still.
#[derive(Default)]
pub(in crate::session) struct Since {
    /// Ranges, by ascending address, with the place of their stack in `stacks`.
    pub ranges: Vec<(Range<u64>, usize)>,
    /// Frames of each stack, and why it is cut, where it is.
    pub stacks: Vec<(Vec<Frame>, Option<String>)>,
    /// Every loss counter that is not zero, by its stable name.
    pub loss: BTreeMap<&'static str, u64>,
    /// Sentences about what the ranges do not cover.
    pub notes: Vec<String>,
}

/// A range, and the row of its stack with whose it is, where a call was seen.
pub type MappedSince = (Range<u64>, Option<(Owner, u32)>);

impl<'a> Vm<'a> {
    /// Traces what the settings name; they ask for unwind tables.
    pub(in crate::session) fn begun(invocation: &Invocation, config: &'a VmConfig) -> Result<Self> {
        let targets = target::resolve(&config.target)?;
        let unwinder = start::prepared_unwinder(config.unwind_memory, &targets);
        let mut vm = Self::load(invocation, config, Some(unwinder), None)?;
        vm.quiet = true;
        vm.begin(targets)?;
        Ok(vm)
    }

    /// Takes no more calls into account from now on.
    pub(in crate::session) fn stop(&mut self) {
        self.drain();
        let owners: Vec<Owner> = self.accounts.keys().copied().collect();
        self.reconcile(owners);
        self.tracer.disable();
    }

    /// Ends a trace that was stopped. What a process has mapped before `begun` (`CLOCK_MONOTONIC`, nanoseconds) is left
    /// out.
    pub(in crate::session) fn ended_with(mut self, pid: u32, begun: u64) -> Result<Since> {
        self.resolve_new_stacks(usize::MAX);
        let mut since = Since {
            loss: self.tracer.losses_by_name()?,
            notes: self.notes.clone(),
            ..Since::default()
        };
        let mut places = HashMap::new();
        for (range, stack) in self.ranges(pid, begun) {
            let place = *places.entry(stack).or_insert_with(|| {
                let frames = match stack {
                    Some((owner, row)) => self.frames_of(row, owner),
                    None => (
                        Vec::new(),
                        Some("mapped by no call that was seen".to_owned()),
                    ),
                };
                since.stacks.push(frames);
                since.stacks.len() - 1
            });
            since.ranges.push((range, place));
        }
        Ok(since)
    }

    /// What a process has mapped since the start and has still, by ascending address, and the row of its stack with whose it is.
    pub(in crate::session) fn ranges(&self, pid: u32, begun: u64) -> Vec<MappedSince> {
        let accounts = self.accounts.iter();
        let own = accounts.filter(|(owner, _)| owner.tgid == pid);
        let pieces = own.flat_map(|(owner, account)| {
            let pieces = account.space.pieces().iter();
            pieces.map(move |piece| (*owner, piece))
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
}
