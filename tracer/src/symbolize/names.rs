//! blazesym: from an offset in a file to function names and source lines. Holds a bounded amount of memory.

use std::path::{Path, PathBuf};

use blazesym::MaybeDefault;
use blazesym::symbolize::{
    CodeInfo, Input, Reason, Sym, Symbolized, Symbolizer, evict, source::Elf, source::Kernel,
    source::Process, source::Source,
};

use super::demangle::demangle;
use crate::process::info::own_resident_bytes;
use crate::profile::{FrameKind, Missing};

/// Resident memory that blazesym's parsed files may add before they are dropped, to be parsed again at need.
const MAX_GROWTH: u64 = 48 << 20;
/// Addresses between two looks at the memory.
const BATCH: usize = 64;

/// What is known of a code address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// The function and those inlined into it at that address, innermost first: never empty.
    pub layers: Vec<Layer>,
    /// Bytes from the outermost function's start to the address.
    pub offset: u64,
    /// What kind of code it is.
    pub kind: FrameKind,
}

/// A function, and the line in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Layer {
    pub symbol: String,
    pub file: Option<PathBuf>,
    pub line: Option<u32>,
}

/// A name, or the reason why there is none.
pub(super) type Found = Result<Name, Missing>;

/// The names in ELF files.
#[derive(Debug)]
pub(super) struct Names {
    blazesym: Symbolizer,
    grown: u64,
}

impl Names {
    pub fn new() -> Names {
        Names {
            blazesym: Symbolizer::builder()
                // It demangles what is not mangled.
                .enable_demangling(false)
                .build(),
            grown: 0,
        }
    }

    /// Names offsets in the ELF file at `path`, in their order.
    pub fn in_file(&mut self, path: &Path, offsets: &[u64]) -> Vec<Found> {
        let mut found = Vec::with_capacity(offsets.len());
        for batch in offsets.chunks(BATCH) {
            let before = own_resident_bytes();
            found.extend(self.in_file_batch(path, batch));
            if let (Some(before), Some(after)) = (before, own_resident_bytes()) {
                self.grown += after.saturating_sub(before);
            }
            if self.grown > MAX_GROWTH {
                *self = Names::new();
            }
        }
        found
    }

    /// Names an address in this process's own vDSO, which is every process's.
    pub fn in_own_vdso(&self, address: u64) -> Found {
        let mut process = Process::new(blazesym::Pid::Slf);
        process.perf_map = false;
        match self
            .blazesym
            .symbolize_single(&Source::Process(process), Input::AbsAddr(address))
        {
            Ok(symbolized) => name(symbolized),
            Err(_) => Err(Missing::SymbolsUnreadable),
        }
    }

    /// Names addresses in the running kernel and its modules, in their order, by the list that it publishes.
    pub fn in_kernel(&self, addresses: &[u64]) -> Vec<Found> {
        let kernel = Kernel {
            kallsyms: MaybeDefault::Default,
            // An image that lies about need not be the one that runs.
            vmlinux: MaybeDefault::None,
            debug_syms: false,
            ..Kernel::default()
        };
        match self
            .blazesym
            .symbolize(&Source::Kernel(kernel), Input::AbsAddr(addresses))
        {
            Ok(all) => all.into_iter().map(name).collect(),
            Err(_) => vec![Err(Missing::KernelSymbolsUnreadable); addresses.len()],
        }
    }

    /// Drops what is kept of a file.
    pub fn evict(&mut self, path: &Path) {
        // It cannot fail for an ELF file; if it did, the memory would go with the next reset.
        let _ = self.blazesym.evict(&evict::Elf::new(path).into());
    }

    /// Names addresses of an ELF file's own address space, in their order.
    pub fn at_addresses(&self, path: &Path, addresses: &[u64]) -> Vec<Found> {
        self.look_up(path, Input::VirtOffset(addresses), true)
    }

    fn in_file_batch(&self, path: &Path, offsets: &[u64]) -> Vec<Found> {
        let mut found = self.look_up(path, Input::FileOffset(offsets), true);
        // Debug information may be broken, belong to another build, or not cover hand-written code: the file's own
        // symbol table is asked for what is left.
        let left: Vec<usize> = (0..found.len())
            .filter(|index| found[*index].is_err())
            .collect();
        if !left.is_empty() {
            let left_offsets: Vec<u64> = left.iter().map(|index| offsets[*index]).collect();
            let again = self.look_up(path, Input::FileOffset(&left_offsets), false);
            left.into_iter()
                .zip(again)
                .for_each(|(index, name)| found[index] = name);
        }
        found
    }

    fn look_up(&self, path: &Path, wanted: Input<&[u64]>, debug: bool) -> Vec<Found> {
        let count = wanted.as_inner_ref().len();
        let mut elf = Elf::new(path);
        elf.debug_syms = debug;
        match self.blazesym.symbolize(&Source::Elf(elf), wanted) {
            Ok(all) => all.into_iter().map(name).collect(),
            Err(_) => vec![Err(Missing::SymbolsUnreadable); count],
        }
    }
}

fn name(symbolized: Symbolized<'_>) -> Found {
    let sym = match symbolized {
        Symbolized::Sym(sym) if sym.name.is_empty() => return Err(Missing::NoSymbols),
        Symbolized::Sym(sym) => sym,
        Symbolized::Unknown(reason) => return Err(missing(reason)),
    };
    let Sym {
        name,
        offset,
        code_info,
        inlined,
        ..
    } = sym;
    // blazesym has the caller before what is inlined into it.
    let inner = inlined
        .iter()
        .rev()
        .map(|function| layer(&function.name, function.code_info.as_ref()));
    let layers = inner.chain([layer(&name, code_info.as_deref())]).collect();
    Ok(Name {
        layers,
        offset: offset as u64,
        kind: FrameKind::Native,
    })
}

fn layer(symbol: &str, code: Option<&CodeInfo<'_>>) -> Layer {
    Layer {
        symbol: demangle(symbol).into_owned(),
        file: code.map(|code| code.to_path().into_owned()),
        line: code.and_then(|code| code.line),
    }
}

/// blazesym's reason as ours.
fn missing(reason: Reason) -> Missing {
    match reason {
        Reason::Unmapped => Missing::NotMapped,
        Reason::InvalidFileOffset => Missing::OutsideSegments,
        Reason::MissingComponent => Missing::NoFile,
        Reason::MissingSyms => Missing::NoSymbols,
        Reason::Unsupported => Missing::NotCode,
        Reason::UnknownAddr => Missing::NoSymbolCovers,
        Reason::IgnoredError => Missing::SymbolsUnreadable,
        _ => Missing::Unexplained,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropping_the_parsed_files_changes_no_name() {
        let path = std::env::current_exe().expect("own path");
        let here = dropping_the_parsed_files_changes_no_name as *const () as u64;
        let maps = crate::process::maps::read(std::process::id()).expect("own maps");
        let offset = maps
            .iter()
            .find_map(|mapping| mapping.file_offset(here))
            .expect("mapped");
        let mut names = Names::new();
        let first = names.in_file(&path, &[offset]);
        assert_eq!(first[0].as_ref().map(|name| name.offset), Ok(0));
        names.grown = MAX_GROWTH + 1;
        assert_eq!(names.in_file(&path, &[offset]), first);
        assert_eq!(names.grown, 0);
        assert_eq!(names.in_file(&path, &[offset]), first);
    }

    #[test]
    fn what_is_not_elf_has_a_reason() {
        let found = Names::new().in_file("/etc/passwd".as_ref(), &[0, 8]);
        assert_eq!(
            found,
            [
                Err(Missing::SymbolsUnreadable),
                Err(Missing::SymbolsUnreadable)
            ]
        );
    }
}
