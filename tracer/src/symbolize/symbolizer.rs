//! From the addresses of a stack to its frames.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io::{BufReader, Seek};
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use tracer_common::key::Owner;

use crate::process::ProcessError;
use crate::process::maps::{self, Mapping, MappingName};

use super::image::Image;
use super::module::{Module, Modules};
use super::names::{Found, Layer, Name, Names};
use super::{Frame, FrameAddress, SymbolCache, frame_addresses, perf_map};
use crate::profile::{FrameKind, Missing};
use crate::runtime::hotspot::{Jvm, Named};

/// Bytes of frames that are kept: 30 to 100 thousand addresses.
const CACHE_BYTES: usize = 32 << 20;

/// Names the frames of stacks, also of programs that have ended since [`Symbolizer::snapshot`] saw them.
///
/// Bounded: 32 MB of frames are cached, and blazesym's parsed files are dropped when they have grown the process by
/// 48 MB; both can be found again. Each mapped file costs one open descriptor, however many processes map it.
#[derive(Debug)]
pub struct Symbolizer {
    images: HashMap<Owner, Image>,
    modules: Modules,
    names: Names,
    cache: SymbolCache,
    /// Start of this process's own vDSO.
    own_vdso: Option<u64>,
}

impl Default for Symbolizer {
    fn default() -> Symbolizer {
        Symbolizer::new()
    }
}

impl Symbolizer {
    /// A symbolizer that knows nothing yet.
    pub fn new() -> Symbolizer {
        let own_maps = maps::read(std::process::id()).unwrap_or_default();
        let own_vdso = own_maps
            .iter()
            .find(|mapping| is_vdso(mapping))
            .map(|mapping| mapping.start);
        Symbolizer {
            images: HashMap::new(),
            modules: Modules::default(),
            names: Names::new(),
            cache: SymbolCache::new(CACHE_BYTES),
            own_vdso,
        }
    }

    /// Remembers the code of a program image while it runs: mappings, and descriptors of the files. To be called at
    /// the attach, after an exec (of a command started stopped: after its release) and whenever code was mapped;
    /// what is mapped later without a call is noticed while the process lives.
    pub fn snapshot(&mut self, owner: Owner) -> Result<(), ProcessError> {
        let image = Image::read(owner.tgid, &mut self.modules)?;
        match self.images.get_mut(&owner) {
            None => drop(self.images.insert(owner, image)),
            Some(known) if known.is_same_program(&image) => known.renew(image),
            // Another program runs in the process by now: this one is remembered as it was.
            Some(_) => return Err(ProcessError::Gone { pid: owner.tgid }),
        }
        Ok(())
    }

    /// Takes note of code that a program image has just mapped: all that is known of a program that ends before
    /// [`Symbolizer::snapshot`] can look at it.
    pub fn observe(&mut self, owner: Owner, mapping: Mapping) {
        let image = self
            .images
            .entry(owner)
            .or_insert_with(|| Image::unseen(owner.tgid));
        image.learn(mapping, &mut self.modules);
    }

    /// Tells of the machine that generates code in a program image.
    pub fn generates(&mut self, owner: Owner, machine: Rc<RefCell<Jvm>>) {
        if let Some(image) = self.images.get_mut(&owner) {
            image.set_generated(machine);
        }
    }

    /// Tells that the program image has ended, by exit or exec: its PID will not be looked at again.
    pub fn seal(&mut self, owner: Owner) {
        if let Some(image) = self.images.get_mut(&owner) {
            image.seal();
        }
    }

    /// Whether anything is kept of a program image.
    pub fn knows(&self, owner: Owner) -> bool {
        self.images.contains_key(&owner)
    }

    /// Drops all that is kept of a program image.
    pub fn forget(&mut self, owner: Owner) {
        self.images.remove(&owner);
        self.cache.forget(owner);
        for path in self.modules.close_unused() {
            self.names.evict(&path);
        }
    }

    /// Names the frames of a stack, innermost first, inlined functions included. All addresses are return addresses,
    /// but the first is an instruction pointer unless `first_is_return`.
    pub fn symbolize(
        &mut self,
        owner: Owner,
        addresses: &[u64],
        first_is_return: bool,
    ) -> Vec<Frame> {
        let wanted: Vec<FrameAddress> = frame_addresses(addresses, first_is_return).collect();
        let found: HashMap<FrameAddress, Arc<[Frame]>> =
            self.find(owner, &wanted).into_iter().collect();
        let frames = wanted.iter().filter_map(|address| found.get(address));
        frames.flat_map(|frames| frames.iter().cloned()).collect()
    }

    /// Looks the addresses up now, while the process lives, so that a later look-up knows them.
    pub fn resolve(&mut self, owner: Owner, addresses: &[u64], first_is_return: bool) {
        let wanted: Vec<FrameAddress> = frame_addresses(addresses, first_is_return).collect();
        self.find(owner, &wanted);
    }

    /// The frames of each address, in any order: one, and before it those inlined into it.
    pub fn find(
        &mut self,
        owner: Owner,
        wanted: &[FrameAddress],
    ) -> Vec<(FrameAddress, Arc<[Frame]>)> {
        let mut found = Vec::with_capacity(wanted.len());
        let mut unknown = Vec::new();
        for address in wanted {
            match self.cache.get(owner, *address) {
                Some(frames) => found.push((*address, frames)),
                None => unknown.push(*address),
            }
        }
        unknown.sort_unstable_by_key(|address| address.lookup());
        unknown.dedup();
        if !unknown.is_empty() {
            found.extend(self.look_up(owner, &unknown));
        }
        found
    }

    fn look_up(
        &mut self,
        owner: Owner,
        addresses: &[FrameAddress],
    ) -> Vec<(FrameAddress, Arc<[Frame]>)> {
        if !self.images.contains_key(&owner)
            && let Err(error) = self.snapshot(owner)
        {
            let reason = match error {
                ProcessError::Gone { .. } => Missing::ProcessExited,
                _ => Missing::ProcessUnreadable,
            };
            return addresses
                .iter()
                .map(|at| (*at, unnamed(*at, &Place::default(), reason)))
                .collect();
        }
        let Some(image) = self.images.get_mut(&owner) else {
            return Vec::new();
        };
        image.refresh_if_needed(addresses.iter().map(|at| at.lookup()), &mut self.modules);
        let lookup = Lookup {
            image,
            names: &mut self.names,
            own_vdso: self.own_vdso,
        };
        let found = lookup.run(addresses);
        found
            .into_iter()
            .map(
                |Resolved {
                     address,
                     frames,
                     lasting,
                 }| {
                    if lasting {
                        self.cache.insert(owner, address, Arc::clone(&frames));
                    }
                    (address, frames)
                },
            )
            .collect()
    }
}

/// One address with its frames.
struct Resolved {
    address: FrameAddress,
    frames: Arc<[Frame]>,
    /// The answer will not change: no compiler is about to name this code.
    lasting: bool,
}

/// Where an address lies, and its name.
#[derive(Default)]
struct Place {
    module: Option<PathBuf>,
    module_offset: Option<u64>,
    build_id: Option<String>,
}

/// What is asked of one file: the path to it, and each address with its file offset.
type FileRequest = (PathBuf, Vec<(FrameAddress, u64)>);

/// One round of look-ups in one image.
struct Lookup<'a> {
    image: &'a mut Image,
    names: &'a mut Names,
    own_vdso: Option<u64>,
}

impl Lookup<'_> {
    fn run(mut self, addresses: &[FrameAddress]) -> Vec<Resolved> {
        let mut named = self.in_files(addresses);
        let left = addresses
            .iter()
            .filter(|at| !named.contains_key(at) && self.may_be_jit(at.lookup()));
        let left: Vec<FrameAddress> = left.copied().collect();
        named.extend(self.in_generated(&left));
        let left: Vec<FrameAddress> = left
            .into_iter()
            .filter(|at| !named.contains_key(at))
            .collect();
        named.extend(self.in_perf_map(&left));
        addresses
            .iter()
            .map(|at| self.finish(*at, named.remove(at)))
            .collect()
    }

    /// Names what lies in ELF files, file by file.
    fn in_files(&mut self, addresses: &[FrameAddress]) -> HashMap<FrameAddress, Found> {
        let mut by_module: HashMap<*const Module, FileRequest> = HashMap::new();
        let mut found = HashMap::new();
        for at in addresses {
            let Some(mapping) = self.image.mapping(at.lookup()) else {
                continue;
            };
            let Some(module) = self.image.module(mapping) else {
                continue;
            };
            match (module.path(), mapping.file_offset(at.lookup())) {
                (Err(reason), _) => drop(found.insert(*at, Err(reason))),
                (Ok(path), Some(offset)) if module.is_elf() => {
                    let entry = by_module.entry(std::rc::Rc::as_ptr(module));
                    entry
                        .or_insert_with(|| (path, Vec::new()))
                        .1
                        .push((*at, offset));
                }
                (Ok(_), _) => {}
            }
        }
        for (path, wanted) in by_module.into_values() {
            let offsets: Vec<u64> = wanted.iter().map(|(_, offset)| *offset).collect();
            let names = self.names.in_file(&path, &offsets);
            found.extend(wanted.into_iter().map(|(at, _)| at).zip(names));
        }
        found
    }

    /// Code in memory that is not an ELF file's, nor the kernel's: a just-in-time compiler's, it seems.
    fn may_be_jit(&self, address: u64) -> bool {
        self.image
            .mapping(address)
            .is_some_and(|mapping| match &mapping.name {
                MappingName::Anonymous => true,
                MappingName::Special(name) => name.starts_with("[anon") || name == "[heap]",
                MappingName::File { .. } => self.image.module(mapping).is_some_and(|m| !m.is_elf()),
            })
    }

    /// Names code that a runtime has generated and tells of.
    fn in_generated(&self, addresses: &[FrameAddress]) -> HashMap<FrameAddress, Found> {
        let Some(machine) = self.image.generated() else {
            return HashMap::new();
        };
        let mut machine = machine.borrow_mut();
        let layer = |named: Named| Layer {
            symbol: named.function,
            file: named.file.map(PathBuf::from),
            line: named.line,
        };
        let mut name = |at: &FrameAddress| {
            let found = machine.frames(at.lookup())?;
            let found = found.map(|at| Name {
                layers: at.functions.into_iter().map(layer).collect(),
                offset: at.offset,
                kind: match at.is_java {
                    true => FrameKind::Java,
                    false => FrameKind::Native,
                },
            });
            Some((*at, found))
        };
        addresses.iter().filter_map(&mut name).collect()
    }

    fn in_perf_map(&mut self, addresses: &[FrameAddress]) -> HashMap<FrameAddress, Found> {
        if addresses.is_empty() {
            return HashMap::new();
        }
        let lookups: Vec<u64> = addresses.iter().map(|at| at.lookup()).collect();
        let (names, reason) = match self.image.perf_map() {
            None => (HashMap::new(), Missing::NoPerfMap),
            Some(mut file) => match file
                .rewind()
                .and_then(|()| perf_map::find(BufReader::new(file), &lookups))
            {
                Ok(names) => (names, Missing::NotInPerfMap),
                Err(_) => (HashMap::new(), Missing::PerfMapUnreadable),
            },
        };
        let name = |at: &FrameAddress| match names.get(&at.lookup()) {
            None => Err(reason),
            Some(jit) => {
                let layer = Layer {
                    symbol: jit.name.clone(),
                    file: None,
                    line: None,
                };
                Ok(Name {
                    layers: vec![layer],
                    offset: at.lookup() - jit.start,
                    kind: FrameKind::Native,
                })
            }
        };
        addresses.iter().map(|at| (*at, name(at))).collect()
    }

    fn finish(&self, at: FrameAddress, found: Option<Found>) -> Resolved {
        let Some(mapping) = self.image.mapping(at.lookup()) else {
            let frames = unnamed(at, &Place::default(), Missing::NothingMapped);
            return Resolved {
                address: at,
                frames,
                lasting: self.image.is_sealed(),
            };
        };
        let place = self.place(mapping, at);
        let found = found.unwrap_or_else(|| self.in_kernel_page(mapping, at));
        let lasting = self.image.is_sealed() || found.is_ok() || !self.may_be_jit(at.lookup());
        let frames = match found {
            Ok(name) => named(at, &place, name),
            Err(reason) => unnamed(at, &place, reason),
        };
        Resolved {
            address: at,
            frames,
            lasting,
        }
    }

    /// Names an address in the vDSO: the kernel gives every process the same one, so the own one is asked.
    fn in_kernel_page(&self, mapping: &Mapping, at: FrameAddress) -> Found {
        match self.own_vdso {
            Some(own) if is_vdso(mapping) => {
                self.names.in_own_vdso(own + (at.lookup() - mapping.start))
            }
            _ => Err(Missing::NoSymbolMemory),
        }
    }

    fn place(&self, mapping: &Mapping, at: FrameAddress) -> Place {
        let module = self.image.module(mapping);
        // The captured address may be one past the mapping; it is in the same segment as the address looked up.
        let past = at.captured() - at.lookup();
        let offset = mapping.file_offset(at.lookup());
        Place {
            module: mapping.label().map(Path::to_path_buf),
            module_offset: match module {
                Some(module) => offset
                    .and_then(|offset| module.address_of(offset))
                    .map(|svma| svma + past),
                // The vDSO is linked at zero.
                None => is_vdso(mapping).then(|| at.captured() - mapping.start),
            },
            build_id: module
                .and_then(|module| module.build_id())
                .map(str::to_owned),
        }
    }
}

fn is_vdso(mapping: &Mapping) -> bool {
    mapping.name == MappingName::Special("[vdso]".into())
}

/// The frames of an address that has a name.
fn named(at: FrameAddress, place: &Place, name: Name) -> Arc<[Frame]> {
    let outermost = name.layers.len().saturating_sub(1);
    let offset = name.offset + (at.captured() - at.lookup());
    let kind = name.kind;
    let frame = |(index, layer): (usize, Layer)| Frame {
        kind,
        symbol: Some(layer.symbol),
        // Where an inlined function starts is not known.
        offset: (index == outermost).then_some(offset),
        file: layer.file,
        line: layer.line,
        inlined: index < outermost,
        ..bare(at, place)
    };
    name.layers.into_iter().enumerate().map(frame).collect()
}

/// The frame of an address without a name.
fn unnamed(at: FrameAddress, place: &Place, reason: Missing) -> Arc<[Frame]> {
    Arc::from([Frame {
        missing: Some(reason),
        ..bare(at, place)
    }])
}

fn bare(at: FrameAddress, place: &Place) -> Frame {
    Frame {
        address: at.captured(),
        module: place.module.clone(),
        module_offset: place.module_offset,
        build_id: place.build_id.clone(),
        ..Frame::default()
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
