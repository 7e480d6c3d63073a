//! Stacks and names: the right functions in the right order, with file and line, also after the code has gone.

use anyhow::{Context, Result, ensure};
use memlens::profile::{CutReason, Frame};
use memlens_tests::cases::LEAK_EACH;
use memlens_tests::row::{is_of, name};
use memlens_tests::{HeapFigures as _, Live, Memlens, Program, Report, Victim, trace};

/// Every function's caller, and its callers, each directly above the other.
#[test]
fn frames_are_in_order() -> Result<()> {
    for function in LEAK_EACH {
        let report = trace(Program::new("leak_each").command(&[function])?, &[])?.report;
        let stack = report.first_stack()?;
        let leak = format!("leak_{function}");
        let names = [leak.as_str(), "leak_inner", "leak_outer", "main"];
        ensure!(
            stack.has_run(&names),
            "{function}: {:?}, not {names:?}",
            stack.names()
        );
        ensure!(stack.cut().is_none(), "{function}: {stack:?}");
        // Between the allocator and these stands strdup.
        let callers = usize::from(function.starts_with("str"));
        let first = stack.frames().nth(callers).context("no frame")?;
        ensure!(
            is_of(first, &leak),
            "{function}: frame {callers} is {:?}, not its caller",
            first.symbol
        );
    }
    Ok(())
}

#[test]
fn the_immediate_caller_may_be_a_library() -> Result<()> {
    let report = trace(Program::new("leak_each").command(&["strdup"])?, &[])?.report;
    let frame = first_frame(&report)?;
    ensure!(name(frame).contains("strdup"), "{frame:?}");
    let stack = report.first_stack()?;
    ensure!(stack.path(frame).contains("libc"), "{stack:?}");
    let report = trace(Program::new("leak_new").command(&["new"])?, &[])?.report;
    let frame = first_frame(&report)?;
    ensure!(is_of(frame, "operator new"), "not demangled: {frame:?}");
    Ok(())
}

#[test]
fn file_and_line_come_from_debug_information() -> Result<()> {
    let traced = trace(Program::new("leak_each").command(&["malloc"])?, &[])?;
    let source = std::fs::read_to_string(memlens_tests::paths::victims().join("leak_each.c"))?;
    let number = source
        .lines()
        .position(|line| line.contains("leak_malloc(void) {"))
        .context("leak_malloc is in leak_each.c")?;
    let frame = first_frame(&traced.report)?;
    ensure!(
        frame
            .file
            .as_deref()
            .is_some_and(|file| file.ends_with("leak_each.c")),
        "{frame:?}"
    );
    ensure!(frame.line == Some(number as u32 + 1), "{frame:?}");
    ensure!(frame.module.is_some(), "{frame:?}");
    Ok(())
}

#[test]
fn rust_names_are_demangled() -> Result<()> {
    let report = trace(Program::new("leak_rust").command(&[])?, &[])?.report;
    let stacks = report.stacks_with("leak_vec");
    ensure!(stacks.len() == 1, "{} stacks with leak_vec", stacks.len());
    ensure!(
        stacks[0].names().contains(&"leak_rust::leak_vec"),
        "{:?}",
        stacks[0].names()
    );
    Ok(())
}

/// A program without symbols: module and offset, a reason, and never an empty name.
#[test]
fn frames_without_symbols_say_where_they_are() -> Result<()> {
    let report = trace(
        Program::new("leak_each").flag("-s").command(&["malloc"])?,
        &[],
    )?
    .report;
    let frame = first_frame(&report)?;
    ensure!(
        frame.symbol.is_none(),
        "a name for stripped code: {frame:?}"
    );
    let stack = report.first_stack()?;
    ensure!(stack.path(frame).ends_with("leak_each"), "{stack:?}");
    ensure!(frame.module_offset.is_some(), "{frame:?}");
    ensure!(stack.build_id(frame).is_some(), "{frame:?}");
    ensure!(frame.missing.is_some(), "no reason: {frame:?}");
    Ok(())
}

#[test]
fn no_name_is_ever_empty() -> Result<()> {
    for victim in ["leak_rust", "throw_across", "sizes"] {
        let report = trace(Program::new(victim).command(&[])?, &[])?.report;
        ensure!(!report.heap().is_empty(), "{victim} has no stack");
        ensure!(
            report.frames.iter().all(|frame| !name(frame).is_empty()),
            "{victim} has an empty name"
        );
    }
    Ok(())
}

/// Two stacks that differ in one call site deep down are two stacks.
#[test]
fn different_stacks_are_told_apart() -> Result<()> {
    let traced = trace(Program::new("many_stacks").command(&["10"])?, &[])?;
    traced
        .report
        .check_exact(traced.pid, Live::new(102_400, 1024))?;
    assert_eq!(traced.report.heap_stacks_total(), 1024);
    for stack in traced.report.stacks_with("leak_here") {
        ensure!(
            stack.live() == Live::new(100, 1),
            "two stacks are mixed: {:?}",
            stack.live()
        );
        let depth = stack
            .frames()
            .filter(|frame| is_of(frame, "descend"))
            .count();
        ensure!(depth == 11, "{depth} frames of descend, not 11");
    }
    assert_eq!(traced.report.stacks_with("leak_here").len(), 1024);
    Ok(())
}

#[test]
fn a_stack_that_is_too_deep_is_marked() -> Result<()> {
    let deep = trace(Program::new("deep_recursion").command(&["400"])?, &[])?.report;
    let stack = deep.first_stack()?;
    ensure!(stack.cut().is_some(), "400 frames are not marked as cut");
    ensure!(
        stack.has_run(&["bottom", "dive", "dive"]),
        "{:?}",
        stack.names()
    );
    let shallow = trace(Program::new("deep_recursion").command(&["20"])?, &[])?.report;
    let stack = shallow.first_stack()?;
    ensure!(stack.has("main"), "20 frames do not reach main");
    Ok(())
}

#[test]
fn stack_depth_limits_frames() -> Result<()> {
    let report = trace(
        Program::new("deep_recursion").command(&["60"])?,
        &["--stack-depth", "8"],
    )?
    .report;
    let stack = report.first_stack()?;
    let real = stack.physical().count();
    ensure!(real <= 8, "{real} frames, 8 asked for");
    ensure!(stack.has_run(&["bottom", "dive"]), "{:?}", stack.names());
    ensure!(stack.cut().is_some(), "not marked as cut");
    Ok(())
}

/// A library that was closed keeps its names, although another stands at its place.
#[test]
fn a_closed_library_keeps_its_names() -> Result<()> {
    let library = |name: &str, size: u32| -> Result<String> {
        let path = Program::library("dlopen_library")
            .flag(format!("-DNAME={name}"))
            .flag(format!("-DSIZE={size}"))
            .build()?;
        Ok(path.display().to_string())
    };
    let (first, second) = (library("leak_first", 1100)?, library("leak_second", 130)?);
    let mut victim = Victim::start(Program::new("dlopen_leak").command(&[&first, &second])?)?;
    let mut memlens = Memlens::leaks(victim.pid(), &["1"])?;
    victim.go_to("first")?;
    // The library stays open over two reports, as a plug-in in use does.
    for _ in 0..2 {
        memlens.report(std::time::Duration::from_secs(20))?;
    }
    victim.go_to("done")?;
    let report = memlens.stop()?;
    report.check_complete()?;
    report.check_balance()?;
    report.check_function("leak_first", Live::new(11_000, 10))?;
    report.check_function("leak_second", Live::new(2_600, 20))
}

/// A process that ends before the report still has names in it.
#[test]
fn names_outlive_the_process() -> Result<()> {
    let mut victim = Victim::start(Program::new("exit_with_live").command(&["exit"])?)?;
    let memlens = Memlens::leaks(victim.pid(), &[])?;
    victim.go()?;
    victim.wait()?;
    // Gone for good: the report is made from what was read while it lived.
    let report = memlens.wait()?.last_report()?;
    report.check_function("leak_three", Live::new(30_000, 3))
}

fn first_frame(report: &Report) -> Result<&Frame> {
    let first = report.first_stack()?.physical().next();
    first.context("no stack with a frame")
}

/// Stacks that end early are summed up, shown or not; whole ones are not.
#[test]
fn cut_stacks_are_summed_up() -> Result<()> {
    let deep = || Program::new("deep_recursion").command(&["60"]);
    let report = trace(deep()?, &["--stack-depth", "8"])?.report;
    let live = report.totals().live();
    let [cut] = report.sections.cut.as_slice() else {
        anyhow::bail!("not one row: {:?}", report.sections.cut);
    };
    ensure!(cut.reason == CutReason::TooDeep, "{cut:?}");
    ensure!(cut.module.is_none(), "{cut:?}");
    ensure!(
        cut.values.live() == live && cut.stacks == report.heap_stacks_total(),
        "{cut:?}, {live:?}"
    );
    let report = trace(deep()?, &[])?.report;
    ensure!(report.sections.cut.is_empty(), "{:?}", report.sections.cut);
    Ok(())
}
