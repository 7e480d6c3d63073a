//! Frames that every allocation passes through, and that say nothing about who made it: the inside of allocators and
//! containers at one end of a stack, a runtime's way to `main` at the other.

use crate::symbolize::Frame;

use super::names;

/// A part of a stack as it is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Part {
    /// The frame of this index.
    Frame(usize),
    /// So many frames in one line.
    Run {
        /// How many.
        frames: usize,
        /// Whose they are: "alloc::raw_vec".
        of: String,
    },
}

/// Runs shorter than this are shown as they are: one line would take the place of one line.
const SHORTEST: usize = 2;

/// Divides a stack, innermost frame first. The innermost frames that only allocate are one run, as long as a frame
/// follows that does something else; a Rust runtime's frames around `main` or a thread's closure are one as well.
pub fn parts(frames: &[Frame]) -> Vec<Part> {
    let labels: Vec<String> = frames.iter().map_while(allocation).collect();
    let inner = match labels.last() {
        Some(of) if labels.len() >= SHORTEST && labels.len() < frames.len() => {
            Some((labels.len(), of.clone()))
        }
        _ => None,
    };
    let start = inner.as_ref().map_or(0, |(frames, _)| *frames);
    let outer = runtime(frames, start);
    let mut parts = Vec::new();
    parts.extend(inner.map(|(frames, of)| Part::Run { frames, of }));
    let (run, resume) = match &outer {
        Some((run, of)) => {
            parts.extend((start..run.start).map(Part::Frame));
            (Some((run.len(), (*of).to_owned())), run.end)
        }
        None => (None, start),
    };
    parts.extend(run.map(|(frames, of)| Part::Run { frames, of }));
    parts.extend((resume..frames.len()).map(Part::Frame));
    parts
}

/// What a frame that only allocates belongs to; `None` for any other.
fn allocation(frame: &Frame) -> Option<String> {
    let name = names::symbol(frame)?;
    rust_allocation(name)
        .or_else(|| allocation_file(frame))
        .or_else(|| cpp_allocation(name))
}

/// Path below the sources of Rust's libraries, as in `alloc/src/raw_vec/mod.rs`. Line tables name inlined functions
/// without their modules, and then the file tells what the name does not.
fn library_file(frame: &Frame) -> Option<&str> {
    let path = frame.file.as_deref()?.to_str()?;
    let is_rust = path.contains("/rustlib/src/rust/library/") || path.starts_with("/rustc/");
    let (_, below) = path.rsplit_once("/library/").filter(|_| is_rust)?;
    Some(below)
}

fn allocation_file(frame: &Frame) -> Option<String> {
    const FILES: [(&str, &str); 4] = [
        ("alloc/src/alloc.rs", "alloc::alloc"),
        ("alloc/src/raw_vec", "alloc::raw_vec"),
        ("alloc/src/vec/spec_", "alloc::vec"),
        ("std/src/alloc.rs", "std::alloc"),
    ];
    let path = library_file(frame)?;
    let known = FILES.iter().find(|(file, _)| path.starts_with(file))?;
    Some(known.1.to_owned())
}

fn rust_allocation(name: &str) -> Option<String> {
    const HOOKS: [&str; 4] = ["__rust_", "__rdl_", "__rg_", "__rustc::__r"];
    const MODULES: [&str; 4] = [
        "alloc::alloc::",
        "alloc::raw_vec::",
        "std::alloc::",
        "std::sys::alloc::",
    ];
    if HOOKS.iter().any(|hook| name.starts_with(hook)) {
        return Some("alloc::alloc".to_owned());
    }
    let path = name.trim_start_matches('<');
    let is_box = path.starts_with("alloc::boxed::") && path.contains("new_uninit");
    if is_box || MODULES.iter().any(|module| path.starts_with(module)) {
        return Some(path.split("::").take(2).collect::<Vec<_>>().join("::"));
    }
    // The specialisations behind `vec![x; n]` and `collect`.
    path.contains(" as alloc::vec::spec_")
        .then(|| "alloc::vec".to_owned())
}

fn cpp_allocation(name: &str) -> Option<String> {
    if name == "operator new" || name == "operator new[]" || name.starts_with("operator new") {
        let end = name.find('(').unwrap_or(name.len());
        let operator = &name[..end];
        return matches!(operator, "operator new" | "operator new[]").then(|| operator.to_owned());
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
    allocates.then(|| class.to_owned())
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

/// The frames by which a Rust program gets to `main` or a thread to its closure, and whose they are.
fn runtime(frames: &[Frame], from: usize) -> Option<(std::ops::Range<usize>, &'static str)> {
    let is_runtime = |index: &usize| frames.get(*index).is_some_and(is_rust_runtime);
    // Closures are called everywhere; only beside the frame that every thread has are they the runtime's.
    let anchor = (from..frames.len()).find(|index| {
        let name = frames.get(*index).and_then(names::symbol);
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
        .filter_map(names::symbol)
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
            symbol: (!name.is_empty()).then(|| (*name).to_owned()),
            ..Frame::default()
        };
        names.iter().map(frame).collect()
    }

    /// Parts as text: frames by their index, runs as "N of LABEL".
    fn shown(names: &[&str]) -> Vec<String> {
        let parts = parts(&stack(names));
        let text = |part: Part| match part {
            Part::Frame(index) => index.to_string(),
            Part::Run { frames, of } => format!("{frames} of {of}"),
        };
        parts.into_iter().map(text).collect()
    }

    /// Line tables name inlined functions without their modules: the file tells.
    #[test]
    fn names_without_modules_are_known_by_their_files() {
        let frame = |name: &str, file: &str| Frame {
            symbol: Some(name.to_owned()),
            file: Some(
                format!("/home/me/.rustup/toolchains/stable/lib/rustlib/src/rust/library/{file}")
                    .into(),
            ),
            ..Frame::default()
        };
        let own = |name: &str| Frame {
            symbol: Some(name.to_owned()),
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
        let runs: Vec<usize> = parts(&stack)
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
