//! Every allocation function and every odd way to use it, exact to the byte and to the block.

use anyhow::{Context, Result, ensure};
use memlens_tests::cases::{CASES, Case, LEAK, LEAK_EACH, LEAK_NEW, find};
use memlens_tests::{HeapFigures as _, Live, Memlens, Program, Victim, trace};
use tracer_common::loss::Loss;

/// Traces a case and checks the process, its functions and its exit code.
fn check(case: &Case) -> Result<()> {
    let traced = trace(case.program().command(case.args)?, &[])?;
    match case.process {
        Some(expected) => traced.report.check_exact(traced.pid, expected)?,
        None => {
            traced.report.check_complete()?;
            traced.report.check_balance()?;
        }
    }
    for (function, expected) in case.functions {
        traced.report.check_function(function, *expected)?;
    }
    ensure!(
        traced.status.code() == Some(case.code),
        "the victim ended with {}, untraced with {}",
        traced.status,
        case.code
    );
    Ok(())
}

/// One test for each case, so that a failure names it.
macro_rules! cases {
    ($($test:ident: $victim:literal $args:expr;)*) => {
        $(
            #[test]
            fn $test() -> Result<()> {
                check(find($victim, &$args)?)
            }
        )*

        /// No case is left without a test.
        #[test]
        fn every_case_has_a_test() {
            let tested = [$(($victim, &$args as &[&str])),*];
            for case in CASES {
                assert!(tested.contains(&(case.victim, case.args)), "{case:?} has no test");
            }
        }
    };
}

cases! {
    a_process_that_does_nothing: "sleepy" [];
    rust_vec_and_box: "leak_rust" [];
    freed_by_another_thread: "cross_thread_free" [];
    realloc_in_every_way: "realloc_cases" [];
    failing_calls_record_nothing: "posix_memalign_fails" [];
    longjmp_out_of_a_handler: "longjmp_out" ["caller"];
    exceptions_cross_frames: "throw_across" [];
    operator_new_that_throws: "bad_alloc" [];
    every_new_with_its_delete: "new_delete" [];
    contexts_with_stacks_of_their_own: "contexts" [];
    calls_inside_other_calls: "nested_call" [];
    fork_and_both_free: "fork_both_free" ["free"];
    fork_and_only_the_child_frees: "fork_both_free" ["keep"];
    thread_exit_with_destructors: "thread_exit_tls" [];
    address_reuse_storm: "reuse_storm" [];
    many_stacks: "many_stacks" ["8"];
    deep_recursion: "deep_recursion" [];
    three_sizes: "sizes" [];
    threads_started_later: "threads_later" [];
}

#[test]
fn each_function_alone() -> Result<()> {
    for function in LEAK_EACH {
        check_one("leak_each", function).with_context(|| function.to_string())?;
    }
    Ok(())
}

#[test]
fn each_operator_new_alone() -> Result<()> {
    for form in LEAK_NEW {
        check_one("leak_new", form).with_context(|| form.to_string())?;
    }
    Ok(())
}

fn check_one(victim: &str, function: &str) -> Result<()> {
    let traced = trace(Program::new(victim).command(&[function])?, &[])?;
    traced.report.check_exact(traced.pid, LEAK)?;
    ensure!(
        traced.report.heap().len() == 1,
        "{} stacks",
        traced.report.heap().len()
    );
    ensure!(
        traced.report.totals().allocated().blocks == 1,
        "counted twice"
    );
    Ok(())
}

#[test]
fn many_blocks_from_one_stack() -> Result<()> {
    let traced = trace(Program::new("leak_each").command(&["calloc", "500"])?, &[])?;
    traced
        .report
        .check_exact(traced.pid, Live::new(15_000_000, 500))?;
    assert_eq!(traced.report.heap().len(), 1);
    Ok(())
}

/// 8 threads, mixed calls; the victim knows what it kept.
#[test]
fn mixed_calls_on_eight_threads() -> Result<()> {
    let traced = trace(Program::new("mixed_exact").command(&["1000000"])?, &[])?;
    let numbers = traced
        .said
        .split_once(' ')
        .context("two numbers are said")?;
    let expected = Live::new(numbers.0.parse()?, numbers.1.parse()?);
    traced.report.check_exact(traced.pid, expected)?;
    ensure!(
        traced.report.losses.of(Loss::UnknownFrees) == 0,
        "frees were not known"
    );
    traced
        .report
        .check_function("mixed_new", expected)
        .or_else(|_| {
            // What realloc moved last belongs to work().
            traced.report.check_function("work", expected)
        })
}

/// Calls that are left by a jump out of the allocator: the live blocks are right, and the report says what it did not
/// see.
#[test]
fn longjmp_out_of_the_allocator_itself() -> Result<()> {
    let traced = trace(Program::new("longjmp_out").command(&["inside"])?, &[])?;
    let report = &traced.report;
    let live = report.process(traced.pid)?.live();
    assert_eq!(live, Live::new(10_000, 250), "stale calls were paired");
    report.check_balance()?;
    let missed = report.losses.of(Loss::MissedReturns);
    ensure!(
        (1..=500).contains(&missed),
        "{missed} missed returns of 500"
    );
    ensure!(!report.complete, "complete, with missed returns");
    ensure!(traced.status.success(), "the victim: {}", traced.status);
    Ok(())
}

/// Blocks from before the attach are unknown: their frees are counted as such, and change nothing else.
#[test]
fn frees_of_older_blocks_are_counted_as_unknown() -> Result<()> {
    let mut victim = Victim::start(Program::new("fill_live").command(&["1000", "64"])?)?;
    victim.go_to("filled")?;
    let memlens = Memlens::leaks(victim.pid(), &[])?;
    victim.go_to("done")?;
    let report = memlens.stop()?;
    report.check_exact(victim.pid(), Live::default())?;
    assert_eq!(report.losses.of(Loss::UnknownFrees), 1000);
    assert_eq!(report.totals().released().blocks, 0);
    Ok(())
}

/// Allocated and released totals, not only what is left.
#[test]
fn totals_since_the_start() -> Result<()> {
    let traced = trace(Program::new("fill_live").command(&["3000", "100"])?, &[])?;
    let totals = traced.report.totals();
    assert_eq!(totals.allocated(), Live::new(300_000, 3000));
    assert_eq!(totals.released(), Live::new(300_000, 3000));
    traced.report.check_exact(traced.pid, Live::default())
}
