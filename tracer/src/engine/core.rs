//! What all sources of a trace of processes share: the kernel side, the members, the names of their code, unwind
//! tables, notes.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use tracer_common::diagnostic::Diagnostic;
use tracer_common::key::Owner;
use tracer_common::limits;
use tracer_common::loss::Loss;
use tracer_common::stack::{End, StackMeta};

use super::clock::TraceClock;
use super::console::Log;
use super::ended::EndedTally;
use super::members::Members;
use super::runtimes::{self, Runtimes};
use super::snapshot::Snapshot;
use super::unwinder::Unwinder;
use super::watch::Watcher;
use crate::bpf::{Events, LoadError, Tracer};
use crate::process::ProcessError;
use crate::process::identity::Identities;
use crate::process::maps::{self, Mapping};
use crate::profile::CutReason;
use crate::runtime::{Part, merge};
use crate::symbolize::{Frame, Symbolizer};

/// Notes that are kept: some name a process, and a trace may run for months.
const MOST_NOTES: usize = 500;

/// What all sources share.
pub struct Core {
    /// The kernel side.
    pub tracer: Tracer,
    /// The programs that the trace is about.
    pub members: Members,
    /// What standard error says.
    pub log: Log,
    /// Sentences about what the figures do not cover.
    pub notes: Notes,
    /// Names of code.
    pub symbols: Symbolizer,
    /// Language runtimes of the programs.
    pub runtimes: Runtimes,
    /// Unwind tables; `None` where stacks are walked by frame pointers alone.
    pub unwinder: Option<Unwinder>,
    /// Files as the kernel knows them, in a trace of a scope.
    pub identities: Identities,
    /// Programs of a scope that are over and whose rows are still there.
    pub over: Vec<Over>,
    pub(super) watcher: Watcher,
    /// What the programs say, with `-vvv`.
    diagnostics: Events<Diagnostic>,
    pub(super) ended: EndedTally,
    /// Programs of a scope that are over and whose stacks are still referred to.
    pub(super) referred: HashSet<Owner>,
    /// Its times.
    pub clock: TraceClock,
    /// What user space itself has found to be lost.
    pub losses: BTreeMap<Loss, u64>,
    /// Profiles made so far.
    pub reports: u64,
    /// Stacks whose frames have no names yet, oldest first.
    unresolved: VecDeque<u32>,
}

/// A program of a scope that is over.
pub struct Over {
    /// Which.
    pub owner: Owner,
    /// Its process's row, if the process has ended too.
    pub row: Option<u32>,
}

/// Sentences about what the figures do not cover, each once.
#[derive(Clone, Debug, Default)]
pub struct Notes(Vec<String>);

impl Notes {
    /// Adds a note, unless it was made before.
    pub fn add(&mut self, note: impl Into<String>) {
        let note = note.into();
        if !self.0.contains(&note) && self.0.len() < MOST_NOTES {
            self.0.push(note);
        }
    }

    /// All of them, in order.
    pub fn all(&self) -> &[String] {
        &self.0
    }
}

impl Core {
    /// A trace that has been loaded and has nobody in it.
    pub(super) fn new(
        mut tracer: Tracer,
        watcher: Watcher,
        members: Members,
        (unwinder, runtimes): (Option<Unwinder>, Runtimes),
        log: Log,
    ) -> Result<Self, LoadError> {
        Ok(Self {
            diagnostics: tracer.take_diagnostics()?,
            tracer,
            members,
            log,
            notes: Notes::default(),
            symbols: Symbolizer::new(),
            runtimes,
            unwinder,
            identities: Identities::default(),
            over: Vec::new(),
            watcher,
            ended: EndedTally::default(),
            referred: HashSet::new(),
            clock: TraceClock::start(),
            losses: BTreeMap::new(),
            reports: 0,
            unresolved: VecDeque::new(),
        })
    }

    /// Lets a program of a scope that was not followed for a while begin anew: what it has released meanwhile is not
    /// known, so that its blocks and stacks of before are over. Its new owner id.
    pub fn renew(&mut self, old: Owner) -> Option<Owner> {
        let row = self.members.row(old)?;
        let new = self.tracer.renew(row)?;
        let member = self.members.renew(old, new)?;
        self.symbols.seal(member.code());
        self.over.push(Over {
            owner: old,
            row: None,
        });
        self.look(new.tgid);
        Some(new)
    }

    /// Prints what the programs have said, at most so many messages.
    pub(super) fn print_diagnostics(&mut self, most: usize) {
        self.log.messages(&mut self.diagnostics, most);
    }

    /// How long the trace has run.
    pub fn elapsed(&self) -> Duration {
        self.clock.elapsed()
    }

    /// Looks at what code a process has mapped by now: its stacks are walked through it, and it gets names.
    pub fn look(&mut self, pid: u32) {
        let Some(code) = self.members.code(pid) else {
            return;
        };
        self.publish(pid);
        // If it has ended meanwhile, the mapping events have reported what there was.
        let _ = self.symbols.snapshot(code);
    }

    /// Lets stacks be walked through what a process has mapped by now.
    pub fn publish(&mut self, pid: u32) {
        let Ok(maps) = self.maps(pid) else {
            return;
        };
        let owner = self.members.last(pid).map(|member| member.owner);
        if let Some(owner) = owner {
            let notes = self.runtimes.look(&mut self.tracer, owner, &maps);
            notes.into_iter().for_each(|note| self.notes.add(note));
        }
        if let Some(unwinder) = &mut self.unwinder {
            if !owner.is_some_and(|owner| self.runtimes.generates(owner)) {
                unwinder.forget_generated(pid);
            }
            unwinder.publish_mapped(&mut self.tracer, pid, &maps);
        }
    }

    /// Lets stacks be walked through the code that runtimes have generated by now.
    pub(super) fn publish_generated(&mut self) {
        let machines = self.runtimes.machines();
        let machines: Vec<_> = machines
            .map(|(owner, machine)| (owner, Rc::clone(machine)))
            .collect();
        for (owner, machine) in machines {
            let member = self.members.get(owner);
            let Some(member) = member.filter(|member| member.state.is_alive()) else {
                continue;
            };
            let code = member.code();
            let mut looking = machine.borrow_mut();
            let tables = looking.refresh();
            if let Some(why) = looking.refused() {
                self.notes.add(format!("{why}: native frames only"));
            }
            drop(looking);
            self.symbols.generates(code, machine);
            let Some(unwinder) = self.unwinder.as_mut().filter(|_| !tables.is_empty()) else {
                continue;
            };
            for (heap, table) in tables {
                unwinder.set_generated(&mut self.tracer, owner.tgid, heap, table);
            }
            if let Ok(maps) = self.maps(owner.tgid)
                && let Some(unwinder) = &mut self.unwinder
            {
                unwinder.publish_mapped(&mut self.tracer, owner.tgid, &maps);
            }
        }
    }

    /// Lets stacks be walked through the files whose unwind tables have been built.
    pub fn publish_arrived(&mut self) {
        let arrived = self
            .unwinder
            .as_mut()
            .map(|unwinder| unwinder.collect(&mut self.tracer));
        arrived
            .into_iter()
            .flatten()
            .for_each(|pid| self.publish(pid));
    }

    /// A process has ended: others may have the room of the tables that it alone has used.
    pub fn release_tables(&mut self, pid: u32) {
        let freed = self
            .unwinder
            .as_mut()
            .map(|unwinder| unwinder.release(&mut self.tracer, pid));
        freed
            .into_iter()
            .flatten()
            .for_each(|pid| self.publish(pid));
    }

    /// What a process has mapped; in a trace of a scope with the kernel's identities of the files.
    ///
    /// # Errors
    /// Why it cannot be read.
    pub fn maps(&mut self, pid: u32) -> Result<Vec<Mapping>, ProcessError> {
        let mut maps = maps::read(pid)?;
        if self.members.come_by_themselves() {
            self.translate(pid, &mut maps);
        }
        Ok(maps)
    }

    /// Gives mappings of a process the kernel's identities of their files, after a look at all code on the host where
    /// one is not known.
    pub fn translate(&mut self, pid: u32, maps: &mut [Mapping]) {
        let mut code = maps
            .iter()
            .filter(|mapping| mapping.execute && mapping.file.inode != 0);
        if code.any(|mapping| self.identities.of(pid, mapping).is_none()) {
            self.look_at_all_code();
        }
        self.identities.translate(pid, maps);
    }

    /// All code on the host as it is now; what keeps us from it is noted.
    pub fn look_at_all_code(&mut self) -> Vec<tracer_common::event::CodeArea> {
        let areas = self.tracer.code_areas().unwrap_or_else(|error| {
            self.notes.add(format!(
                "stacks through new files may be cut, and new files go without probes: {error}"
            ));
            Vec::new()
        });
        self.identities.learn(&areas);
        areas
    }

    /// Takes in the stacks that are new. Of named processes the frames are named while the process lives, at most so
    /// many at one go; of a scope those that a report shows.
    pub fn resolve_new_stacks(&mut self, most: usize) {
        self.runtimes.drain();
        let new = self.tracer.new_stacks();
        if self.members.come_by_themselves() {
            return;
        }
        self.unresolved.extend(new);
        let now = most.min(self.unresolved.len());
        for row in self.unresolved.drain(..now) {
            if let Some(meta) = self.tracer.stack_meta(row) {
                let words = self.tracer.stack_frames(&meta);
                let addresses = merge::addresses(&words);
                self.symbols
                    .resolve(code_of(&meta), &addresses, meta.first_is_return());
                self.runtimes.resolve(&meta, &words);
            }
        }
    }

    /// What is known of the stack in a row; `None` for a row that stands for a whole process.
    pub fn stack_meta(&self, row: u32) -> Option<StackMeta> {
        self.tracer
            .stack_meta(row)
            .filter(|_| row >= limits::MAX_PROCESSES)
    }

    /// Index of the stack in a row, for the program that has it; `unknown` is why there may be none.
    pub fn stack(&mut self, out: &mut Snapshot, row: u32, owner: Owner, unknown: CutReason) -> u32 {
        let Some(meta) = self.stack_meta(row) else {
            return out.build.stack(Vec::new(), Some(unknown));
        };
        let words = self.tracer.stack_frames(&meta);
        let code = self.code_for(&meta, owner);
        let merged = self.runtimes.merge(&meta, owner, &words);
        let mut frames = Vec::with_capacity(words.len());
        let mut parts = merged.parts.as_slice();
        while let Some(part) = parts.first() {
            let run = native_run(parts);
            parts = &parts[run.len().max(1)..];
            match *part {
                Part::Native(_) => {
                    let first_is_return = run.start > 0 || meta.first_is_return();
                    let native = &words[run];
                    frames.extend(out.frames(&mut self.symbols, code, native, first_is_return));
                }
                Part::Code(code) => {
                    let frame = self.runtimes.frame(row, &meta, code);
                    frames.extend(out.intern(frame.as_slice()));
                }
                Part::Interpreted(at) => {
                    let frame = self.runtimes.interpreted(&meta, owner, at);
                    frames.extend(out.intern(&[frame]));
                }
                Part::Gap => frames.extend(out.intern(&[runtimes::gap()])),
            }
        }
        let cut = CutReason::of(End::from_raw(meta.end)).or(merged.cut);
        out.build.stack(frames, cut)
    }

    /// Why a stack that `owner` has is cut; `None` for a whole one.
    pub fn cut(&self, meta: &StackMeta, owner: Owner) -> Option<CutReason> {
        let of_walk = CutReason::of(End::from_raw(meta.end));
        of_walk.or_else(|| {
            let words = self.tracer.stack_frames(meta);
            self.runtimes.merge(meta, owner, &words).cut
        })
    }

    /// The outermost frame of a stack that is kept.
    pub fn outermost_frame(&mut self, meta: &StackMeta) -> Option<Frame> {
        let words = self.tracer.stack_frames(meta);
        let address = merge::addresses(&words).last().copied()?;
        self.symbols
            .symbolize(code_of(meta), &[address], true)
            .pop()
    }

    /// What the addresses of a stack that `owner` has are known by. One that was inherited is the parent's; if that had
    /// ended before its code was looked at, the child has the same code at the same addresses.
    fn code_for(&self, meta: &StackMeta, owner: Owner) -> Owner {
        let code = code_of(meta);
        match meta.owner == owner || self.symbols.knows(code) {
            true => code,
            false => self.members.code(owner.tgid).unwrap_or(owner),
        }
    }
}

/// Indices of the native frames with which parts begin.
fn native_run(parts: &[Part]) -> Range<usize> {
    let indices = parts.iter().map_while(|part| match part {
        Part::Native(index) => Some(*index),
        _ => None,
    });
    let mut run = 0..0;
    for (number, index) in indices.enumerate() {
        match number {
            0 => run = index..index + 1,
            _ if index == run.end => run.end += 1,
            // A frame of the loop is left out here.
            _ => break,
        }
    }
    run
}

/// What a stack's addresses are known by to the symbolizer.
pub fn code_of(meta: &StackMeta) -> Owner {
    Owner {
        tgid: meta.owner.tgid,
        image: meta.code,
    }
}
