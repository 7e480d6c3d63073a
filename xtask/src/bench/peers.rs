//! Other tools on the same pairs of malloc and free: those that run the program from its start.

use std::{path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{Outcome, Plan, table, table::Table, victim};
use crate::run;

/// A tool and how a program is run under it.
struct Peer {
    name: &'static str,
    /// What is looked for in `PATH`.
    program: &'static str,
    /// What comes before the program; none where the program is built for it.
    words: &'static [&'static str],
    /// What the program is built with besides.
    flags: &'static [&'static str],
}

const PEERS: [Peer; 5] = [
    Peer {
        name: "untraced",
        program: "cc",
        words: &[],
        flags: &[],
    },
    Peer {
        name: "LeakSanitizer (gcc -fsanitize=leak)",
        program: "cc",
        words: &[],
        flags: &["-fsanitize=leak"],
    },
    Peer {
        name: "AddressSanitizer (gcc -fsanitize=address)",
        program: "cc",
        words: &[],
        flags: &["-fsanitize=address"],
    },
    Peer {
        name: "heaptrack",
        program: "heaptrack",
        words: &["heaptrack", "-o", "peer"],
        flags: &[],
    },
    Peer {
        name: "valgrind --leak-check=full",
        program: "valgrind",
        words: &["valgrind", "-q", "--leak-check=full"],
        flags: &[],
    },
];

/// Nanoseconds of a pair under each tool, the best of all runs; beside them memlens, which starts the program too.
pub fn cost(plan: &Plan) -> Result<Outcome> {
    let memlens = plan.memlens.to_str().context("a path in UTF-8")?;
    let ours = [memlens, "leaks", "1h", "--"];
    let mut table = Table::new(&[
        "one pair, ten frames, from the program's start",
        "best",
        "of untraced",
    ]);
    let mut outcome = Outcome::default();
    let mut untraced = None;
    let mut row = |name: &str, words: &[&str], flags: &[&str]| -> Result<()> {
        let best = (0..plan.runs).map(|_| pairs(words, flags, plan.seconds));
        let best = best
            .collect::<Result<Vec<f64>>>()?
            .into_iter()
            .fold(f64::MAX, f64::min);
        let base = *untraced.get_or_insert(best);
        table.row([name.to_owned(), table::ns(best), table::ratio(best, base)]);
        Ok(())
    };
    for peer in &PEERS {
        if !run::in_path(peer.program) {
            let note = format!(
                "`{}` is not installed, so it was not measured.",
                peer.program
            );
            outcome.notes.push(note);
            continue;
        }
        row(peer.name, peer.words, peer.flags)?;
    }
    row("memlens leaks", &ours, &[])?;
    outcome.tables.push(("Other tools", table));
    Ok(outcome)
}

/// Nanoseconds of a pair in a program that is run under this.
fn pairs(words: &[&str], flags: &[&str], seconds: u32) -> Result<f64> {
    let name = match flags.first() {
        Some(flag) => format!("pair{}", flag.replace('=', "-")),
        None => "pair".to_owned(),
    };
    let flags: Vec<&str> = ["-pthread"]
        .into_iter()
        .chain(flags.iter().copied())
        .collect();
    let program = victim::compile(&name, &victim::own_source("pair")?, &flags)?;
    let folder = tempfile::tempdir()?;
    let mut command = started(words, &program);
    // The first second is that of the start.
    command
        .arg((seconds + 1).to_string())
        .args(["1", "1"])
        .current_dir(folder.path());
    let printed = run::output(&mut command)?;
    best_slot(&printed)
}

fn started(words: &[&str], program: &Path) -> Command {
    match words.split_first() {
        None => Command::new(program),
        Some((first, rest)) => {
            let mut command = Command::new(first);
            command.args(rest).arg(program);
            command
        }
    }
}

/// The least time of a pair after the first slot.
fn best_slot(printed: &str) -> Result<f64> {
    let slots = printed
        .lines()
        .filter_map(|line| line.strip_prefix("slot "));
    let times = slots
        .skip(1)
        .filter_map(|slot| slot.split(' ').nth(2)?.parse::<f64>().ok());
    let best = times.filter(|ns| *ns > 0.0).fold(f64::MAX, f64::min);
    if best == f64::MAX {
        bail!("the benchmark program told no times");
    }
    Ok(best)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_second_does_not_count() {
        let printed = "slot 0 10 1.00 1.00\nother\nslot 1 10 5.50 5.00\nslot 2 10 4.25 4.00\nthread 0 30 4.0\n";
        assert_eq!(best_slot(printed).expect("slots"), 4.25);
        assert!(best_slot("slot 0 10 1.00 1.00\n").is_err());
    }
}
