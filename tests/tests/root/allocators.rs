//! Allocators are found where they are: preloaded, linked in, prefixed, loaded later, deleted, in another mount
//! namespace.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};
use memlens_tests::cases::{LEAK, LEAK_EACH, LEAK_NEW, find};
use memlens_tests::code::until_probed;
use memlens_tests::{HeapFigures as _, Live, Memlens, Program, Traced, Victim, need, trace};
use tracer_common::loss::Loss;

const JEMALLOC: &str = "libjemalloc.so.2";
const TCMALLOC: &str = "libtcmalloc_minimal.so.4";
const MIMALLOC: &str = "libmimalloc.so.2";

/// Traces a victim with an allocator preloaded.
fn preloaded(library: &str, victim: &str, args: &[&str]) -> Result<Traced> {
    let mut command = Program::new(victim).command(args)?;
    command.env("LD_PRELOAD", need::library(library)?);
    trace(command, &[]).with_context(|| format!("{victim} {args:?} with {library}"))
}

/// Each function, operator new, throws, threads and mixed calls: as exact as with the C library's own.
fn check_preloaded(library: &str) -> Result<()> {
    for function in LEAK_EACH {
        let traced = preloaded(library, "leak_each", &[function])?;
        traced
            .report
            .check_exact(traced.pid, LEAK)
            .with_context(|| format!("{function} with {library}"))?;
    }
    for form in LEAK_NEW {
        let traced = preloaded(library, "leak_new", &[form])?;
        traced
            .report
            .check_exact(traced.pid, LEAK)
            .with_context(|| format!("{form} with {library}"))?;
        let stack = traced.report.first_stack()?;
        ensure!(
            stack.has(&format!("leak_{form}")),
            "{form} with {library}: {:?}",
            stack.names()
        );
    }
    for (victim, args) in [
        ("new_delete", &[][..]),
        ("cross_thread_free", &[]),
        ("reuse_storm", &[]),
        ("throw_across", &[]),
    ] {
        let case = find(victim, args)?;
        let traced = preloaded(library, victim, args)?;
        let expected = case.process.context("a case with a known process")?;
        traced
            .report
            .check_exact(traced.pid, expected)
            .with_context(|| format!("{victim} with {library}"))?;
        ensure!(
            traced.status.code() == Some(case.code),
            "{victim} with {library}: {}",
            traced.status
        );
    }
    let traced = preloaded(library, "mixed_exact", &["200000"])?;
    let (bytes, blocks) = traced.said.split_once(' ').context("two numbers")?;
    traced
        .report
        .check_exact(traced.pid, Live::new(bytes.parse()?, blocks.parse()?))
        .with_context(|| format!("mixed_exact with {library}"))
}

#[test]
fn jemalloc_preloaded() -> Result<()> {
    check_preloaded(JEMALLOC)
}

#[test]
fn tcmalloc_preloaded() -> Result<()> {
    check_preloaded(TCMALLOC)
}

#[test]
fn mimalloc_preloaded() -> Result<()> {
    check_preloaded(MIMALLOC)
}

/// The allocator's own operator new throws: the exception must find its handler although the function is traced.
#[test]
fn bad_alloc_is_caught_under_other_allocators() -> Result<()> {
    for library in [JEMALLOC, TCMALLOC] {
        let traced = preloaded(library, "bad_alloc", &[])?;
        ensure!(
            traced.status.code() == Some(42) && traced.said == "2000",
            "{library}: {}, {}",
            traced.status,
            traced.said
        );
        let live = traced.report.process(traced.pid)?.live();
        assert_eq!(live, Live::new(5_000, 1), "{library}");
        traced.report.check_balance()?;
    }
    Ok(())
}

#[test]
fn jemalloc_extended_functions() -> Result<()> {
    let program = Program::new("je_x").link("-l:libjemalloc.so.2");
    let traced = trace(program.command(&[])?, &[])?;
    traced.report.check_exact(traced.pid, Live::new(6_000, 3))?;
    traced.report.check_function("use_je", Live::new(6_000, 3))
}

#[test]
fn mimalloc_own_functions() -> Result<()> {
    let program = Program::new("mi_direct").link("-l:libmimalloc.so.2");
    let traced = trace(program.command(&[])?, &[])?;
    traced.report.check_exact(traced.pid, Live::new(6_000, 5))?;
    assert_eq!(
        traced.report.losses.of(Loss::UnknownFrees),
        1,
        "mi_strdup's block"
    );
    let named = |note: &String| note.contains("mi_strdup");
    anyhow::ensure!(
        traced.report.notes.iter().any(named),
        "mi_strdup is not named"
    );
    traced.report.check_function("use_mi", Live::new(6_000, 5))
}

/// A program linked with an allocator whose functions have this prefix.
fn prefixed(prefix: &str) -> Result<Program> {
    let define = format!("-DPREFIX={prefix}");
    let library = Program::library("prefixed_library")
        .flag(&define)
        .named(&format!("lib{prefix}malloc.so"))
        .build()?;
    Ok(Program::new("prefixed").flag(define).link(library))
}

/// Prefixes that allocators are known to be built with.
#[test]
fn known_prefixes_are_found() -> Result<()> {
    for prefix in ["je_", "_rjem_", "tc_"] {
        let traced = trace(prefixed(prefix)?.command(&[])?, &[])?;
        traced
            .report
            .check_exact(traced.pid, Live::new(6_000, 3))
            .with_context(|| prefix.to_string())?;
        traced
            .report
            .check_function("use_prefixed", Live::new(6_000, 3))?;
    }
    Ok(())
}

#[test]
fn another_prefix_is_given() -> Result<()> {
    let program = prefixed("myown_")?;
    let traced = trace(program.command(&[])?, &["--symbols-prefix", "myown_"])?;
    traced.report.check_exact(traced.pid, Live::new(6_000, 3))?;
    let object = memlens_tests::Program::library("prefixed_library")
        .flag("-DPREFIX=myown_")
        .named("libmyown_malloc.so")
        .build()?
        .display()
        .to_string();
    let more = ["--symbols-prefix", "myown_", "--object", &object];
    let traced = trace(program.command(&[])?, &more)?;
    traced.report.check_exact(traced.pid, Live::new(6_000, 3))
}

#[test]
fn musl_dynamic_and_static() -> Result<()> {
    need::program("musl-gcc")?;
    for program in [
        Program::new("leak_each").musl(),
        Program::new("leak_each").musl().statically(),
    ] {
        for function in LEAK_EACH {
            // musl has no pvalloc.
            if function == "pvalloc" {
                continue;
            }
            let traced = trace(program.command(&[function])?, &[])?;
            traced
                .report
                .check_exact(traced.pid, LEAK)
                .with_context(|| format!("{function}, {program:?}"))?;
            traced
                .report
                .check_function(&format!("leak_{function}"), LEAK)
                .or_else(|error| {
                    // strdup stands between, without a frame pointer.
                    if function.starts_with("str") {
                        Ok(())
                    } else {
                        Err(error)
                    }
                })?;
        }
    }
    Ok(())
}

#[test]
fn musl_under_mixed_calls() -> Result<()> {
    let program = Program::new("mixed_exact").musl().statically();
    let traced = trace(program.command(&["100000"])?, &[])?;
    let (bytes, blocks) = traced.said.split_once(' ').context("two numbers")?;
    traced
        .report
        .check_exact(traced.pid, Live::new(bytes.parse()?, blocks.parse()?))
}

#[test]
fn glibc_static_with_symbols() -> Result<()> {
    let program = Program::new("leak_each").statically();
    for function in LEAK_EACH {
        let traced = trace(program.command(&[function])?, &[])?;
        traced
            .report
            .check_exact(traced.pid, LEAK)
            .with_context(|| function.to_string())?;
    }
    Ok(())
}

/// Opened after the attach, called through dlsym.
#[test]
fn an_allocator_loaded_later() -> Result<()> {
    let library = need::library(MIMALLOC)?.display().to_string();
    let args = [library.as_str(), "mi_malloc", "mi_free"];
    let mut victim = Victim::start(Program::new("dlopen_allocator").command(&args)?)?;
    let memlens = Memlens::leaks(victim.pid(), &[])?;
    victim.go_to("loaded")?;
    // New libraries are looked for while tracing.
    until_probed(victim.pid(), "libmimalloc")?;
    victim.go_to("done")?;
    let report = memlens.stop()?;
    report.check_function("use", Live::new(42_000, 60))?;
    report.check_balance()
}

/// Copies the C library and its loader to a folder; a command that runs a program with them.
fn with_own_libc(folder: &Path, program: &Program, args: &[&str]) -> Result<Command> {
    let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
    std::fs::copy(loader, folder.join("ld.so")).context("cannot copy the loader")?;
    std::fs::copy(need::library("libc.so.6")?, folder.join("libc.so.6"))?;
    let mut command = Command::new(folder.join("ld.so"));
    command
        .arg("--library-path")
        .arg(folder)
        .arg(program.build()?)
        .args(args);
    Ok(command)
}

/// The C library's file was deleted while the process runs, as after an upgrade.
#[test]
fn a_deleted_libc() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = Program::new("leak_each");
    let mut victim = Victim::start(with_own_libc(folder.path(), &program, &["malloc"])?)?;
    std::fs::remove_file(folder.path().join("libc.so.6"))?;
    let memlens = Memlens::leaks(victim.pid(), &[])?;
    victim.run()?;
    let report = memlens.stop()?;
    report.check_exact(victim.pid(), LEAK)?;
    report.check_function("leak_malloc", LEAK)
}

/// Another file stands at its path now: probing by path would find the wrong one.
#[test]
fn a_replaced_libc() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let program = Program::new("leak_each");
    let mut victim = Victim::start(with_own_libc(folder.path(), &program, &["calloc"])?)?;
    let path = folder.path().join("libc.so.6");
    std::fs::remove_file(&path)?;
    std::fs::copy(need::library("libm.so.6")?, &path)?;
    let memlens = Memlens::leaks(victim.pid(), &[])?;
    victim.run()?;
    memlens.stop()?.check_exact(victim.pid(), LEAK)
}

/// The program itself was deleted: its symbols are still there for the taking.
#[test]
fn a_deleted_program() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("leak_each");
    std::fs::copy(Program::new("leak_each").statically().build()?, &path)?;
    let mut command = Command::new(&path);
    command.arg("malloc");
    let mut victim = Victim::start(command)?;
    std::fs::remove_file(&path)?;
    let memlens = Memlens::leaks(victim.pid(), &[])?;
    victim.run()?;
    let report = memlens.stop()?;
    report.check_exact(victim.pid(), LEAK)?;
    report.check_function("leak_malloc", LEAK)
}

/// The C library lies on a file system that only the target sees, as in a container.
#[test]
fn a_libc_in_another_mount_namespace() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let inside = folder.path().join("inside");
    let copies = folder.path().join("copies");
    std::fs::create_dir(&inside)?;
    std::fs::create_dir(&copies)?;
    with_own_libc(&copies, &Program::new("leak_each"), &[])?;
    let victim = Program::new("leak_each").build()?;
    let script = r#"mount -t tmpfs none "$1" && cp "$2"/* "$3" "$1" && cd / && exec "$1/ld.so" --library-path "$1" "$1/leak_each" malloc"#;
    let mut command = Command::new(need::program("unshare")?);
    command
        .args([
            "--mount",
            "--propagation",
            "private",
            "sh",
            "-c",
            script,
            "sh",
        ])
        .args([&inside, &copies, &victim]);
    let mut victim = Victim::start(command)?;
    ensure!(
        !inside.join("libc.so.6").exists(),
        "the file can be seen from here"
    );
    let memlens = Memlens::leaks(victim.pid(), &[])?;
    victim.run()?;
    let report = memlens.stop()?;
    report.check_exact(victim.pid(), LEAK)?;
    report.check_function("leak_malloc", LEAK)
}
