//! Stacks through code that comes late, has no tables, or is not called but interrupted.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use memlens_tests::row::name;
use memlens_tests::{HeapFigures as _, Live, Memlens, Program, Report, Row, Victim, need, trace};

use super::{DEPTH, reaches_the_start};

/// A stack is whole: these functions directly above each other, out to the start, without a mark.
pub(super) fn check_whole(stack: Row<'_>, names: &[&str]) -> Result<()> {
    let first = physical(stack);
    ensure!(stack.cut().is_none(), "cut: {stack:?}");
    ensure!(first.starts_with(names), "{first:?}, not {names:?}");
    ensure!(reaches_the_start(stack), "not out to the start: {first:?}");
    Ok(())
}

/// A stack is whole, or it is marked and right as far as it goes.
pub(super) fn check_whole_or_marked(stack: Row<'_>, names: &[&str]) -> Result<()> {
    if stack.cut().is_none() {
        return check_whole(stack, names);
    }
    let first = physical(stack);
    let common = first.len().min(names.len());
    ensure!(
        first[..common] == names[..common],
        "{first:?}, not {names:?}"
    );
    Ok(())
}

/// Names without those of inlined functions.
fn physical(stack: Row<'_>) -> Vec<&str> {
    stack.physical().map(name).collect()
}

pub(super) fn only(report: &Report) -> Result<Row<'_>> {
    let rows = report.heap();
    ensure!(rows.len() == 1, "{} stacks, not one", rows.len());
    Ok(rows[0])
}

pub(super) fn library(name: &str, size: u32) -> Program {
    Program::library("dlopen_library")
        .flag(format!("-DNAME={name}"))
        .flag(format!("-DSIZE={size}"))
}

pub(super) fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path in UTF-8")
}

/// Every C library's allocator, linked in every way; musl has no unwind tables at all.
#[test]
fn every_way_of_linking() -> Result<()> {
    let names = ["leak_malloc", "leak_inner", "leak_outer", "main"];
    let victim = || Program::new("leak_each");
    for (way, program) in [
        ("dynamic", victim()),
        ("-O2", victim().flag("-O2")),
        ("not position independent", victim().flag("-no-pie")),
        ("static", victim().statically()),
        ("static-pie", victim().flag("-static-pie")),
        (
            "with frame pointers",
            victim().flag("-fno-omit-frame-pointer"),
        ),
    ] {
        let traced = trace(program.command(&["malloc"])?, &[])?;
        check_whole(only(&traced.report)?, &names).context(way)?;
        traced
            .report
            .check_exact(traced.pid, Live::new(30_000, 1))?;
    }
    for (way, program) in [
        ("musl", victim().musl()),
        ("musl, static", victim().musl().statically()),
    ] {
        let traced = trace(program.command(&["malloc"])?, &[])?;
        let stack = only(&traced.report)?;
        // Up to main() there are tables.
        ensure!(stack.has_run(&names), "{way}: {:?}", physical(stack));
        ensure!(
            stack.cut().is_some() || reaches_the_start(stack),
            "{way}: {stack:?}"
        );
        traced
            .report
            .check_exact(traced.pid, Live::new(30_000, 1))?;
    }
    Ok(())
}

/// Without symbols the stack is whole all the same: files and offsets.
#[test]
fn a_stripped_program() -> Result<()> {
    let program = Program::new("leak_each").flag("-s");
    let traced = trace(program.command(&["malloc"])?, &[])?;
    let stack = only(&traced.report)?;
    ensure!(stack.cut().is_none(), "cut: {stack:?}");
    ensure!(reaches_the_start(stack), "{:?}", physical(stack));
    let own = stack
        .frames()
        .filter(|frame| stack.path(frame).ends_with("leak_each"))
        .collect::<Vec<_>>();
    ensure!(own.len() == 5, "{stack:?}");
    ensure!(
        own.iter()
            .all(|frame| frame.symbol.is_none() && frame.module_offset.is_some()),
        "{own:?}"
    );
    Ok(())
}

/// By frame pointers alone, where there are some.
#[test]
fn frame_pointers_on_request() -> Result<()> {
    let names = ["leak_malloc", "leak_inner", "leak_outer", "main"];
    let program = Program::new("leak_each").flag("-fno-omit-frame-pointer");
    let report = trace(program.command(&["malloc"])?, &["--unwind", "fp"])?.report;
    ensure!(only(&report)?.has_run(&names), "{:?}", report.stacks);
    let program = Program::new("leak_each");
    let report = trace(program.command(&["malloc"])?, &["--unwind", "fp"])?.report;
    ensure!(!only(&report)?.has_run(&names), "{:?}", report.stacks);
    for how in ["auto", "dwarf"] {
        let report = trace(program.command(&["malloc"])?, &["--unwind", how])?.report;
        check_whole(only(&report)?, &names)?;
    }
    Ok(())
}

/// Of a stack that is too deep the innermost frames stay.
#[test]
fn deep_recursion_keeps_the_innermost_frames() -> Result<()> {
    let trace_depth = |depth: &str| trace(Program::new("deep_recursion").command(&[depth])?, &[]);
    for depth in ["400", "5000", "127"] {
        let report = trace_depth(depth)?.report;
        let stack = only(&report)?;
        ensure!(
            stack.cut().is_some(),
            "{depth} frames are not marked as cut"
        );
        let names = physical(stack);
        ensure!(names.len() == DEPTH, "{} frames", names.len());
        ensure!(names[0] == "bottom", "{names:?}");
        ensure!(names[1..].iter().all(|name| *name == "dive"), "{names:?}");
    }
    // bottom, dive 122 times, main and three of the start: exactly what is kept.
    let report = trace_depth("121")?.report;
    let stack = only(&report)?;
    let names = physical(stack);
    ensure!(names.len() == DEPTH, "{} frames", names.len());
    check_whole(stack, &["bottom", "dive"])
}

/// From the handler's own stack over the signal frame to the code that was interrupted.
#[test]
fn signal_handler_on_a_stack_of_its_own() -> Result<()> {
    let victim = || Program::new("signal_stack");
    for program in [victim(), victim().flag("-O2"), victim().statically()] {
        let traced = trace(program.command(&[])?, &[])?;
        traced.report.check_exact(traced.pid, Live::new(700, 1))?;
        let stack = only(&traced.report)?;
        let names = physical(stack);
        ensure!(
            names.len() > 6
                && names[..2] == ["handler_leak", "on_signal"]
                && names[3..6] == ["spin", "work", "main"],
            "{names:?}"
        );
        ensure!(stack.cut().is_none(), "cut: {stack:?}");
        ensure!(reaches_the_start(stack), "{names:?}");
        ensure!(traced.status.success(), "the program was hurt");
    }
    Ok(())
}

/// The stack of a context ends where makecontext has let it begin, whole and without a frame that is none.
#[test]
fn a_stack_of_makecontext() -> Result<()> {
    let victim = || Program::new("contexts");
    for program in [victim(), victim().flag("-O2"), victim().statically()] {
        let report = trace(program.command(&[])?, &[])?.report;
        for leak in ["leak_before", "leak_after"] {
            let [stack] = report.stacks_with(leak)[..] else {
                anyhow::bail!("{leak}: not one stack: {:?}", report.heap());
            };
            let names = physical(stack);
            ensure!(stack.cut().is_none(), "{stack:?}");
            ensure!(names.starts_with(&[leak, "in_context"]), "{names:?}");
            ensure!(names.len() == 3, "{stack:?}");
            let last = stack.frames().last().and_then(|frame| frame.module_offset);
            ensure!(last.is_some(), "{stack:?}");
        }
    }
    Ok(())
}

/// Constructors of libraries are called by the loader's first code, which no table describes: their stacks are whole.
#[test]
fn a_constructor_of_a_library() -> Result<()> {
    need::root()?;
    let library = Program::library("constructor").build()?;
    let program = Program::new("leak_each")
        .flag("-Wl,--no-as-needed")
        .flag(library);
    let mut command = Command::new(memlens_tests::paths::memlens()?);
    command
        .args(["leaks", "--json", "--top", "1000000", "--"])
        .arg(program.build()?)
        .arg("malloc")
        .env("VICTIM_FREE_RUN", "1");
    let report = Memlens::start_command(command)?.wait()?.last_report()?;
    let [stack] = report.stacks_with("leak_in_constructor")[..] else {
        anyhow::bail!("not one stack: {:?}", report.heap());
    };
    ensure!(stack.cut().is_none(), "{stack:?}");
    let last = stack.frames().last().and_then(|frame| report.module(frame));
    ensure!(
        last.is_some_and(|module| module.path.contains("/ld-linux")),
        "{stack:?}"
    );
    Ok(())
}

/// Files with an unwind table in the kernel.
fn tables(report: &Report) -> u64 {
    report.sections.unwind.map_or(0, |tables| tables.files)
}

/// A library that is opened while it is traced: its first stacks may be cut, and are marked then; soon they are whole.
#[test]
fn a_library_opened_later() -> Result<()> {
    let names = ["leak_plugin", "call_plugin", "main"];
    let path = library("leak_plugin", 50).build()?;
    let command = Program::new("plugin").command(&["late", text(&path)?, "leak_plugin"])?;
    let mut victim = Victim::start(command)?;
    let mut memlens = Memlens::leaks(victim.pid(), &["0.2"])?;
    let before = tables(&memlens.fresh_report()?);
    victim.go_to("step")?;
    memlens.report_with("a table for the library", |report| tables(report) > before)?;
    victim.go_to("done")?;
    let report = memlens.stop()?;
    report.check_complete()?;
    report.check_balance()?;
    let (mut whole, mut all) = (0, 0);
    for stack in report.stacks_with("leak_plugin") {
        check_whole_or_marked(stack, &names)?;
        all += stack.live().blocks;
        if stack.cut().is_none() {
            whole += stack.live().blocks;
        }
    }
    ensure!(all == 20, "{all} blocks of 20 are named");
    ensure!(whole >= 10, "only {whole} blocks have whole stacks");
    Ok(())
}

/// The program that a process becomes has tables of its own.
#[test]
fn a_program_that_is_executed() -> Result<()> {
    let mut victim = Victim::start(Program::new("exec_self").command(&[])?)?;
    let mut memlens = Memlens::leaks(victim.pid(), &["0.2"])?;
    victim.go_to("ready")?;
    // Its tables are those of the program before it, and only have to be found at their new addresses.
    memlens.fresh_report()?;
    victim.go_to("done")?;
    let report = memlens.stop()?;
    let stacks = report.stacks_with("leak_after");
    ensure!(stacks.len() == 1, "{} stacks of leak_after", stacks.len());
    check_whole(stacks[0], &["leak_after", "main"])
}

/// A shell that becomes another program: at its very start a stack may be cut, and is marked then.
#[test]
fn a_command_by_way_of_a_shell() -> Result<()> {
    let program = Program::new("leak_later").build()?;
    let line = format!("true; exec {}", text(&program)?);
    let arguments = [
        "leaks", "3600", "--json", "--top", "0", "--", "sh", "-c", &line,
    ];
    need::root()?;
    let report = Memlens::run(arguments)?.last_report()?;
    report.check_function("leak_now", Live::new(300, 1))?;
    report.check_function("leak_later", Live::new(900, 1))?;
    for stack in report.stacks_with("leak_now") {
        check_whole_or_marked(stack, &["leak_now", "main"])?;
    }
    for stack in report.stacks_with("leak_later") {
        check_whole(stack, &["leak_later", "main"])?;
    }
    Ok(())
}

/// Exceptions thrown and caught, 2000 times, with every allocation's stack walked; the program sees no difference.
#[test]
fn exceptions_through_traced_frames() -> Result<()> {
    for flags in [&["-O1"][..], &["-O2"], &["-O2", "-static"]] {
        let mut program = Program::new("throw_across");
        for flag in flags {
            program = program.flag(*flag);
        }
        let traced = trace(program.command(&[])?, &["--all-stacks"])?;
        ensure!(traced.said == "2000", "{flags:?}: {}", traced.said);
        ensure!(traced.status.code() == Some(42), "{:?}", traced.status);
        traced.report.check_exact(traced.pid, Live::new(4_096, 1))?;
        ensure!(
            traced.report.totals().allocated().blocks > 10_000,
            "{:?}",
            traced.report.totals()
        );
        for stack in traced.report.heap() {
            ensure!(
                stack.cut().is_none() && reaches_the_start(stack),
                "{flags:?}: {stack:?}"
            );
        }
        ensure!(
            !traced
                .report
                .stacks_with("__cxa_allocate_exception")
                .is_empty(),
            "no exception was seen"
        );
    }
    Ok(())
}

/// What stands where the frame pointer would be leads nowhere, and the stack says so.
#[test]
fn code_without_tables_and_frame_pointers() -> Result<()> {
    let program = Program::new("no_tables")
        .flag("-fno-asynchronous-unwind-tables")
        .flag("-fno-unwind-tables")
        .flag("-mno-red-zone");
    let traced = trace(program.command(&[])?, &[])?;
    traced.report.check_exact(traced.pid, Live::new(4_000, 4))?;
    for stack in traced.report.heap() {
        let names = physical(stack);
        ensure!(names[0] == "leak", "{names:?}");
        if stack.cut().is_none() {
            ensure!(
                names.get(1).is_some_and(|name| name.starts_with("with_")),
                "wrong without a mark: {names:?}"
            );
            ensure!(names[2..].starts_with(&["work", "main"]), "{names:?}");
            ensure!(reaches_the_start(stack), "{names:?}");
        }
    }
    Ok(())
}

/// A return probe of another tool, in tracefs; removed when dropped.
struct ReturnProbe {
    tracefs: PathBuf,
    name: String,
}

impl ReturnProbe {
    fn on(program: &Path, function: &str) -> Result<Self> {
        let tracefs = PathBuf::from("/sys/kernel/tracing");
        if !tracefs.join("uprobe_events").exists() {
            let mounted = Command::new("mount")
                .args(["-t", "tracefs", "tracefs"])
                .arg(&tracefs)
                .status()?;
            ensure!(mounted.success(), "tracefs cannot be mounted");
        }
        let symbols = Command::new("nm").arg(program).output()?;
        let symbols = String::from_utf8(symbols.stdout)?;
        let line = symbols
            .lines()
            .find(|line| line.ends_with(&format!(" {function}")));
        let address = line
            .and_then(|line| line.split(' ').next())
            .context("no such symbol")?;
        let name = format!("memlens_test_{}", std::process::id());
        // In what the linker makes of these victims an address is its offset in the file.
        let event = format!("r:{name}/{function} {}:0x{address}\n", program.display());
        append(&tracefs.join("uprobe_events"), &event)?;
        let probe = Self { tracefs, name };
        std::fs::write(probe.switch(), "1")?;
        Ok(probe)
    }

    fn switch(&self) -> PathBuf {
        self.tracefs.join("events").join(&self.name).join("enable")
    }
}

impl Drop for ReturnProbe {
    fn drop(&mut self) {
        // What fails here would fail the next use, too.
        let _ = std::fs::write(self.switch(), "0");
        let _ = append(
            &self.tracefs.join("uprobe_events"),
            &format!("-:{}/leak_outer\n", self.name),
        );
    }
}

fn append(path: &Path, text: &str) -> Result<()> {
    use std::io::Write;
    let mut file = std::fs::OpenOptions::new().append(true).open(path)?;
    file.write_all(text.as_bytes())
        .with_context(|| format!("{}: {text}", path.display()))
}

/// Another tool's return probe has replaced a return address in the stack: the real one is found.
#[test]
fn a_return_probe_in_the_stack() -> Result<()> {
    need::root()?;
    let program = Program::new("leak_each");
    let probe = ReturnProbe::on(&program.build()?, "leak_outer")?;
    let traced = trace(program.command(&["malloc"])?, &[])?;
    drop(probe);
    check_whole(
        only(&traced.report)?,
        &["leak_malloc", "leak_inner", "leak_outer", "main"],
    )
}
