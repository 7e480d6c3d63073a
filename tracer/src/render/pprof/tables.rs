//! The tables of a pprof profile: strings, functions, locations and mappings, each distinct one once.

use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::HashMap;

use super::proto::{self, Function, Line, Location, Mapping};
use crate::profile::{Frame, Profile, Sample};
use crate::render::path::{self, Step};
use crate::words::names;

/// Mappings end at a multiple of this.
const PAGE: u64 = 4096;

/// Tables that are being written. Ids begin with 1, as 0 is none.
pub struct Tables<'a> {
    profile: &'a Profile,
    strings: HashMap<Cow<'a, str>, i64>,
    functions: HashMap<(i64, i64), u64>,
    /// By the frames at an address, innermost first.
    places: HashMap<Vec<u32>, u64>,
    /// Of steps that are no frames.
    words: HashMap<i64, u64>,
    /// Id of the mapping of each module; 0 until it is used.
    mapped: Vec<u64>,
    mapping: Vec<Mapping>,
    location: Vec<Location>,
    function: Vec<Function>,
    string_table: Vec<String>,
}

impl<'a> Tables<'a> {
    /// Tables with the mapping of the main program as the first, which pprof takes for that.
    pub fn new(profile: &'a Profile) -> Self {
        let mut tables = Self {
            profile,
            strings: HashMap::new(),
            functions: HashMap::new(),
            places: HashMap::new(),
            words: HashMap::new(),
            mapped: vec![0; profile.modules.len()],
            mapping: Vec::new(),
            location: Vec::new(),
            function: Vec::new(),
            string_table: Vec::new(),
        };
        tables.string("");
        if let Some(program) = main_program(profile) {
            tables.mapping(program);
        }
        tables
    }

    /// Index of a string.
    pub fn string(&mut self, text: &str) -> i64 {
        if let Some(known) = self.strings.get(text) {
            return *known;
        }
        let new = i64::try_from(self.string_table.len()).unwrap_or(0);
        self.string_table.push(text.to_owned());
        self.strings.insert(Cow::Owned(text.to_owned()), new);
        new
    }

    /// Ids of the locations of a sample, innermost first.
    pub fn locations(&mut self, sample: &Sample) -> Vec<u64> {
        let mut ids = Vec::new();
        let mut at_address: Vec<u32> = Vec::new();
        for step in path::steps(self.profile, sample).iter().rev() {
            let Step::Frame(index) = step else {
                let word = step.word().unwrap_or_default().into_owned();
                ids.push(self.word(&word));
                continue;
            };
            // Inlined functions stand before the function that holds them.
            at_address.push(*index);
            if !self.profile.frames[*index as usize].inlined {
                ids.push(self.place(std::mem::take(&mut at_address)));
            }
        }
        if !at_address.is_empty() {
            ids.push(self.place(at_address));
        }
        ids
    }

    /// Id of the location of frames that share an address.
    fn place(&mut self, frames: Vec<u32>) -> u64 {
        if let Some(known) = self.places.get(&frames) {
            return *known;
        }
        let all = &self.profile.frames;
        let known = frames.iter().filter_map(|frame| all.get(*frame as usize));
        let known: Vec<&Frame> = known.collect();
        let holder = known.last().copied();
        let module = holder.and_then(|frame| Some((frame.module?, frame.module_offset?)));
        let line = known.iter().map(|frame| self.line(frame)).collect();
        let id = next_id(self.location.len());
        let (mapping_id, address) = match module {
            Some((module, offset)) => (self.mapping(module), offset),
            None => (0, holder.map_or(0, |frame| frame.address)),
        };
        if let Some(mapping) = at(&mut self.mapping, mapping_id) {
            mapping.memory_limit = mapping.memory_limit.max((address / PAGE + 1) * PAGE);
            for frame in &known {
                mapping.has_functions |= frame.symbol.is_some();
                mapping.has_filenames |= frame.file.is_some();
                mapping.has_line_numbers |= frame.line.is_some();
                mapping.has_inline_frames |= frame.inlined;
            }
        }
        self.location.push(Location {
            id,
            mapping_id,
            address,
            line,
        });
        self.places.insert(frames, id);
        id
    }

    /// Id of a location that is no code.
    fn word(&mut self, word: &str) -> u64 {
        let name = self.string(word);
        if let Some(known) = self.words.get(&name) {
            return *known;
        }
        let function_id = self.function(name, 0);
        let id = next_id(self.location.len());
        self.location.push(Location {
            id,
            mapping_id: 0,
            address: 0,
            line: vec![Line {
                function_id,
                line: 0,
            }],
        });
        self.words.insert(name, id);
        id
    }

    fn line(&mut self, frame: &Frame) -> Line {
        let name = names::frame(self.profile, frame);
        let name = self.string(&name);
        let file = frame.file.as_deref().unwrap_or_default();
        let file = self.string(file);
        Line {
            function_id: self.function(name, file),
            line: frame.line.map_or(0, i64::from),
        }
    }

    fn function(&mut self, name: i64, filename: i64) -> u64 {
        if let Some(known) = self.functions.get(&(name, filename)) {
            return *known;
        }
        let id = next_id(self.function.len());
        self.function.push(Function {
            id,
            name,
            system_name: 0,
            filename,
        });
        self.functions.insert((name, filename), id);
        id
    }

    /// Id of a module's mapping. It begins at 0, and locations have addresses of the file's own address space: these are
    /// the same in every process, and what `nm` and `addr2line` know.
    fn mapping(&mut self, module: u32) -> u64 {
        let index = module as usize;
        let Some(file) = self.profile.modules.get(index) else {
            return 0;
        };
        if self.mapped[index] != 0 {
            return self.mapped[index];
        }
        let id = next_id(self.mapping.len());
        let filename = self.string(&file.path);
        let build_id = self.string(file.build_id.as_deref().unwrap_or_default());
        self.mapping.push(Mapping {
            id,
            memory_limit: PAGE,
            filename,
            build_id,
            ..Mapping::default()
        });
        self.mapped[index] = id;
        id
    }

    /// The profile with its tables.
    pub fn fill(self, profile: proto::Profile) -> proto::Profile {
        proto::Profile {
            mapping: self.mapping,
            location: self.location,
            function: self.function,
            string_table: self.string_table,
            ..profile
        }
    }
}

fn next_id(length: usize) -> u64 {
    length as u64 + 1
}

fn at(mappings: &mut [Mapping], id: u64) -> Option<&mut Mapping> {
    let index = usize::try_from(id).ok()?.checked_sub(1)?;
    mappings.get_mut(index)
}

/// The module that is the program of the first process: the one that is named like it, or else the one that most frames
/// are in.
fn main_program(profile: &Profile) -> Option<u32> {
    let command = profile
        .subjects
        .first()
        .map(|subject| subject.command.as_str());
    let is_named = |path: &str| {
        let name = names::module(path);
        command.is_some_and(|command| !command.is_empty() && name.starts_with(command))
    };
    let mut frames = vec![0_u64; profile.modules.len()];
    for module in profile.frames.iter().filter_map(|frame| frame.module) {
        if let Some(count) = frames.get_mut(module as usize) {
            *count += 1;
        }
    }
    let modules = profile.modules.iter().zip(frames).enumerate();
    let best = modules
        .max_by_key(|(index, (module, frames))| (is_named(&module.path), *frames, Reverse(*index)));
    best.and_then(|(index, _)| u32::try_from(index).ok())
}
