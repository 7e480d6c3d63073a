//! The dynamic loader's hook for debuggers: a function that it calls whenever the set of libraries changes.

use object::read::elf::ElfFile64;
use object::{LittleEndian, Object, ObjectSegment, ObjectSymbol};

/// Where the hook is, and how to find the loader's state from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LoaderHook {
    /// File offset of `_dl_debug_state`, which does nothing but return.
    pub offset: u64,
    /// Distance from it to `_r_debug`, as a wrapping addend.
    pub distance: u64,
}

/// Looks for the hook; `None` if the image is no loader that unmaps libraries (musl's never does).
pub fn loader_hook(image: &[u8]) -> Option<LoaderHook> {
    let elf = ElfFile64::<LittleEndian>::parse(image).ok()?;
    let address = |name: &str| {
        let mut symbols = elf.dynamic_symbols().chain(elf.symbols());
        symbols
            .find(|symbol| symbol.is_definition() && symbol.name() == Ok(name))
            .map(|symbol| symbol.address())
    };
    let (hook, state) = (address("_dl_debug_state")?, address("_r_debug")?);
    let offset = elf.segments().find_map(|segment| {
        let (start, length) = segment.file_range();
        let within = hook.checked_sub(segment.address())?;
        (within < length).then_some(start + within)
    })?;
    Some(LoaderHook {
        offset,
        distance: state.wrapping_sub(hook),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loader of this very process has the hook, on glibc.
    #[test]
    #[cfg(target_env = "gnu")]
    fn the_loader_of_glibc_has_the_hook() {
        let own = std::fs::read("/proc/self/exe").expect("our own program");
        assert!(loader_hook(&own).is_none(), "a program is no loader");
        let image = std::fs::read("/lib64/ld-linux-x86-64.so.2").expect("glibc's loader");
        let hook = loader_hook(&image).expect("the hook");
        // `ret`, or `endbr64; ret`.
        let code = &image[hook.offset as usize..];
        assert!(
            code[0] == 0xc3 || code.starts_with(&[0xf3, 0x0f, 0x1e, 0xfa]),
            "{:x?}",
            &code[..4]
        );
    }

    #[test]
    fn what_is_no_elf_has_none() {
        assert_eq!(loader_hook(b"#!/bin/sh\n"), None);
    }
}
