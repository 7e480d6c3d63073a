//! Symbolizes this program, and small C programs that say where they are and then wait.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use super::super::victims::{CPLUSPLUS, LIBRARY, PROGRAM, SHORT_NAMES, Victim, build, folder, run};
use super::*;

fn symbol(frame: &Frame) -> &str {
    frame
        .symbol
        .as_deref()
        .unwrap_or_else(|| panic!("no symbol: {frame:?}"))
}

fn line_of(frame: &Frame) -> (String, Option<u32>) {
    let name = frame
        .file
        .as_deref()
        .and_then(Path::file_name)
        .unwrap_or_default();
    (name.to_string_lossy().into_owned(), frame.line)
}

/// Checks the frames of `outer`, with `inner` inlined into it.
fn assert_outer(frames: &[Frame], address: u64) {
    assert_eq!(frames.len(), 2, "{frames:#?}");
    assert_eq!((symbol(&frames[0]), symbol(&frames[1])), ("inner", "outer"));
    assert_eq!((frames[0].inlined, frames[1].inlined), (true, false));
    assert_eq!(line_of(&frames[0]), ("victim.c".into(), Some(10)));
    assert_eq!(line_of(&frames[1]), ("victim.c".into(), Some(15)));
    assert!(
        frames
            .iter()
            .all(|frame| frame.address == address && frame.missing.is_none())
    );
    assert!(frames[0].offset.is_none() && frames[1].offset.is_some());
}

/// Value of a symbol, as `nm` prints it.
fn nm(program: &Path, symbol: &str) -> u64 {
    let listed = run(Command::new("nm").arg(program));
    let line = listed
        .lines()
        .find(|l| l.ends_with(&format!(" {symbol}")))
        .expect("in the list");
    u64::from_str_radix(&line[..16], 16).expect("hex")
}

#[inline(always)]
fn rust_inner() -> u64 {
    let address: u64;
    // SAFETY: reads the instruction pointer and nothing else.
    unsafe { std::arch::asm!("lea {}, [rip]", out(reg) address, options(nomem, nostack)) };
    address
}

#[inline(never)]
fn rust_outer() -> u64 {
    std::hint::black_box(rust_inner())
}

#[test]
fn names_its_own_functions() {
    let owner = Owner {
        tgid: std::process::id(),
        image: 1,
    };
    let address = rust_outer();
    let frames = Symbolizer::new().symbolize(owner, &[address], false);
    // Debug information that is of lines alone has no paths.
    let names = frames.iter().map(symbol);
    let names: Vec<&str> = names
        .map(|name| name.trim_start_matches("memlens::symbolize::symbolizer::tests::"))
        .collect();
    assert_eq!(names, ["rust_inner", "rust_outer"]);
    assert!(frames[0].inlined && !frames[1].inlined);
    assert_eq!(line_of(&frames[0]).0, "tests.rs");
    assert_eq!(
        frames[1].offset,
        Some(address - rust_outer as *const () as u64)
    );
    assert_eq!(frames[1].module, std::env::current_exe().ok());
}

#[test]
fn expands_inlined_functions_with_their_lines() {
    let folder = folder();
    let program = build(folder.path(), "victim", PROGRAM, &["-g"]);
    let victim = Victim::start(&program, &["plain"]);
    let mut symbolizer = Symbolizer::new();
    let frames = symbolizer.symbolize(victim.owner(), &[victim.address], true);
    assert_outer(&frames, victim.address);
    // The offset counts to the captured address, and both agree with nm.
    let (offset, svma) = (
        frames[1].offset.expect("offset"),
        frames[1].module_offset.expect("svma"),
    );
    assert_eq!(svma, nm(&program, "outer") + offset);
    assert_eq!(frames[1].module.as_deref(), Some(&*program));
    assert_eq!(symbolizer.cache.len(), 1);
    assert_eq!(
        symbolizer.symbolize(victim.owner(), &[victim.address], true),
        frames
    );
}

#[test]
fn without_symbols_there_are_module_offset_and_build_id() {
    let folder = folder();
    let program = build(folder.path(), "victim", PROGRAM, &["-g"]);
    let stripped = folder.path().join("stripped");
    run(Command::new("strip").arg("-o").arg(&stripped).arg(&program));
    let victim = Victim::start(&stripped, &["hidden"]);
    let frames = Symbolizer::new().symbolize(victim.owner(), &[victim.address], true);
    let [frame] = &frames[..] else {
        panic!("{frames:?}")
    };
    assert_eq!(
        (frame.symbol.as_deref(), frame.address),
        (None, victim.address)
    );
    assert!(
        matches!(
            frame.missing,
            Some(Missing::NoSymbols | Missing::NoSymbolCovers)
        ),
        "{frame:?}"
    );
    assert_eq!(frame.module.as_deref(), Some(&*stripped));
    let past = frame
        .module_offset
        .expect("offset")
        .checked_sub(nm(&program, "hidden"));
    assert!(past.is_some_and(|past| past > 0 && past < 32), "{frame:?}");
    let notes = run(Command::new("readelf").arg("-n").arg(&stripped));
    assert!(notes.contains(&format!(
        "Build ID: {}",
        frame.build_id.as_deref().expect("build id")
    )));
}

#[test]
fn separate_debug_information_is_found_by_its_link() {
    let folder = folder();
    let program = build(folder.path(), "victim", PROGRAM, &["-g"]);
    let debug = folder.path().join("victim.debug");
    run(Command::new("objcopy")
        .arg("--only-keep-debug")
        .arg(&program)
        .arg(&debug));
    let link = format!("--add-gnu-debuglink={}", debug.display());
    run(Command::new("objcopy")
        .args(["--strip-all", &link])
        .arg(&program));
    let victim = Victim::start(&program, &["plain"]);
    let frames = Symbolizer::new().symbolize(victim.owner(), &[victim.address], true);
    assert_outer(&frames, victim.address);
}

#[test]
fn debug_information_of_another_build_is_not_used() {
    let folder = folder();
    let program = build(folder.path(), "victim", PROGRAM, &["-g"]);
    let debug = folder.path().join("victim.debug");
    run(Command::new("objcopy")
        .arg("--only-keep-debug")
        .arg(&program)
        .arg(&debug));
    let link = format!("--add-gnu-debuglink={}", debug.display());
    run(Command::new("objcopy")
        .args(["--strip-debug", &link])
        .arg(&program));
    std::fs::copy(
        build(folder.path(), "other", LIBRARY, &["-g", "-shared", "-fPIC"]),
        &debug,
    )
    .expect("copy");
    let victim = Victim::start(&program, &["plain"]);
    let frames = Symbolizer::new().symbolize(victim.owner(), &[victim.address], true);
    assert_eq!(
        (frames.len(), symbol(&frames[0]), frames[0].line),
        (1, "outer", None)
    );
}

#[test]
fn names_of_cplusplus_are_demangled() {
    let folder = folder();
    let victim = Victim::start(&build(folder.path(), "victim", CPLUSPLUS, &[]), &[]);
    let frames = Symbolizer::new().symbolize(victim.owner(), &[victim.address], false);
    assert_eq!(symbol(&frames[0]), "space::Thing::where(int)");
}

#[test]
fn names_of_c_are_not_demangled() {
    let folder = folder();
    for flags in [&["-g"][..], &[]] {
        let program = build(folder.path(), "short", SHORT_NAMES, flags);
        let mut victim = Victim::start(&program, &[]);
        let addresses = [victim.address, victim.read_address(), victim.read_address()];
        let frames = Symbolizer::new().symbolize(victim.owner(), &addresses, false);
        let names: Vec<&str> = frames.iter().map(symbol).collect();
        assert_eq!(names, ["re", "f", "St"], "built with {flags:?}");
    }
}

#[test]
fn a_dead_process_with_a_deleted_file_is_still_named() {
    let folder = folder();
    let program = build(folder.path(), "victim", PROGRAM, &["-g"]);
    let mut victim = Victim::start(&program, &["plain"]);
    let mut symbolizer = Symbolizer::new();
    symbolizer.snapshot(victim.owner()).expect("it lives");
    std::fs::remove_file(&program).expect("delete the program");
    victim.end();
    std::thread::sleep(Duration::from_millis(30));
    let frames = symbolizer.symbolize(victim.owner(), &[victim.address], true);
    assert_outer(&frames, victim.address);
    symbolizer.forget(victim.owner());
    assert!(symbolizer.cache.is_empty() && symbolizer.images.is_empty());
    let frames = symbolizer.symbolize(victim.owner(), &[victim.address], true);
    assert_eq!(frames[0].missing, Some(Missing::ProcessExited));
}

#[test]
fn a_file_deleted_before_it_was_seen_is_named_by_root_and_else_says_why_not() {
    let folder = folder();
    let program = build(folder.path(), "victim", PROGRAM, &["-g"]);
    let victim = Victim::start(&program, &["plain"]);
    std::fs::remove_file(&program).expect("delete the program");
    let frames = Symbolizer::new().symbolize(victim.owner(), &[victim.address], true);
    // Only /proc/PID/map_files leads to it, which takes a capability.
    if nix::unistd::geteuid().is_root() {
        assert_outer(&frames, victim.address);
    } else {
        assert_eq!(frames[0].missing, Some(Missing::FileDenied));
    }
    assert_eq!(frames[0].module.as_deref(), Some(&*program));
}

#[test]
fn compiled_code_is_named_by_the_perf_map_also_afterwards() {
    let folder = folder();
    let program = build(folder.path(), "victim", PROGRAM, &[]);
    let mut victim = Victim::start(&program, &["jit"]);
    let mut symbolizer = Symbolizer::new();
    symbolizer.snapshot(victim.owner()).expect("it lives");
    let beyond = victim.address + 200;
    let frames = symbolizer.symbolize(victim.owner(), &[victim.address, beyond], false);
    std::fs::remove_file(format!("/tmp/perf-{}.map", victim.child.id())).expect("clean up");
    assert_eq!(
        (symbol(&frames[0]), frames[0].offset),
        ("js:compiled one.js:3", Some(5))
    );
    assert_eq!(frames[1].missing, Some(Missing::NotInPerfMap));
    // What has no name yet is asked for again; what has one is kept.
    assert_eq!(symbolizer.cache.len(), 1);
    victim.end();
    let later = victim.address + 3;
    let frames = symbolizer.symbolize(victim.owner(), &[later], false);
    assert_eq!(
        (symbol(&frames[0]), frames[0].offset),
        ("js:compiled one.js:3", Some(8))
    );
}

#[test]
fn a_library_that_was_unloaded_is_still_named() {
    let folder = folder();
    let program = build(folder.path(), "victim", PROGRAM, &[]);
    let library = build(folder.path(), "library", LIBRARY, &["-shared", "-fPIC"]);
    let mut victim = Victim::start(&program, &["dlopen", library.to_str().expect("utf-8")]);
    let mut symbolizer = Symbolizer::new();
    symbolizer.snapshot(victim.owner()).expect("it lives");
    victim.go_on();
    victim.read_address();
    std::thread::sleep(Duration::from_millis(30));
    let nowhere = 0x10;
    let frames = symbolizer.symbolize(victim.owner(), &[nowhere, victim.address], false);
    assert_eq!(frames[0].missing, Some(Missing::NothingMapped));
    assert_eq!(symbol(&frames[1]), "in_library");
    assert_eq!(frames[1].module.as_deref(), Some(&*library));
}

#[test]
fn a_library_loaded_later_is_found() {
    let folder = folder();
    let program = build(folder.path(), "victim", PROGRAM, &[]);
    let library = build(folder.path(), "library", LIBRARY, &["-shared", "-fPIC"]);
    let mut victim = Victim::start(&program, &["later", library.to_str().expect("utf-8")]);
    let mut symbolizer = Symbolizer::new();
    symbolizer.snapshot(victim.owner()).expect("it lives");
    victim.go_on();
    let address = victim.read_address();
    std::thread::sleep(Duration::from_millis(30));
    let frames = symbolizer.symbolize(victim.owner(), &[address], false);
    assert_eq!(symbol(&frames[0]), "in_library");
}

#[test]
fn an_exec_does_not_mix_two_programs() {
    let folder = folder();
    let program = build(folder.path(), "victim", PROGRAM, &["-g"]);
    let mut victim = Victim::start(&program, &["exec"]);
    let first = victim.owner();
    let mut symbolizer = Symbolizer::new();
    symbolizer.snapshot(first).expect("it lives");
    victim.go_on();
    let second_address = victim.read_address();
    std::thread::sleep(Duration::from_millis(30));
    // An address that the old image does not know makes it look again; it must notice that it is another program.
    let frames = symbolizer.symbolize(first, &[0x10, victim.address], true);
    assert_outer(&frames[1..], victim.address);
    assert!(symbolizer.images[&first].is_sealed());
    let second = Owner { image: 2, ..first };
    let frames = symbolizer.symbolize(second, &[second_address], true);
    assert_eq!(symbol(&frames[0]), "hidden");
}

#[test]
fn the_vdso_has_names() {
    let folder = folder();
    let victim = Victim::start(&build(folder.path(), "victim", PROGRAM, &[]), &["plain"]);
    let maps = maps::read(victim.child.id()).expect("it lives");
    let vdso = maps
        .iter()
        .find(|mapping| is_vdso(mapping))
        .expect("every process has one");
    let addresses: Vec<u64> = (vdso.start..vdso.end).step_by(16).collect();
    let frames = Symbolizer::new().symbolize(victim.owner(), &addresses, false);
    let clock = frames.iter().find(|f| {
        f.symbol
            .as_deref()
            .is_some_and(|s| s.contains("clock_gettime"))
    });
    let clock = clock.expect("clock_gettime is in the vDSO");
    assert_eq!(clock.module.as_deref(), Some(Path::new("[vdso]")));
    assert_eq!(clock.module_offset, Some(clock.address - vdso.start));
}

/// A library that was opened and closed again before anybody looked at the process is known by its mapping event alone.
#[test]
fn code_that_has_gone_is_not_forgotten_by_a_look() {
    let owner = Owner {
        tgid: std::process::id(),
        image: 1,
    };
    let own = maps::read(owner.tgid).expect("it lives");
    let code = own
        .iter()
        .find(|mapping| mapping.execute && mapping.file.inode != 0)
        .expect("this program has code");
    // Where nothing is mapped.
    let start = 0x10_0000;
    let gone = Mapping {
        start,
        end: start + (code.end - code.start),
        ..code.clone()
    };
    let mut symbolizer = Symbolizer::new();
    symbolizer.observe(owner, gone);
    symbolizer.snapshot(owner).expect("it lives");
    let frames = symbolizer.symbolize(owner, &[start + 0x40, code.start + 0x40], false);
    let modules: Vec<_> = frames.iter().map(|frame| frame.module.clone()).collect();
    assert!(
        modules[0].is_some() && modules.iter().all(|module| *module == modules[0]),
        "{frames:#?}"
    );
}
