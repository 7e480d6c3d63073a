//! The language runtimes of the programs of a trace: told to the kernel side, and put into their stacks.

use std::cell::RefCell;
use std::collections::HashMap;
use std::rc::Rc;

use tracer_common::key::Owner;
use tracer_common::runtime::word::{self, Code, Interpreted, RuntimeFrame};
use tracer_common::stack::{End, StackMeta};

use crate::bpf::{LoadError, NoteRing, Tracer};
use crate::process::maps::Mapping;
use crate::profile::{FrameKind, Missing};
use crate::runtime::hotspot::Jvm;
use crate::runtime::{Attached, Codes, Files, Merged, Named, Runtime, Unsupported, merge};
use crate::symbolize::Frame;

/// What is made of the frames of interpreters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Interpreters {
    /// They take the place of the native frames that execute them.
    #[default]
    Shown,
    /// They stand beside the native frames that execute them.
    WithLoops,
    /// They are not read.
    Ignored,
}

/// Runtimes of the programs that are traced.
pub struct Runtimes {
    files: Files,
    programs: HashMap<Owner, Attached>,
    machines: HashMap<Owner, Rc<RefCell<Jvm>>>,
    codes: Codes,
    notes: NoteRing,
    interpreters: Interpreters,
}

impl Runtimes {
    /// Nothing is known yet.
    ///
    /// # Errors
    /// [`LoadError`] if the ring of names was taken out before.
    pub fn new(tracer: &mut Tracer, interpreters: Interpreters) -> Result<Self, LoadError> {
        Ok(Self {
            files: Files::default(),
            programs: HashMap::new(),
            machines: HashMap::new(),
            codes: Codes::default(),
            notes: tracer.take_notes()?,
            interpreters,
        })
    }

    /// Looks whether a program has a runtime among what it has mapped by now, and has its stacks gone on with if so.
    /// Returns what is to be said of runtimes that cannot be followed.
    pub fn look(&mut self, tracer: &mut Tracer, owner: Owner, maps: &[Mapping]) -> Vec<String> {
        let is_known = self.programs.contains_key(&owner) || self.machines.contains_key(&owner);
        if self.interpreters == Interpreters::Ignored || is_known {
            return Vec::new();
        }
        let mut notes = Vec::new();
        for found in self.files.look(owner.tgid, maps) {
            match found {
                Err(Unsupported(why)) => notes.push(format!("{why}: native frames only")),
                Ok(Runtime::HotSpot(build, bias)) => {
                    let machine = Jvm::new(owner.tgid, build, bias);
                    let machine = Rc::new(RefCell::new(machine));
                    self.machines.insert(owner, machine);
                }
                Ok(Runtime::Python(attached)) => match self.programs.get(&owner) {
                    Some(first) => notes.push(format!(
                        "process {} has two interpreters: the frames of {} are shown, not those of {}",
                        owner.tgid,
                        first.path.display(),
                        attached.path.display()
                    )),
                    None => match tracer.layout(&attached.build.layout) {
                        Ok(number) => {
                            tracer.set_runtime(owner, number, attached.runtime());
                            self.programs.insert(owner, attached);
                        }
                        Err(full) => notes.push(full.to_string()),
                    },
                },
            }
        }
        notes
    }

    /// The machines that generate code, by their programs.
    pub fn machines(&self) -> impl Iterator<Item = (Owner, &Rc<RefCell<Jvm>>)> {
        let machines = self.machines.iter();
        machines.map(|(owner, machine)| (*owner, machine))
    }

    /// Whether code is generated in a program.
    pub fn generates(&self, owner: Owner) -> bool {
        self.machines.contains_key(&owner)
    }

    /// Reads what the methods on a stack are called, while they are there.
    pub fn resolve(&self, meta: &StackMeta, words: &[u64]) {
        if let Some(machine) = self.machines.get(&meta.owner) {
            let mut machine = machine.borrow_mut();
            for word in words {
                if let Some(RuntimeFrame::Java(at)) = word::decode(*word) {
                    let _ = machine.interpreted(at);
                }
            }
        }
    }

    /// Takes in what code objects are called.
    pub fn drain(&mut self) {
        self.notes.drain(|record| self.codes.take(record));
    }

    /// The parts of a stack, in its order. `owner` is whose it is now; one that was inherited is of another program.
    pub fn merge(&self, meta: &StackMeta, owner: Owner, words: &[u64]) -> Merged {
        let attached = self.programs.get(&meta.owner);
        let attached = attached.or_else(|| self.programs.get(&owner));
        if attached.is_none() && !words.last().is_some_and(|word| word::is_behind(*word)) {
            return merge::all_native(words);
        }
        let is_loop = |address| attached.is_some_and(|attached| attached.is_loop(address));
        let is_cut = meta.end != End::Complete as u32;
        merge::merge(
            words,
            is_loop,
            is_cut,
            self.interpreters == Interpreters::WithLoops,
        )
    }

    /// A frame of a runtime on the stack in a row; `None` for one that is none of the program's.
    pub fn frame(&self, row: u32, meta: &StackMeta, code: Code) -> Option<Frame> {
        let named = self.codes.name(row, meta.owner, code);
        if named.as_ref().is_some_and(Named::is_internal) {
            return None;
        }
        let missing = named.is_none().then_some(Missing::CodeGone);
        let (symbol, place) = named.map_or((None, (None, None)), |named| {
            (Some(named.function), (named.file, named.line))
        });
        Some(Frame {
            kind: FrameKind::Python,
            address: code.object,
            symbol: symbol.map(|symbol| symbol.to_string()),
            file: place.0.map(|file| file.to_string().into()),
            line: place.1,
            missing,
            ..Frame::default()
        })
    }

    /// A frame of HotSpot's interpreter on a stack of this program.
    pub fn interpreted(&self, meta: &StackMeta, owner: Owner, at: Interpreted) -> Frame {
        let machine = self.machines.get(&meta.owner);
        let machine = machine.or_else(|| self.machines.get(&owner));
        let named = machine.and_then(|machine| machine.borrow_mut().interpreted(at));
        let missing = named.is_none().then_some(Missing::CodeGone);
        let (symbol, place) = named.map_or((None, (None, None)), |named| {
            (Some(named.function), (named.file, named.line))
        });
        Frame {
            kind: FrameKind::Java,
            address: at.method,
            symbol,
            file: place.0.map(Into::into),
            line: place.1,
            missing,
            ..Frame::default()
        }
    }

    /// Forgets a program that is over.
    ///
    /// # Errors
    /// [`LoadError`] if the kernel's table cannot be read or written.
    pub fn forget(&mut self, tracer: &Tracer, owner: Owner) -> Result<(), LoadError> {
        self.programs.remove(&owner);
        self.machines.remove(&owner);
        let keys = self.codes.forget(owner);
        match keys.is_empty() {
            true => Ok(()),
            false => tracer.forget_codes(&keys),
        }
    }
}

/// What stands for frames that were not walked.
pub fn gap() -> Frame {
    Frame {
        missing: Some(Missing::NotWalked),
        ..Frame::default()
    }
}
