//! Which allocator an object holds, told by its symbols.

use std::collections::BTreeSet;

use super::{
    functions::{Lookup, lookup},
    plan::PlannedFunction,
    symbols::ObjectSymbols,
};

/// Which allocator an object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AllocatorKind {
    /// The GNU C library's.
    Glibc,
    /// musl's.
    Musl,
    /// jemalloc, whatever its prefix.
    Jemalloc,
    /// gperftools' or Google's tcmalloc.
    Tcmalloc,
    /// mimalloc.
    Mimalloc,
    /// None that is known, or none at all.
    Unknown,
}

/// Whether a function never calls another one that is probed: what every call comes down to in these allocators, in all
/// their versions so far. Others may call one another, as glibc's `memalign` calls its `malloc`.
pub fn is_leaf(kind: AllocatorKind, function: &PlannedFunction) -> bool {
    use AllocatorKind::{Glibc, Jemalloc, Musl, Tcmalloc};
    const MALLOC: [&str; 4] = ["malloc", "je_malloc", "_rjem_malloc", "tc_malloc"];
    let mut names = std::iter::once(&function.name).chain(&function.aliases);
    matches!(kind, Glibc | Jemalloc | Musl | Tcmalloc)
        && names.any(|name| MALLOC.contains(&name.as_str()))
}

/// The prefixes under which the object defines `malloc` and something that releases: `free` or, in a static program
/// that never calls it, `realloc`. One alone is no allocator: many programs have a local function called `free`.
pub(super) fn families(object: &ObjectSymbols, prefix: Option<&str>) -> BTreeSet<String> {
    let under = |wanted: &str| -> BTreeSet<String> {
        object
            .functions
            .iter()
            .filter_map(|function| match lookup(&function.name, prefix) {
                Some(Lookup::Known { prefix, base, .. }) if base == wanted => Some(prefix),
                _ => None,
            })
            .collect()
    };
    let mut releases = under("free");
    let is_program = || {
        let names = ["main", "_start", "_start_c", "__libc_start_main"];
        let functions = object.functions.iter();
        functions
            .map(|function| function.name.as_str())
            .any(|name| names.contains(&name))
    };
    if object.interpreter.is_none() && is_program() {
        releases.append(&mut under("realloc"));
    }
    &under("malloc") & &releases
}

/// glibc's dynamic loader: up to 2.30 it exports a `malloc` that only serves until the C library is
/// there.
pub(super) fn is_loader(object: &ObjectSymbols) -> bool {
    object
        .soname
        .as_deref()
        .is_some_and(|name| name.starts_with("ld-linux"))
}

/// Tells the allocator by what only it defines.
pub(super) fn allocator(object: &ObjectSymbols, families: &BTreeSet<String>) -> AllocatorKind {
    let has = |names: &[&str]| {
        object
            .functions
            .iter()
            .any(|function| names.contains(&function.name.as_str()))
    };
    let has_family = |prefix: &str| families.contains(prefix);
    let musl = object
        .soname
        .as_deref()
        .is_some_and(|name| name.contains("musl"));
    if has_family("mi_") || has(&["mi_version"]) {
        AllocatorKind::Mimalloc
    } else if has_family("je_")
        || has_family("_rjem_")
        || has(&["mallctl", "je_mallctl", "_rjem_mallctl"])
    {
        AllocatorKind::Jemalloc
    } else if has(&[
        "tc_version",
        "MallocExtension_GetStats",
        "TCMallocInternalMalloc",
    ]) {
        AllocatorKind::Tcmalloc
    } else if musl || has(&["__libc_malloc_impl", "__malloc_donate", "__dls3"]) {
        AllocatorKind::Musl
    } else if has(&["gnu_get_libc_version", "_int_malloc", "__libc_mallopt"]) {
        AllocatorKind::Glibc
    } else {
        AllocatorKind::Unknown
    }
}
