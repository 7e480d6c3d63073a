//! `memlens leaks --all` and its parts: every process on the host, whoever started it and when.
//!
//! Where a trace is of the whole host, other processes are in it and do what they like: what is checked is what holds
//! for the test's own.

mod containers;
mod crowds;
mod faults;
mod guard;
mod harmless;
mod processes;
mod scope;
mod suspect;
mod views;

use std::process::Command;

use anyhow::Result;
use memlens_tests::{Live, Memlens, Program, Victim, cgroup, code};

/// What most victims here leak.
const LEAK: Live = Live::new(30_000, 1);

/// The cgroup that a test runs in, with all that it starts.
struct Stage(cgroup::Stage);

impl Stage {
    /// Moves the test into it. Make it first, so that it is dropped last.
    fn enter() -> Result<Self> {
        cgroup::Stage::enter().map(Self)
    }

    /// Traces all that runs and will run in it.
    fn trace(&self, more: &[&str]) -> Result<Memlens> {
        traced(&["--cgroup", self.0.path()], more)
    }

    /// The same but for what these words leave out.
    fn trace_without(&self, words: &[&str]) -> Result<Memlens> {
        let mut scope = vec!["--cgroup", self.0.path()];
        scope.extend(words);
        traced(&scope, &[])
    }
}

/// Traces the whole host.
fn everything(more: &[&str]) -> Result<Memlens> {
    traced(&["--all"], more)
}

/// Traces the whole host or a part of it. Without a budget: the guard looks at the whole machine, and what else runs
/// there is none of the test's. With the young: a test does not wait for a second where it has something to say about
/// other things.
fn traced(scope: &[&str], more: &[&str]) -> Result<Memlens> {
    let mut more = more.to_vec();
    more.extend(["--cpu-budget", "off", "--young"]);
    Memlens::leaks_of(scope, &more)
}

/// Starts a victim during a trace and waits until it is probed.
fn start_probed(command: Command) -> Result<Victim> {
    let victim = Victim::start(command)?;
    code::until_probed(victim.pid(), "")?;
    Ok(victim)
}

/// `leak_each` under a process name of its own, so that no other test's is taken for it.
fn leak_each(name: &str) -> Program {
    Program::new("leak_each").named(name)
}
