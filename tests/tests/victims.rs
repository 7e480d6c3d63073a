//! The victims themselves: untraced, each holds what its comment says, as counted from inside. No root.

use std::path::Path;
use std::process::{Command, ExitStatus};

use anyhow::{Context, Result, ensure};
use memlens_tests::cases::{CASES, LEAK, LEAK_EACH, LEAK_NEW};
use memlens_tests::{Live, Program, Victim, need};

/// Runs a victim with the ledger preloaded; what it held when it was done, what it said, how it ended.
fn audit(mut command: Command) -> Result<(Live, String, ExitStatus)> {
    let ledger = Program::library("ledger_library").build()?;
    let folder = tempfile::tempdir().context("no temporary folder")?;
    let file = folder.path().join("ledger");
    command.env("LD_PRELOAD", &ledger).env("LEDGER", &file);
    let mut victim = Victim::start(command)?;
    let said = victim.run()?;
    let live = read_ledger(&file)?;
    Ok((live, said, victim.exit()?))
}

fn read_ledger(file: &Path) -> Result<Live> {
    let text = std::fs::read_to_string(file).context("the victim wrote no ledger")?;
    let mut numbers = text.split_whitespace().map(str::parse);
    match (numbers.next(), numbers.next(), numbers.next()) {
        (Some(Ok(bytes)), Some(Ok(blocks)), None) => Ok(Live::new(bytes, blocks)),
        _ => anyhow::bail!("the ledger holds {text:?}"),
    }
}

#[test]
fn each_function_leaks_exactly_30000_bytes() -> Result<()> {
    let forms = LEAK_EACH.iter().map(|name| ("leak_each", *name));
    for (victim, name) in forms.chain(LEAK_NEW.iter().map(|name| ("leak_new", *name))) {
        let (live, _, status) = audit(Program::new(victim).command(&[name])?)?;
        ensure!(live == LEAK, "{victim} {name} holds {live:?}");
        ensure!(status.success(), "{victim} {name}: {status}");
    }
    let (live, _, _) = audit(Program::new("leak_each").command(&["calloc", "50"])?)?;
    assert_eq!(live, Live::new(1_500_000, 50));
    Ok(())
}

#[test]
fn one_step_victims_hold_what_they_say() -> Result<()> {
    for case in CASES {
        let Some(expected) = case.process else {
            continue;
        };
        // The Rust victim does not know the ledger's start and stop.
        if case.victim == "leak_rust" {
            continue;
        }
        let (live, _, status) = audit(case.program().command(case.args)?)?;
        ensure!(
            live == expected,
            "{} {:?} holds {live:?}, its case says {expected:?}",
            case.victim,
            case.args
        );
        ensure!(
            status.code() == Some(case.code),
            "{}: {status}",
            case.victim
        );
    }
    Ok(())
}

/// The victims whose library's own blocks come on top: they run, and end as they should.
#[test]
fn other_victims_run_to_their_end() -> Result<()> {
    let first = Program::library("dlopen_library")
        .flag("-DNAME=leak_first")
        .flag("-DSIZE=1100")
        .build()?;
    let second = Program::library("dlopen_library")
        .flag("-DNAME=leak_second")
        .flag("-DSIZE=130")
        .build()?;
    let [first, second] = [first, second].map(|path| path.display().to_string());
    let mimalloc = need::library("libmimalloc.so.2")?.display().to_string();
    let commands = [
        Program::new("plugin").command(&["early", &first, "leak_first"])?,
        Program::new("plugin").command(&["late", &second, "leak_second"])?,
        Program::new("signal_stack").command(&[])?,
        Program::new("no_tables")
            .flag("-mno-red-zone")
            .command(&[])?,
        Program::new("leak_rust").command(&[])?,
        Program::new("threads_later").command(&[])?,
        Program::new("dlopen_leak").command(&[&first, &second])?,
        Program::new("dlopen_allocator").command(&[&mimalloc, "mi_malloc", "mi_free"])?,
        Program::new("fill_live").command(&["1000", "64"])?,
        Program::new("age_steps").command(&[])?,
        Program::new("longjmp_out").command(&["inside"])?,
        Program::new("mi_direct")
            .link("-l:libmimalloc.so.2")
            .command(&[])?,
        Program::new("je_x")
            .link("-l:libjemalloc.so.2")
            .command(&[])?,
        Program::new("leak_each")
            .musl()
            .statically()
            .command(&["malloc"])?,
        Program::new("leak_each").musl().command(&["realloc"])?,
        Program::new("leak_each")
            .statically()
            .command(&["calloc"])?,
    ];
    for command in commands {
        let what = format!("{command:?}");
        let mut victim = Victim::start(command)?;
        victim.run()?;
        let status = victim.exit()?;
        ensure!(status.success(), "{what}: {status}");
    }
    Ok(())
}

/// The victims that work until they are told to stop.
#[test]
fn mixed_work_ends_when_told() -> Result<()> {
    for program in [
        Program::new("mix_cpp").flag("-O2"),
        Program::new("mix_rust"),
    ] {
        let mut victim = Victim::start(program.command(&[])?)?;
        victim.go()?;
        victim.go_to("done")?;
        let status = victim.exit()?;
        ensure!(status.success(), "{program:?}: {status}");
    }
    Ok(())
}

/// 8 threads agree with the ledger about what they keep.
#[test]
fn mixed_exact_prints_what_it_holds() -> Result<()> {
    let (live, said, _) = audit(Program::new("mixed_exact").command(&["200000"])?)?;
    assert_eq!(format!("{} {}", live.bytes, live.blocks), said);
    assert!(
        live.blocks > 500,
        "too few blocks to prove anything: {said}"
    );
    Ok(())
}

/// Exceptions and failing `operator new` behave the same with each allocator preloaded.
#[test]
fn allocators_throw_when_untraced() -> Result<()> {
    for library in [
        "libjemalloc.so.2",
        "libtcmalloc_minimal.so.4",
        "libmimalloc.so.2",
    ] {
        for (name, code) in [("bad_alloc", 42), ("throw_across", 42), ("new_delete", 0)] {
            // mimalloc 2.0, being C, aborts where operator new should throw.
            if (library, name) == ("libmimalloc.so.2", "bad_alloc") {
                continue;
            }
            let mut command = Program::new(name).command(&[])?;
            command.env("LD_PRELOAD", need::library(library)?);
            let mut victim = Victim::start(command)?;
            victim.run()?;
            let status = victim.exit()?;
            ensure!(status.code() == Some(code), "{name}, {library}: {status}");
        }
    }
    Ok(())
}

#[test]
fn endings_are_as_written() -> Result<()> {
    for (how, expected) in [
        ("exit", 5),
        ("thread", 5),
        ("abort", 128 + 6),
        ("kill", 128 + 9),
    ] {
        let mut victim = Victim::start(Program::new("exit_with_live").command(&[how])?)?;
        victim.go()?;
        let status = victim.wait()?;
        let code = std::os::unix::process::ExitStatusExt::signal(&status)
            .map_or(status.code(), |signal| Some(128 + signal));
        ensure!(code == Some(expected), "{how}: {status}");
    }
    let status = Program::new("args_exit")
        .command(&["two words", "", "--json"])?
        .status()?;
    assert_eq!(status.code(), Some(7));
    assert!(Program::new("from_start").command(&[])?.status()?.success());
    Ok(())
}

/// Each step leaks; the second program image says "ready" again.
#[test]
fn steps_and_exec() -> Result<()> {
    let mut victim = Victim::start(Program::new("growing").command(&[])?)?;
    for _ in 0..3 {
        victim.go_to("step")?;
    }
    assert!(victim.exit()?.success());
    let mut victim = Victim::start(Program::new("exec_self").command(&[])?)?;
    let pid = victim.go_to("ready")?;
    assert_eq!(pid, victim.pid().to_string());
    victim.go_to("done")?;
    assert!(victim.exit()?.success());
    Ok(())
}

#[test]
fn alloc_loop_measures() -> Result<()> {
    for args in [&["-s", "0.2"][..], &["-n", "50000", "-t", "2"]] {
        let mut victim = Victim::start(Program::new("alloc_loop").command(args)?)?;
        for _ in 0..2 {
            let rate: f64 = victim.go_to("rate")?.parse().context("no number")?;
            assert!(rate > 1000.0, "{rate} pairs/s");
        }
        victim.exit()?;
    }
    Ok(())
}
