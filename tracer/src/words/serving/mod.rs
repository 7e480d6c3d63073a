//! Frames that serve others: those of allocators, containers, interpreters and runtimes. They say nothing about who
//! wants the memory.

mod tables;

use std::borrow::Cow;

use super::names;
use crate::profile::{Frame, FrameKind, Profile};

/// The innermost frame that is not part of an allocator, a standard library or a system call: the one that wants the
/// memory. Where there is none, the innermost frame.
pub fn first_meaningful<'a>(profile: &Profile, frames: &[&'a Frame]) -> Option<&'a Frame> {
    let is_interpreted = frames.iter().any(|frame| !frame.kind.is_native());
    let is_own = |frame: &&&Frame| {
        let works_for_code = is_interpreted && is_interpreters(profile, frame);
        !works_for_code && !serves(profile, frame)
    };
    let caller = frames.iter().find(is_own);
    caller.or(frames.first()).copied()
}

/// Whether a frame is code of an interpreter's own file, which works for the code that it executes.
fn is_interpreters(profile: &Profile, frame: &Frame) -> bool {
    let file = profile
        .module(frame)
        .map(|module| names::module(&module.path));
    let is_python = |name: &str| {
        let version = name
            .strip_prefix("libpython")
            .or_else(|| name.strip_prefix("python"));
        version.is_some_and(|version| version.starts_with('3'))
    };
    let is_one = |name: &str| name == "libjvm.so" || is_python(name);
    frame.kind.is_native() && file.is_some_and(is_one)
}

/// Whether a frame is part of an allocator, a standard library or a system call.
pub fn serves(profile: &Profile, frame: &Frame) -> bool {
    const LIBRARIES: [&str; 5] = ["alloc::", "core::", "std::", "__gnu_cxx::", "hashbrown::"];
    const CALLS: [&str; 7] = [
        "mmap", "mmap64", "mremap", "brk", "sbrk", "shmat", "mprotect",
    ];
    const KERNEL: [&str; 9] = [
        "kmem_cache_alloc",
        "kmalloc",
        "kvmalloc",
        "kzalloc",
        "alloc_pages",
        "folio_alloc",
        "vmalloc",
        "pcpu_alloc",
        "slab_alloc",
    ];
    let Some(name) = names::symbol(frame).filter(|_| frame.kind.is_native()) else {
        return allocation(frame).is_some();
    };
    let of = |names: &[&str], name: &str| names.iter().any(|start| name.starts_with(start));
    let bare = name.trim_start_matches('_');
    let is_kernel = profile
        .module(frame)
        .is_some_and(|module| &*module.path == "[kernel]");
    allocation(frame).is_some()
        || library_file(frame).is_some()
        || hash_table_file(frame).is_some()
        || of(&LIBRARIES, name.trim_start_matches('<'))
        || CALLS.contains(&bare)
        || is_kernel && of(&KERNEL, bare)
}

/// What a frame that only allocates belongs to; `None` for any other.
pub fn allocation(frame: &Frame) -> Option<Cow<'_, str>> {
    let name = names::symbol(frame)?;
    if frame.kind == FrameKind::Java {
        return java_allocation(name).map(Cow::Borrowed);
    }
    let name = Some(name).filter(|_| frame.kind.is_native())?;
    let rust = rust_allocation(name).or_else(|| allocation_file(frame));
    let known = rust.or_else(|| c_allocation(name));
    known.map(Cow::Borrowed).or_else(|| cpp_allocation(name))
}

/// Path below the sources of Rust's libraries, as in `alloc/src/raw_vec/mod.rs`. Line tables name inlined functions
/// without their modules, and then the file tells what the name does not.
fn library_file(frame: &Frame) -> Option<&str> {
    let path = frame.file.as_deref()?;
    let is_rust = path.contains("/rustlib/src/rust/library/") || path.starts_with("/rustc/");
    let (_, below) = path.rsplit_once("/library/").filter(|_| is_rust)?;
    Some(below)
}

/// Path below the sources of Rust's hash tables, which are in a crate of their own.
fn hash_table_file(frame: &Frame) -> Option<&str> {
    let path = frame.file.as_deref()?;
    let (_, below) = path.rsplit_once("/hashbrown-")?;
    below.split_once("/src/").map(|(_, below)| below)
}

fn allocation_file(frame: &Frame) -> Option<&'static str> {
    const FILES: [(&str, &str); 4] = [
        ("alloc/src/alloc.rs", "alloc::alloc"),
        ("alloc/src/raw_vec", "alloc::raw_vec"),
        ("alloc/src/vec/spec_", "alloc::vec"),
        ("std/src/alloc.rs", "std::alloc"),
    ];
    if hash_table_file(frame).is_some_and(|path| path.starts_with("raw")) {
        return Some("hashbrown::raw");
    }
    let path = library_file(frame)?;
    let known = FILES.iter().find(|(file, _)| path.starts_with(file))?;
    Some(known.1)
}
/// A method through which Java gets memory that is not its heap's.
fn java_allocation(name: &str) -> Option<&'static str> {
    let mut starts = tables::JAVA_ALLOCATION.iter();
    starts
        .any(|start| name.starts_with(start))
        .then_some("Java's direct memory")
}

fn rust_allocation(name: &str) -> Option<&str> {
    const HOOKS: [&str; 4] = ["__rust_", "__rdl_", "__rg_", "__rustc::__r"];
    const MODULES: [&str; 4] = [
        "alloc::alloc::",
        "alloc::raw_vec::",
        "std::alloc::",
        "std::sys::alloc::",
    ];
    if HOOKS.iter().any(|hook| name.starts_with(hook)) {
        return Some("alloc::alloc");
    }
    let path = name.trim_start_matches('<');
    let is_box = path.starts_with("alloc::boxed::") && path.contains("new_uninit");
    if is_box || MODULES.iter().any(|module| path.starts_with(module)) {
        let end = path
            .match_indices("::")
            .nth(1)
            .map_or(path.len(), |(end, _)| end);
        return Some(&path[..end]);
    }
    // The specializations behind `vec![x; n]` and `collect`.
    path.contains(" as alloc::vec::spec_")
        .then_some("alloc::vec")
}
/// A function in C that hands calls on to the allocator.
fn c_allocation(name: &str) -> Option<&str> {
    let bare = without_suffix(name);
    if let Some((_, of)) = tables::FAMILIES
        .iter()
        .find(|(start, _)| bare.starts_with(start))
    {
        return Some(of);
    }
    if tables::HOTSPOT_ALLOCATION.contains(&names::without_arguments(name).as_str()) {
        return Some("HotSpot's allocator");
    }
    if tables::PYTHON_ALLOCATION.contains(&bare) {
        return Some("CPython's allocator");
    }
    tables::WRAPPERS.contains(&bare).then_some(bare)
}

fn cpp_allocation(name: &str) -> Option<Cow<'_, str>> {
    if name.starts_with("operator new") {
        let operator = &name[..name.find('(').unwrap_or(name.len())];
        return matches!(operator, "operator new" | "operator new[]").then_some(operator.into());
    }
    let path = names::without_arguments(name);
    let (class, function) = path.rsplit_once("::")?;
    // Names of function templates begin with what they return.
    let class = class.strip_prefix("void ").unwrap_or(class);
    let starts = |of: &[&str]| of.iter().any(|start| function.starts_with(start));
    let allocates = match tables::CPP.iter().find(|(known, _)| *known == class) {
        Some((_, functions)) => starts(functions),
        None => class.starts_with("__gnu_cxx::") && starts(&["allocate"]),
    };
    allocates.then(|| class.to_owned().into())
}

/// Whose a frame is that only runs code of an interpreted or generated kind: the loop of an interpreter, and what leads
/// from one call in it to the next.
pub fn interpreter(frame: &Frame) -> Option<&'static str> {
    let name = names::symbol(frame).filter(|_| frame.kind.is_native())?;
    let bare = without_suffix(name);
    if tables::PYTHON.contains(&bare)
        || tables::PYTHON_STARTS
            .iter()
            .any(|start| bare.starts_with(start))
    {
        return Some("CPython");
    }
    let path = names::without_arguments(name);
    let is_stub = || name.starts_with("StubRoutines (");
    if tables::HOTSPOT.contains(&path.as_str()) || is_stub() {
        return Some("HotSpot");
    }
    let builtin = bare.strip_prefix("Builtins_");
    let is_builtin = |name: &str| {
        tables::V8_BUILTINS
            .iter()
            .any(|start| name.starts_with(start))
    };
    let is_v8 = || tables::V8.contains(&path.as_str());
    (builtin.is_some_and(is_builtin) || name.contains("::") && is_v8()).then_some("V8")
}

/// A name in C without what a compiler or a linker adds to it: `gc_alloc.isra.0`, `malloc@@GLIBC_2.2.5`.
fn without_suffix(name: &str) -> &str {
    let end = name.find(['.', '@']).filter(|end| *end > 0);
    &name[..end.unwrap_or(name.len())]
}

/// Whether a frame is one through which the C library reaches `main` or a thread's function.
pub fn is_c_start(frame: &Frame) -> bool {
    let name = names::symbol(frame).filter(|_| frame.kind.is_native());
    name.is_some_and(|name| tables::C_START.contains(&without_suffix(name)))
}

/// Whether a frame is one through which a Rust program reaches `main`, or a thread its closure.
pub fn is_rust_runtime(frame: &Frame) -> bool {
    const MODULES: [&str; 7] = [
        "std::rt::",
        "std::panic::",
        "std::panicking::",
        "std::sys::",
        "std::thread::",
        "core::panic::",
        "core::ops::function::",
    ];
    const FILES: [&str; 6] = [
        "std/src/rt.rs",
        "std/src/panic",
        "std/src/sys/backtrace.rs",
        "std/src/thread/",
        "core/src/panic/",
        "core/src/ops/function.rs",
    ];
    let Some(name) = names::symbol(frame) else {
        return false;
    };
    let in_file = |path: &str| FILES.iter().any(|file| path.starts_with(file));
    if library_file(frame).is_some_and(in_file) {
        return true;
    }
    let path = name.trim_start_matches('<');
    MODULES.iter().any(|module| path.starts_with(module))
        || name.contains("::call_once") && name.contains("core::ops::function::FnOnce<")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(name: &str) -> Frame {
        Frame {
            symbol: Some(name.into()),
            ..Frame::default()
        }
    }

    #[test]
    fn allocators_and_their_wrappers_are_known() {
        for (name, of) in [
            (
                "ztrymalloc_usable_internal.part.0",
                "ztrymalloc_usable_internal",
            ),
            ("_PyObject_Malloc", "CPython's allocator"),
            ("gc_alloc.constprop.0", "CPython's allocator"),
            ("ngx_palloc_large", "ngx_palloc_large"),
            ("je_arena_malloc_hard", "jemalloc"),
            ("_mi_page_malloc", "mimalloc"),
            ("MemoryContextAllocZero", "MemoryContextAllocZero"),
            ("os::malloc(unsigned long, MEMFLAGS)", "HotSpot's allocator"),
            ("__libc_calloc@@GLIBC_2.2.5", "__libc_calloc"),
            (
                "void std::vector<Session, std::allocator<Session> >::_M_realloc_insert<Session>(Session&&)",
                "std::vector",
            ),
        ] {
            assert_eq!(allocation(&frame(name)).as_deref(), Some(of), "{name}");
        }
        for name in [
            "my_malloc_of_sessions",
            "ngx_http_create_request",
            "jemalloc_users",
            "strdup",
            "std::vector<int>::push_back(int&&)",
            "PyList_New",
            "mixer",
            ".hidden",
        ] {
            assert_eq!(allocation(&frame(name)), None, "{name}");
        }
    }

    #[test]
    fn javas_direct_memory_is_known() {
        let java = |name: &str| Frame {
            kind: FrameKind::Java,
            ..frame(name)
        };
        let of = "Java's direct memory";
        for (name, of) in [
            ("java.nio.ByteBuffer.allocateDirect", Some(of)),
            ("jdk.internal.misc.Unsafe.allocateMemory", Some(of)),
            ("app.Cache.malloc", None),
            ("malloc", None),
        ] {
            assert_eq!(allocation(&java(name)).as_deref(), of, "{name}");
        }
    }

    #[test]
    fn interpreters_are_known() {
        for (name, of) in [
            ("_PyEval_EvalFrameDefault", Some("CPython")),
            ("cfunction_vectorcall_FASTCALL", Some("CPython")),
            ("Builtins_InterpreterEntryTrampoline", Some("V8")),
            (
                "v8::internal::(anonymous namespace)::Invoke(v8::internal::Isolate*, v8::internal::InvokeParams const&)",
                Some("V8"),
            ),
            ("StubRoutines (1)", Some("HotSpot")),
            (
                "JavaCalls::call_helper(JavaValue*, methodHandle const&, JavaCallArguments*, JavaThread*)",
                Some("HotSpot"),
            ),
            ("Builtins_ArrayPrototypePush", None),
            ("py::handler:/srv/app.py", None),
            ("PyList_Append", None),
        ] {
            assert_eq!(interpreter(&frame(name)), of, "{name}");
        }
    }
}
