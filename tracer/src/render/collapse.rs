//! Frames that say nothing about who allocates: those of allocators and containers at one end of a stack, and of a
//! runtime around `main` at the other.

use std::borrow::Cow;

use crate::profile::{Frame, Profile};
use crate::words::names;

/// A part of a stack as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part<'a> {
    /// The frame of this index.
    Frame(usize),
    /// So many frames in one line.
    Run {
        /// How many.
        frames: usize,
        /// Whose they are: "alloc::raw_vec".
        of: Cow<'a, str>,
    },
}

/// Runs shorter than this are shown as they are: one line would take the place of one line.
const SHORTEST: usize = 2;

/// Divides the frames of a stack, innermost first. The innermost frames that only allocate are one run, if a frame
/// follows that does something else; so are the frames of the Rust runtime around `main` or a thread's closure.
pub fn parts<'a>(frames: &[&'a Frame]) -> Vec<Part<'a>> {
    let mut labels: Vec<Cow<'a, str>> =
        frames.iter().map_while(|frame| allocation(frame)).collect();
    if labels.len() < SHORTEST || labels.len() == frames.len() {
        labels.clear();
    }
    let start = labels.len();
    let mut parts = Vec::new();
    parts.extend(labels.pop().map(|of| Part::Run { frames: start, of }));
    let (run, of) = runtime(frames, start).unwrap_or((start..start, ""));
    parts.extend((start..run.start).map(Part::Frame));
    if !run.is_empty() {
        let of = Cow::Borrowed(of);
        parts.push(Part::Run {
            frames: run.len(),
            of,
        });
    }
    parts.extend((run.end..frames.len()).map(Part::Frame));
    parts
}

/// The innermost frame that is not part of an allocator, a standard library or a system call: the one that wants the
/// memory. Where there is none, the innermost frame.
pub fn first_meaningful<'a>(profile: &Profile, frames: &[&'a Frame]) -> Option<&'a Frame> {
    let caller = frames.iter().find(|frame| !serves(profile, frame));
    caller.or(frames.first()).copied()
}

/// Whether a frame is part of an allocator, a standard library or a system call.
fn serves(profile: &Profile, frame: &Frame) -> bool {
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
    let Some(name) = names::symbol(frame) else {
        return false;
    };
    let of = |names: &[&str], name: &str| names.iter().any(|start| name.starts_with(start));
    let bare = name.trim_start_matches('_');
    let is_kernel = profile
        .module(frame)
        .is_some_and(|module| &*module.path == "[kernel]");
    allocation(frame).is_some()
        || library_file(frame).is_some()
        || of(&LIBRARIES, name.trim_start_matches('<'))
        || CALLS.contains(&bare)
        || is_kernel && of(&KERNEL, bare)
}

/// What a frame that only allocates belongs to; `None` for any other.
fn allocation(frame: &Frame) -> Option<Cow<'_, str>> {
    let name = names::symbol(frame)?;
    let rust = rust_allocation(name).or_else(|| allocation_file(frame));
    rust.map(Cow::Borrowed).or_else(|| cpp_allocation(name))
}

/// Path below the sources of Rust's libraries, as in `alloc/src/raw_vec/mod.rs`. Line tables name inlined functions
/// without their modules, and then the file tells what the name does not.
fn library_file(frame: &Frame) -> Option<&str> {
    let path = frame.file.as_deref()?;
    let is_rust = path.contains("/rustlib/src/rust/library/") || path.starts_with("/rustc/");
    let (_, below) = path.rsplit_once("/library/").filter(|_| is_rust)?;
    Some(below)
}

fn allocation_file(frame: &Frame) -> Option<&'static str> {
    const FILES: [(&str, &str); 4] = [
        ("alloc/src/alloc.rs", "alloc::alloc"),
        ("alloc/src/raw_vec", "alloc::raw_vec"),
        ("alloc/src/vec/spec_", "alloc::vec"),
        ("std/src/alloc.rs", "std::alloc"),
    ];
    let path = library_file(frame)?;
    let known = FILES.iter().find(|(file, _)| path.starts_with(file))?;
    Some(known.1)
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

fn cpp_allocation(name: &str) -> Option<Cow<'_, str>> {
    if name.starts_with("operator new") {
        let operator = &name[..name.find('(').unwrap_or(name.len())];
        return matches!(operator, "operator new" | "operator new[]").then_some(operator.into());
    }
    let path = without_arguments(name);
    let (class, function) = path.rsplit_once("::")?;
    let allocates = match class {
        "std::allocator"
        | "std::__new_allocator"
        | "std::allocator_traits"
        | "std::__1::allocator"
        | "std::__1::allocator_traits" => function.starts_with("allocate"),
        "std::_Vector_base" | "std::_Deque_base" => function.starts_with("_M_allocate"),
        "std::_Rb_tree" | "std::__cxx11::_List_base" => function == "_M_get_node",
        "std::__detail::_Hashtable_alloc" => function.starts_with("_M_allocate"),
        "std::__cxx11::basic_string" => function == "_M_create",
        _ => class.starts_with("__gnu_cxx::") && function.starts_with("allocate"),
    };
    allocates.then(|| class.to_owned().into())
}

/// A C++ name without template arguments and parameters: `std::_Vector_base::_M_allocate`.
fn without_arguments(name: &str) -> String {
    let mut depth = 0_usize;
    let mut path = String::new();
    for letter in name.chars() {
        match letter {
            '<' | '(' => depth += 1,
            '>' | ')' => depth = depth.saturating_sub(1),
            _ if depth == 0 => path.push(letter),
            _ => {}
        }
    }
    path
}

/// The frames through which a Rust program reaches `main` or a thread its closure, and whose they are.
fn runtime(frames: &[&Frame], from: usize) -> Option<(std::ops::Range<usize>, &'static str)> {
    let is_runtime = |index: &usize| is_rust_runtime(frames[*index]);
    // Closures are called everywhere; only beside the frame that every thread has are they the runtime's.
    let anchor = (from..frames.len()).find(|index| {
        let name = names::symbol(frames[*index]);
        name.is_some_and(|name| name.contains("__rust_begin_short_backtrace"))
    })?;
    let start = (from..anchor)
        .rev()
        .take_while(is_runtime)
        .last()
        .unwrap_or(anchor);
    let end = (anchor..frames.len())
        .take_while(is_runtime)
        .last()
        .map_or(anchor, |last| last + 1);
    let starts_main = frames[start..end]
        .iter()
        .filter_map(|frame| names::symbol(frame))
        .any(|name| name.contains("std::rt::lang_start"));
    let of = if starts_main {
        "std::rt"
    } else {
        "std::thread"
    };
    (start > from && end - start >= SHORTEST).then_some((start..end, of))
}

fn is_rust_runtime(frame: &Frame) -> bool {
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

    fn stack(names: &[&str]) -> Vec<Frame> {
        let frame = |name: &&str| Frame {
            symbol: (!name.is_empty()).then(|| (*name).into()),
            ..Frame::default()
        };
        names.iter().map(frame).collect()
    }

    /// Parts as text: frames by their index, runs as "N of LABEL".
    fn shown(names: &[&str]) -> Vec<String> {
        let stack = stack(names);
        let parts = parts(&stack.iter().collect::<Vec<_>>());
        let text = |part: Part<'_>| match part {
            Part::Frame(index) => index.to_string(),
            Part::Run { frames, of } => format!("{frames} of {of}"),
        };
        parts.into_iter().map(text).collect()
    }

    /// Line tables name inlined functions without their modules: the file tells.
    #[test]
    fn names_without_modules_are_known_by_their_files() {
        let frame = |name: &str, file: &str| Frame {
            symbol: Some(name.into()),
            file: Some(
                format!("/home/me/.rustup/toolchains/stable/lib/rustlib/src/rust/library/{file}")
                    .into(),
            ),
            ..Frame::default()
        };
        let own = |name: &str| Frame {
            symbol: Some(name.into()),
            ..Frame::default()
        };
        let stack = [
            frame("alloc_zeroed", "alloc/src/alloc.rs"),
            frame("try_allocate_in<Global>", "alloc/src/raw_vec/mod.rs"),
            own("forget_a_buffer"),
            frame("from_iter", "alloc/src/vec/mod.rs"),
            own("main"),
            frame("call_once<fn(), ()>", "core/src/ops/function.rs"),
            frame(
                "__rust_begin_short_backtrace<fn(), ()>",
                "std/src/sys/backtrace.rs",
            ),
            frame("{closure#0}", "std/src/rt.rs"),
            own("_start"),
        ];
        let runs: Vec<usize> = parts(&stack.iter().collect::<Vec<_>>())
            .into_iter()
            .filter_map(|part| match part {
                Part::Run { frames, .. } => Some(frames),
                Part::Frame(_) => None,
            })
            .collect();
        assert_eq!(runs, [2, 3]);
    }

    #[test]
    fn rust_allocation_is_one_line() {
        let vec = [
            "__rustc::__rust_alloc",
            "alloc::alloc::alloc_zeroed",
            "<alloc::alloc::Global as core::alloc::Allocator>::allocate_zeroed",
            "alloc::raw_vec::RawVecInner<A>::try_allocate_in",
            "program::forget_a_buffer",
            "alloc::raw_vec::RawVec<T,A>::grow_one",
            "main",
        ];
        assert_eq!(shown(&vec), ["4 of alloc::raw_vec", "4", "5", "6"]);
        let boxed = [
            "alloc::alloc::exchange_malloc",
            "alloc::boxed::Box<T>::new_uninit_in",
            "alloc::boxed::Box<T>::new",
        ];
        assert_eq!(shown(&boxed), ["2 of alloc::boxed", "2"]);
        let elements = [
            "alloc::raw_vec::RawVec<T,A>::with_capacity_zeroed_in",
            "<u8 as alloc::vec::spec_from_elem::SpecFromElem>::from_elem",
            "alloc::vec::from_elem",
        ];
        assert_eq!(shown(&elements), ["2 of alloc::vec", "2"]);
    }

    #[test]
    fn cpp_allocation_is_one_line() {
        let vector = [
            "operator new(unsigned long)",
            "std::__new_allocator<std::pair<int, std::function<void ()> > >::allocate(unsigned long, void const*)",
            "std::allocator_traits<std::allocator<S> >::allocate(std::allocator<S>&, unsigned long)",
            "std::_Vector_base<S, std::allocator<S> >::_M_allocate(unsigned long)",
            "std::vector<S, std::allocator<S> >::push_back(S&&)",
            "grow(S*, int)",
        ];
        assert_eq!(shown(&vector), ["4 of std::_Vector_base", "4", "5"]);
        let old = [
            "operator new[](unsigned long)",
            "__gnu_cxx::new_allocator<char>::allocate(unsigned long, void const*)",
            "load()",
        ];
        assert_eq!(shown(&old), ["2 of __gnu_cxx::new_allocator", "2"]);
    }

    #[test]
    fn what_tells_something_stays() {
        assert!(shown(&[]).is_empty());
        // One line for one line, or nothing but the allocator: there is nothing to gain.
        assert_eq!(shown(&["operator new(unsigned long)", "main"]), ["0", "1"]);
        let cut = ["alloc::alloc::alloc", "alloc::raw_vec::finish_grow"];
        assert_eq!(shown(&cut), ["0", "1"]);
        // Names that only look like it, and frames without a name.
        let own = [
            "Pool::operator new(unsigned long)",
            "my::allocator<int>::allocate()",
            "",
            "main",
        ];
        assert_eq!(shown(&own), ["0", "1", "2", "3"]);
        assert_eq!(
            shown(&["operator new_thing()", "operator newer", "main"]),
            ["0", "1", "2"]
        );
    }

    #[test]
    fn the_way_to_main_is_one_line() {
        let start = [
            "program::leak",
            "program::main",
            "core::ops::function::FnOnce::call_once",
            "std::sys::backtrace::__rust_begin_short_backtrace",
            "std::rt::lang_start::{{closure}}",
            "<&dyn core::ops::function::Fn<(), Output = i32> as core::ops::function::FnOnce<()>>::call_once",
            "std::panicking::catch_unwind::do_call::<&dyn core::ops::function::Fn<(), Output = i32>, i32>",
            "std::rt::lang_start_internal",
            "std::rt::lang_start",
            "main",
            "_start",
        ];
        assert_eq!(shown(&start), ["0", "1", "7 of std::rt", "9", "10"]);
        let thread = [
            "program::work::{{closure}}",
            "std::sys::backtrace::__rust_begin_short_backtrace",
            "std::thread::Builder::spawn_unchecked_::{{closure}}",
            "<alloc::boxed::Box<F,A> as core::ops::function::FnOnce<Args>>::call_once",
            "std::sys::pal::unix::thread::Thread::new::thread_start",
            "start_thread",
        ];
        assert_eq!(shown(&thread), ["0", "4 of std::thread", "5"]);
    }

    /// Closures and threads in the middle of a program are the program's.
    #[test]
    fn closures_of_the_program_stay() {
        let closures = [
            "program::leak",
            "core::ops::function::FnOnce::call_once",
            "std::thread::local::LocalKey<T>::with",
            "program::main",
            "main",
        ];
        assert_eq!(shown(&closures), ["0", "1", "2", "3", "4"]);
    }
}
