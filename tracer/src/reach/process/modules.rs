//! The files that a process executes: where their data lies in its memory, and the names of their globals.

use std::cell::OnceCell;
use std::ops::Range;
use std::sync::Arc;

use object::elf::PT_TLS;
use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{LittleEndian, Object as _, ObjectSegment as _, ObjectSymbol as _, SymbolKind};

use crate::process::files::{self, FileBytes};
use crate::process::maps::{self, MappedFile, Mapping};
use crate::sources::ledger::symbols::bias;
use crate::symbolize::demangle;

/// Prefix of the symbol of a C++ class's table of virtual functions (Itanium C++ ABI, 5.1.4.1).
const VTABLE: &str = "_ZTV";

/// A file with its data.
struct Module {
    file: MappedFile,
    /// Addresses of its writable segments in the process.
    data: Vec<Range<u64>>,
    /// Bytes of variables that each thread has of it.
    thread_data: u64,
    /// Address in the process less address in the file.
    bias: u64,
    image: FileBytes,
    variables: OnceCell<Vec<Variable>>,
}

/// A variable of a file.
struct Variable {
    range: Range<u64>,
    name: String,
}

/// The modules of a process.
#[derive(Default)]
pub struct Modules {
    all: Vec<Module>,
}

/// A global, or a place in a module's data of which no name is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Global {
    /// The file.
    pub module: Arc<str>,
    /// Name of the variable.
    pub name: Option<String>,
    /// Bytes from its start; from the start of the file's addresses where there is no name.
    pub offset: u64,
}

impl Modules {
    /// Reads what is new of the files that a process executes.
    pub fn update(&mut self, pid: u32, mappings: &[Mapping]) {
        let files = maps::executable_files(mappings);
        self.all.retain(|module| files.contains(&module.file));
        for file in files {
            if !self.all.iter().any(|module| module.file == file) {
                self.all.extend(open(pid, file));
            }
        }
    }

    /// Addresses of all writable data, ascending.
    pub fn data(&self) -> Vec<Range<u64>> {
        let mut data: Vec<_> = self
            .all
            .iter()
            .flat_map(|module| &module.data)
            .cloned()
            .collect();
        data.sort_unstable_by_key(|range| range.start);
        data
    }

    /// Bytes of the variables that each thread has of all of them, before its thread pointer. Those of modules that
    /// were loaded later are in blocks.
    pub fn thread_data(&self) -> u64 {
        self.all.iter().map(|module| module.thread_data).sum()
    }

    /// The global at an address of a module's data.
    pub fn global(&self, address: u64) -> Option<Global> {
        let module = self.of(address)?;
        let place = address.wrapping_sub(module.bias);
        let variable = module.variable(place);
        Some(Global {
            module: module.file.path.to_string_lossy().into(),
            offset: variable.map_or(place, |variable| place - variable.range.start),
            name: variable.map(|variable| demangle(&variable.name).into_owned()),
        })
    }

    /// The class whose table of virtual functions is at an address, which is what the first word of an object holds.
    pub fn class(&self, address: u64) -> Option<String> {
        let module = self.of(address)?;
        let variable = module.variable(address.wrapping_sub(module.bias))?;
        let name = demangle(Some(&variable.name).filter(|name| name.starts_with(VTABLE))?);
        name.strip_prefix("vtable for ").map(str::to_owned)
    }

    fn of(&self, address: u64) -> Option<&Module> {
        let has = |module: &&Module| module.data.iter().any(|data| data.contains(&address));
        self.all.iter().find(has)
    }
}

fn open(pid: u32, file: MappedFile) -> Option<Module> {
    let opened = files::open(pid, &file).ok()?;
    let image = files::bytes(&opened).ok()?;
    let elf: ElfFile64<LittleEndian> = ElfFile64::parse(&*image).ok()?;
    let bias = bias(&elf, &file)?;
    let writable = elf
        .segments()
        .filter(|segment| segment.permissions().writable());
    let data = writable.map(|segment| {
        let start = segment.address().wrapping_add(bias);
        start..start.saturating_add(segment.size())
    });
    let data = data.collect();
    let thread_data = elf
        .elf_program_headers()
        .iter()
        .filter(|header| header.p_type(LittleEndian) == PT_TLS)
        .map(|header| {
            let size = header.p_memsz(LittleEndian);
            let align = header.p_align(LittleEndian).max(1);
            size.checked_next_multiple_of(align).unwrap_or(size)
        })
        .sum();
    Some(Module {
        file,
        data,
        thread_data,
        bias,
        image,
        variables: OnceCell::new(),
    })
}

impl Module {
    /// The variable at an address of the file.
    fn variable(&self, place: u64) -> Option<&Variable> {
        let variables = self.variables.get_or_init(|| self.read_variables());
        let behind = variables.partition_point(|variable| variable.range.start <= place);
        let variable = variables[..behind].last()?;
        variable.range.contains(&place).then_some(variable)
    }

    fn read_variables(&self) -> Vec<Variable> {
        let Ok(elf) = ElfFile64::<object::Endianness>::parse(&*self.image) else {
            return Vec::new();
        };
        let variables = elf
            .symbols()
            .chain(elf.dynamic_symbols())
            .filter_map(|symbol| {
                let is_variable = symbol.kind() == SymbolKind::Data && symbol.size() > 0;
                let start = symbol.address();
                Some(Variable {
                    range: start..start.checked_add(symbol.size())?,
                    name: symbol.name().ok().filter(|_| is_variable)?.to_owned(),
                })
            });
        let mut variables: Vec<Variable> = variables.collect();
        variables.sort_by(|one, other| {
            let key = |own: &Variable| (own.range.start, own.range.end);
            key(one)
                .cmp(&key(other))
                .then_with(|| one.name.cmp(&other.name))
        });
        variables.dedup_by_key(|variable| variable.range.start);
        variables
    }
}
