//! Every loss counter, and what makes it count: a test, or the reason why there is none.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use memlens::profile::LossKey;

/// How a counter is known to count.
enum Proof {
    /// This root test makes it count.
    Test(&'static str),
    /// No test can make it count at will.
    Reason(&'static str),
}

use Proof::{Reason, Test};

const PROOFS: &[(&str, Proof)] = &[
    ("live_map_full_blocks", Test("losses::a_full_live_map")),
    ("live_map_full_bytes", Test("losses::a_full_live_map")),
    ("live_map_late_blocks", Test("losses::memory::for_blocks")),
    ("live_map_late_bytes", Test("losses::memory::for_blocks")),
    (
        "far_blocks",
        Test("losses::odd_allocator::addresses_that_user_space_does_not_have"),
    ),
    (
        "far_bytes",
        Test("losses::odd_allocator::addresses_that_user_space_does_not_have"),
    ),
    ("stack_table_full", Test("losses::a_full_table_of_stacks")),
    (
        "missed_returns",
        Test("accounting::longjmp_out_of_the_allocator_itself"),
    ),
    (
        "missed_frees",
        Test("losses::odd_allocator::blocks_that_are_handed_out_twice"),
    ),
    ("no_thread_state", Test("losses::memory::for_threads")),
    (
        "unreadable_result",
        Test("losses::odd_allocator::results_that_cannot_be_read"),
    ),
    (
        "ring_buffer_full",
        Test("events::events_that_are_not_read_in_time_are_counted"),
    ),
    ("lifecycle_full", Test("host::crowds::events_that_are_lost")),
    (
        "lost_in_realloc",
        Test("losses::odd_allocator::a_place_that_is_taken_during_realloc"),
    ),
    (
        "unknown_frees",
        Test("accounting::frees_of_older_blocks_are_counted_as_unknown"),
    ),
    (
        "untraced_children",
        Test("lifecycle::children_are_counted_not_traced"),
    ),
    ("process_table_full", Test("admission::a_full_table")),
    (
        "space_ring_full",
        Test("address_space::lost_events_are_repaired_from_the_maps"),
    ),
    (
        "faults_dropped",
        Test("page_faults::dropped_faults_are_counted"),
    ),
    (
        "probes_gone",
        Test("host::harmless::probes_that_another_program_removes"),
    ),
    (
        "not_continued",
        Reason(
            "the kernel lets a program run on in another one wherever that is loaded, as both are",
        ),
    ),
    (
        "names_dropped",
        Test("runtimes::names_without_room_are_counted"),
    ),
    (
        "code_unreadable",
        Reason(
            "the code that a thread runs is in memory, unless the machine has just taken it away",
        ),
    ),
    (
        "diagnostics_dropped",
        Test("diagnostics::blocks_left_out_and_messages_dropped"),
    ),
    (
        "kernel.live_map_full_blocks",
        Test("kernel::a_full_table_is_told"),
    ),
    (
        "kernel.live_map_full_bytes",
        Test("kernel::a_full_table_is_told"),
    ),
    (
        "kernel.stack_table_full",
        Test("losses::kernel::a_full_table_of_stacks"),
    ),
    (
        "kernel.no_stack",
        Reason("the kernel can walk the stack of all of its code that reaches these tracepoints"),
    ),
    (
        "kernel.missed_frees",
        Test("losses::kernel::releases_that_were_not_seen"),
    ),
    (
        "kernel.unknown_frees",
        Test("losses::kernel::releases_of_what_was_there_before"),
    ),
    (
        "kernel.caches_full",
        Test("losses::kernel::a_full_table_of_caches"),
    ),
    (
        "kernel.bulk_too_long",
        Reason(
            "no code of the kernel releases more than some five hundred objects at once, and the limit is 4,096",
        ),
    ),
    (
        "kernel.nested_allocs",
        Reason(
            "an interrupt must allocate while another interrupt's program runs, which itself came upon a program",
        ),
    ),
    (
        "kernel.nested_frees",
        Reason(
            "an interrupt must release while another interrupt's program runs, which itself came upon a program",
        ),
    ),
];

/// The source of a root test's module.
fn source(module: &str) -> Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/root");
    let path = folder.join(module.replace("::", "/") + ".rs");
    std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// No counter is without a proof, no proof without a counter, and the tests are there and name what they make count.
#[test]
fn every_counter_has_a_test_or_a_reason() -> Result<()> {
    let counters: Vec<String> = LossKey::all().map(LossKey::key).collect();
    let proven: Vec<&str> = PROOFS.iter().map(|(counter, _)| *counter).collect();
    assert_eq!(proven, counters);
    for (key, (counter, proof)) in LossKey::all().zip(PROOFS) {
        let test = match proof {
            Test(test) => test,
            Reason(reason) => {
                println!("{counter} has no test: {reason}");
                continue;
            }
        };
        let (module, function) = test.rsplit_once("::").context("a test lies in a module")?;
        let source = source(module)?;
        let (_, body) = source
            .split_once(&format!("#[test]\nfn {function}("))
            .with_context(|| format!("{counter}: there is no test {test}"))?;
        let body = body.split_once("\n}\n").map_or(body, |(body, _)| body);
        let variant = match key {
            LossKey::Trace(loss) => format!("Loss::{loss:?}"),
            LossKey::Kernel(loss) => format!("KernelLoss::{loss:?}"),
        };
        ensure!(body.contains(&variant), "{test} says nothing of {variant}");
    }
    Ok(())
}
