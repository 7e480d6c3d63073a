//! What places of a process are called: globals, variables of threads, mappings, heaps of runtimes.

use std::ops::Range;

use super::kernel;
use super::modules::Modules;
use super::threads::thread_of;
use crate::process::maps::{Mapping, MappingName};
use crate::profile::ledger;
use crate::profile::{HeldFrom, RootKind};
use crate::reach::graph::{Rank, Root};
use crate::reach::parts::Thread;

/// What is known of a process when it has been judged.
pub struct Names<'a> {
    /// Its mappings, ascending.
    pub mappings: &'a [Mapping],
    /// Its modules.
    pub modules: &'a Modules,
    /// Its threads.
    pub threads: &'a [Thread],
    /// Heaps of language runtimes.
    pub runtimes: &'a [ledger::Range],
    /// Whether what lies in heap memory outside of known blocks are older blocks, and not just anything.
    pub knows_older: bool,
}

impl Names<'_> {
    /// What a root is called.
    pub fn of(&self, root: &Root) -> HeldFrom {
        match root.rank {
            Rank::Module => self.global(root.place),
            Rank::ThreadLocal => self.thread_local(root.place),
            Rank::Kernel => HeldFrom {
                name: Some(kernel::name(root.place)),
                ..of_kind(RootKind::Kernel)
            },
            Rank::Mapping => self.mapping(root.place),
            Rank::YoungBlock => of_kind(RootKind::YoungBlock),
            Rank::UnknownHeap if self.knows_older => of_kind(RootKind::OlderBlock),
            Rank::UnknownHeap => of_kind(RootKind::UnknownHeap),
            Rank::Stack => HeldFrom {
                thread: self.stack_of(root.place),
                ..of_kind(RootKind::Stack)
            },
            Rank::Register => HeldFrom {
                thread: Some(thread_of(root.place)),
                ..of_kind(RootKind::Register)
            },
            Rank::Written => of_kind(RootKind::Written),
        }
    }

    /// The class of an object whose first word this is.
    pub fn class(&self, word: u64) -> Option<String> {
        self.modules.class(word)
    }

    fn global(&self, place: u64) -> HeldFrom {
        let Some(global) = self.modules.global(place) else {
            return self.mapping(place);
        };
        HeldFrom {
            name: global.name,
            offset: Some(global.offset),
            module: Some(global.module.as_ref().to_owned()),
            ..of_kind(RootKind::Global)
        }
    }

    /// Variables are at fixed distances from the thread pointer.
    fn thread_local(&self, place: u64) -> HeldFrom {
        let threads = self
            .threads
            .iter()
            .filter_map(|thread| Some((thread.tid, thread.thread_pointer?)));
        let nearest = threads.min_by_key(|(_, pointer)| pointer.abs_diff(place));
        let name = nearest.map(|(_, pointer)| match place.checked_sub(pointer) {
            Some(behind) => format!("fs+{behind:#x}"),
            None => format!("fs-{:#x}", pointer - place),
        });
        HeldFrom {
            name,
            thread: nearest.map(|(tid, _)| tid),
            ..of_kind(RootKind::ThreadLocal)
        }
    }

    fn mapping(&self, place: u64) -> HeldFrom {
        let is_here = |range: &&ledger::Range| (range.start..range.end).contains(&place);
        if let Some(runtime) = self.runtimes.iter().find(is_here) {
            return HeldFrom {
                name: Some(runtime.row.words()),
                ..of_kind(RootKind::Runtime)
            };
        }
        let behind = self
            .mappings
            .partition_point(|mapping| mapping.start <= place);
        let mapping = self.mappings[..behind].last();
        let name = mapping.and_then(|mapping| match &mapping.name {
            MappingName::File { path, .. } => Some(path.display().to_string()),
            MappingName::Special(name) => Some(name.clone()),
            MappingName::Anonymous => None,
        });
        HeldFrom {
            name,
            offset: mapping.map(|mapping| place - mapping.start),
            ..of_kind(RootKind::Mapping)
        }
    }

    /// The thread on whose stack a place is.
    fn stack_of(&self, place: u64) -> Option<u32> {
        let range = |mapping: &Mapping| mapping.start..mapping.end;
        let mapping: Range<u64> = self
            .mappings
            .iter()
            .map(range)
            .find(|range| range.contains(&place))?;
        let on_it = |thread: &&Thread| {
            let pointer = thread.stack_pointer.or(thread.thread_pointer);
            pointer.is_some_and(|pointer| mapping.contains(&pointer))
        };
        self.threads.iter().find(on_it).map(|thread| thread.tid)
    }
}

fn of_kind(kind: RootKind) -> HeldFrom {
    HeldFrom {
        kind,
        ..HeldFrom::default()
    }
}
