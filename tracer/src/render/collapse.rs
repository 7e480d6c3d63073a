//! Frames that say nothing about who allocates in one line: those of allocators and containers at one end of a stack,
//! of interpreters in it, and of a runtime and the C library around `main` at the other end.

use std::borrow::Cow;
use std::ops::Range;

use crate::profile::Frame;
use crate::words::names;
use crate::words::serving::{allocation, interpreter, is_c_start, is_rust_runtime};

pub use crate::words::serving::first_meaningful;

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
/// follows that does something else; so are frames of an interpreter's loop beyond that frame, those of the Rust
/// runtime around `main` or a thread's closure, and those of the C library around all of it.
pub fn parts<'a>(frames: &[&'a Frame]) -> Vec<Part<'a>> {
    let mut labels: Vec<Cow<'a, str>> =
        frames.iter().map_while(|frame| allocation(frame)).collect();
    // The frame that wants the memory, whatever it is, has a line of its own.
    let wants = labels.len();
    if labels.len() < SHORTEST || labels.len() == frames.len() {
        labels.clear();
    }
    let start = labels.len();
    let mut parts = Vec::new();
    parts.extend(labels.pop().map(|of| Part::Run { frames: start, of }));
    let (run, of) = runtime(frames, start).unwrap_or((start..start, ""));
    interpreted(frames, start..run.start, wants + 1, &mut parts);
    if !run.is_empty() {
        let of = Cow::Borrowed(of);
        parts.push(Part::Run {
            frames: run.len(),
            of,
        });
    }
    let end = c_start(frames, run.end.max(start));
    interpreted(frames, run.end..end, wants + 1, &mut parts);
    if end < frames.len() {
        parts.push(Part::Run {
            frames: frames.len() - end,
            of: Cow::Borrowed("libc start-up"),
        });
    }
    parts
}

/// Where the frames begin through which the C library reaches `main` or a thread's function; the end if they are no run.
fn c_start(frames: &[&Frame], from: usize) -> usize {
    let starts = frames[from..]
        .iter()
        .rev()
        .take_while(|frame| is_c_start(frame))
        .count();
    match starts >= SHORTEST && starts < frames.len() {
        true => frames.len() - starts,
        false => frames.len(),
    }
}

/// The files whose code without names is an interpreter's, and whose: those that have named frames of it in a stack in
/// which the code is seen that they execute.
fn interpreter_modules(frames: &[&Frame]) -> Vec<(Option<u32>, &'static str)> {
    if frames.iter().all(|frame| frame.kind.is_native()) {
        return Vec::new();
    }
    let named = frames.iter();
    named
        .filter_map(|frame| Some((frame.module, interpreter(frame)?)))
        .collect()
}

/// Adds a range of frames; from one of them on those of interpreters are runs.
fn interpreted(frames: &[&Frame], range: Range<usize>, from: usize, parts: &mut Vec<Part<'_>>) {
    let modules = interpreter_modules(frames);
    let whose = |index: usize| {
        let frame = frames[index];
        let named = interpreter(frame).filter(|_| index >= from);
        named.or_else(|| {
            let is_its = names::symbol(frame).is_none() && frame.module.is_some();
            let of = modules.iter().find(|(module, _)| *module == frame.module);
            of.filter(|_| is_its && index >= from).map(|(_, of)| *of)
        })
    };
    let mut index = range.start;
    while index < range.end {
        let of = whose(index);
        let same = |next: &usize| of.is_some() && whose(*next) == of;
        let length = (index..range.end).take_while(same).count();
        match of {
            Some(of) if length >= SHORTEST => {
                parts.push(Part::Run {
                    frames: length,
                    of: Cow::Borrowed(of),
                });
                index += length;
            }
            _ => {
                parts.push(Part::Frame(index));
                index += 1;
            }
        }
    }
}

/// The frames through which a Rust program reaches `main` or a thread its closure, and whose they are.
fn runtime(frames: &[&Frame], from: usize) -> Option<(Range<usize>, &'static str)> {
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::FrameKind;

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

    /// Frames of an interpreter's file that have no names are its own where code is seen that it executes.
    #[test]
    fn unnamed_frames_of_an_interpreter_are_one_line() {
        let frame = |name: &str, module: Option<u32>| Frame {
            symbol: (!name.is_empty()).then(|| name.into()),
            module,
            ..Frame::default()
        };
        let code = |name: &str| Frame {
            kind: FrameKind::Python,
            ..frame(name, None)
        };
        let stack = [
            frame("", Some(1)),
            code("grow"),
            frame("_PyFunction_Vectorcall", Some(1)),
            frame("", Some(1)),
            frame("", Some(2)),
            code("malloc"),
            frame("", Some(1)),
            frame("", Some(1)),
        ];
        let lengths = |stack: &[Frame]| -> Vec<usize> {
            let frames: Vec<&Frame> = stack.iter().collect();
            let parts = parts(&frames).into_iter();
            parts
                .map(|part| match part {
                    Part::Frame(_) => 1,
                    Part::Run { frames, of } => {
                        assert_eq!(of, "CPython");
                        frames
                    }
                })
                .collect()
        };
        assert_eq!(lengths(&stack), [1, 1, 2, 1, 1, 2]);
        let native = stack.map(|frame| Frame {
            kind: FrameKind::Native,
            ..frame
        });
        assert_eq!(lengths(&native), [1; 8]);
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
        let c = [
            "leak",
            "main",
            "__libc_start_call_main",
            "__libc_start_main_impl",
            "_start",
        ];
        assert_eq!(shown(&c), ["0", "1", "3 of libc start-up"]);
        assert_eq!(
            shown(&["work", "start_thread", "clone3"]),
            ["0", "2 of libc start-up"]
        );
        assert_eq!(shown(&["start_thread", "clone3"]), ["0", "1"]);
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

    /// CPython's loop between two functions is one line; the innermost frame that is no allocator's stays, even where
    /// it is the loop's.
    #[test]
    fn interpreter_loops_are_one_line() {
        let python = [
            "_PyObject_Malloc",
            "PyType_GenericAlloc",
            "_PyEval_EvalFrameDefault",
            "_PyFunction_Vectorcall",
            "_PyEval_EvalFrameDefault",
            "py::main",
            "_PyEval_EvalFrameDefault",
            "main",
        ];
        assert_eq!(
            shown(&python),
            [
                "2 of CPython's allocator",
                "2",
                "2 of CPython",
                "5",
                "6",
                "7"
            ]
        );
        let list = ["list_resize", "_PyEval_EvalFrameDefault", "_PyEval_Vector"];
        assert_eq!(shown(&list), ["0", "2 of CPython"]);
        let one = [
            "malloc",
            "_PyEval_EvalFrameDefault",
            "_PyEval_Vector",
            "main",
        ];
        assert_eq!(shown(&one), ["0", "1", "2", "3"]);
        let server = ["zmalloc", "ztrymalloc_usable", "sdsnewlen", "main"];
        assert_eq!(shown(&server), ["2 of ztrymalloc_usable", "2", "3"]);
    }
}
