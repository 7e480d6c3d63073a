//! `memlens leaks --all` and its parts: every process on the host, whoever started it and when.
//!
//! Other processes of the machine are in these traces, too, and do what they like: what is checked is what holds for the test's own.

mod containers;
mod crowds;
mod faults;
mod guard;
mod processes;
mod scope;
mod views;

use anyhow::Result;
use memlens_tests::{Live, Memlens, Program};

/// What most victims here leak.
const LEAK: Live = Live::new(30_000, 1);

/// Traces the whole host. Without a budget: the guard looks at the whole machine, and other programs on it are none of the test's.
fn everything(more: &[&str]) -> Result<Memlens> {
    traced(&["--all"], more)
}

/// Traces the whole host, or the part of it that the words say.
fn traced(scope: &[&str], more: &[&str]) -> Result<Memlens> {
    let mut more = more.to_vec();
    more.extend(["--cpu-budget", "off"]);
    Memlens::leaks_of(scope, &more)
}

/// `leak_each` under a process name of its own, so that no other test's is taken for it.
fn leak_each(name: &str) -> Program {
    Program::new("leak_each").named(name)
}
