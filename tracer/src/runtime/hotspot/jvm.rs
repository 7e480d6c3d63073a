//! A running machine: its code cache as it was last looked at, and the names of what is and was in it.

use std::collections::{HashMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::time::{Duration, Instant};

use tracer_common::runtime::word::Interpreted;

use super::code_cache::{Blob, CodeCache};
use super::file::Build;
use super::layout::Layout;
use super::method::{self, Method};
use super::scopes;
use super::structs::Structs;
use super::table::table;
use crate::process::memory::Reader;
use crate::profile::Missing;
use crate::unwind::Table;

/// At the least between two looks.
const LEAST: Duration = Duration::from_millis(100);
/// Of the time so much may be spent on looking: one part in so many.
const SHARE: u32 = 100;
/// Between two looks at all code, also where no block has begun or ended.
const WHOLE: Duration = Duration::from_secs(5);
/// Pieces of code that are gone and remembered.
const MOST_GONE: usize = 16_384;
/// Methods that were interpreted and are remembered.
const MOST_METHODS: usize = 65_536;

/// A function at a place of generated code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// "java.util.ArrayList.grow".
    pub function: String,
    /// Its source file, without its folder.
    pub file: Option<String>,
    /// The line.
    pub line: Option<u32>,
}

/// What is at a place of generated code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct At {
    /// The functions, innermost first: that which was compiled is the last one.
    pub functions: Vec<Named>,
    /// Bytes from the start of the code.
    pub offset: u64,
    /// It is a method of Java, not the machine's own code.
    pub is_java: bool,
}

/// Names of compiled methods that are gone, and where they lay.
#[derive(Debug, Default)]
struct Gone(VecDeque<(Range<u64>, String)>);

impl Gone {
    /// Remembers one; the oldest is forgotten where there are too many.
    fn add(&mut self, code: Range<u64>, name: String) {
        if self.0.len() >= MOST_GONE {
            self.0.pop_front();
        }
        self.0.push_back((code, name));
    }

    /// The last one at an address that has another name than this.
    fn other(&self, at: u64, name: Option<&str>) -> Option<&(Range<u64>, String)> {
        let mut gone = self.0.iter().rev();
        gone.find(|(code, own)| code.contains(&at) && name != Some(own))
    }
}

/// A machine in a process.
pub struct Jvm {
    memory: Reader,
    build: Rc<Build>,
    bias: u64,
    layout: Option<Rc<Layout>>,
    refused: Option<String>,
    cache: CodeCache,
    gone: Gone,
    interpreted: HashMap<u64, Option<Rc<Method>>>,
    due: Instant,
    whole_due: Instant,
}

impl std::fmt::Debug for Jvm {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Jvm").finish_non_exhaustive()
    }
}

impl Jvm {
    /// The machine of a process that has mapped this build above its stated addresses.
    pub fn new(pid: u32, build: Rc<Build>, bias: u64) -> Self {
        let now = Instant::now();
        Self {
            memory: Reader::new(pid),
            build,
            bias,
            layout: None,
            refused: None,
            cache: CodeCache::default(),
            gone: Gone::default(),
            interpreted: HashMap::new(),
            due: now,
            whole_due: now,
        }
    }

    /// Its version, as far as it is known: 17.
    pub fn version(&self) -> Option<u64> {
        self.layout.as_ref().map(|layout| layout.version)
    }

    /// Why its code cannot be followed.
    pub fn refused(&self) -> Option<&str> {
        self.refused.as_deref()
    }

    /// Its code.
    pub fn code(&self) -> &CodeCache {
        &self.cache
    }

    /// Looks whether its code has changed, if it is time to. Returns the tables of the heaps that have, with where
    /// their structures are.
    pub fn refresh(&mut self) -> Vec<(u64, Table)> {
        let begun = Instant::now();
        if begun < self.due || self.refused.is_some() {
            return Vec::new();
        }
        let tables = self.look(begun);
        self.due = Instant::now() + LEAST.max(begun.elapsed() * SHARE);
        tables
    }

    fn look(&mut self, now: Instant) -> Vec<(u64, Table)> {
        let Some(layout) = self.layout() else {
            return Vec::new();
        };
        let whole = now >= self.whole_due;
        if whole {
            self.whole_due = now + WHOLE;
        }
        let Some(changes) = self.cache.refresh(&mut self.memory, &layout, whole) else {
            return Vec::new();
        };
        self.remember_gone(changes.gone);
        let heaps = changes.heaps.into_iter();
        heaps
            .filter_map(|at| Some((at, table(self.cache.heaps.get(&at)?))))
            .collect()
    }

    /// Remembers the names of compiled methods that are gone.
    fn remember_gone(&mut self, gone: Vec<Blob>) {
        for blob in gone {
            if let Some(method) = blob.method {
                self.gone.add(blob.code, method.name.clone());
            }
        }
    }

    /// Where things are in it; `None` while it starts, or if it is refused.
    fn layout(&mut self) -> Option<Rc<Layout>> {
        if self.layout.is_none() {
            let structs = Structs::read(&mut self.memory, &self.build.symbols, self.bias)?;
            let version = structs.member("Abstract_VM_Version", "_vm_major_version");
            let version = version.map(|member| member.address);
            let version = self.value(version?)?;
            if version < 11 {
                // It has another interpreter frame.
                self.refused = Some(format!("HotSpot {version} is not known"));
                return None;
            }
            match Layout::of(&structs, version) {
                Ok(layout) => self.layout = Some(Rc::new(layout)),
                Err(why) => self.refused = Some(format!("HotSpot {version}: {why}")),
            }
        }
        self.layout.clone()
    }

    fn value(&mut self, address: u64) -> Option<u64> {
        use super::pieces::{Pieces, number, piece};
        let bytes = self.memory.bytes(&[piece(Some(address), 4)]).pop()??;
        number(&bytes, 0, 4)
    }

    /// The functions at a call in generated code, by an address within the call; `None` if it is none
    /// of this machine's.
    pub fn frames(&mut self, lookup: u64) -> Option<Result<At, Missing>> {
        let blob = self.cache.find(lookup).cloned();
        let name = |blob: &Blob| match &blob.method {
            Some(method) => method.name.clone(),
            None => blob.name.to_string(),
        };
        let current = blob.as_ref().map(name);
        match (blob, self.gone.other(lookup, current.as_deref())) {
            (None, None) => None,
            // It may be of either.
            (Some(_), Some(_)) => Some(Err(Missing::CodeReplaced)),
            (None, Some((code, name))) => {
                if self.gone.other(lookup, Some(name)).is_some() {
                    return Some(Err(Missing::CodeReplaced));
                }
                let named = Named {
                    function: name.clone(),
                    file: None,
                    line: None,
                };
                Some(Ok(At {
                    functions: vec![named],
                    offset: lookup - code.start,
                    is_java: true,
                }))
            }
            (Some(blob), None) => {
                let named = self.scopes(&blob, lookup + 1).unwrap_or_else(|| {
                    let method = blob.method.as_ref();
                    vec![Named {
                        function: name(&blob),
                        file: method.and_then(|method| method.file.clone()),
                        line: None,
                    }]
                });
                Some(Ok(At {
                    functions: named,
                    offset: lookup - blob.code.start,
                    is_java: blob.method.is_some(),
                }))
            }
        }
    }

    /// The compiled method at an address and those that were inlined into it there.
    fn scopes(&mut self, blob: &Blob, address: u64) -> Option<Vec<Named>> {
        let layout = self.layout()?;
        let compiled = blob.method.as_ref()?;
        let scopes = scopes::at(&mut self.memory, &layout, blob, address)?;
        let addresses: Vec<u64> = scopes.iter().map(|scope| scope.method).collect();
        let methods = method::read(&mut self.memory, &layout, &addresses);
        let methods: Vec<Rc<Method>> = methods.into_iter().collect::<Option<_>>()?;
        // The outermost one is the compiled method itself.
        if methods.last().is_none_or(|last| last.name != compiled.name) {
            return None;
        }
        let named = methods.iter().zip(&scopes).map(|(method, scope)| Named {
            function: method.name.clone(),
            file: method.file.clone(),
            line: method.line(&layout, scope.bytecode.unwrap_or(0)),
        });
        Some(named.collect())
    }

    /// A frame of the interpreter; `None` if there is no such method.
    pub fn interpreted(&mut self, at: Interpreted) -> Option<Named> {
        let layout = self.layout()?;
        if !self.interpreted.contains_key(&at.method) {
            let read = method::read(&mut self.memory, &layout, &[at.method]).pop()?;
            if self.interpreted.len() < MOST_METHODS {
                self.interpreted.insert(at.method, read);
            }
        }
        let method = self.interpreted.get(&at.method)?.as_ref()?;
        Some(Named {
            function: method.name.clone(),
            file: method.file.clone(),
            line: method
                .bytecode(at.bytecode)
                .and_then(|bytecode| method.line(&layout, bytecode)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_gone_is_known_by_its_name() {
        let mut gone = Gone::default();
        gone.add(0x1000..0x2000, "A.a".to_owned());
        gone.add(0x1800..0x1900, "B.b".to_owned());
        let other = |at, name| gone.other(at, name).map(|(_, name)| name.as_str());
        assert_eq!(other(0x1000, None), Some("A.a"));
        // Compiled anew at the same place.
        assert_eq!(other(0x1000, Some("A.a")), None);
        assert_eq!(other(0x1880, None), Some("B.b"));
        assert_eq!(other(0x1880, Some("B.b")), Some("A.a"));
        assert_eq!(other(0x2000, None), None);
        for number in 0..MOST_GONE as u64 {
            gone.add(number..number + 1, "C.c".to_owned());
        }
        assert_eq!(gone.0.len(), MOST_GONE);
        assert!(
            gone.other(0x1950, None)
                .is_none_or(|(_, name)| name == "C.c")
        );
    }
}
