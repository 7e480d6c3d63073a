//! The command line without root: help, version, and mistakes told in one line.

use anyhow::{Result, ensure};
use memlens_tests::Memlens;

#[test]
fn help_names_every_command() -> Result<()> {
    let ended = Memlens::run(["--help"])?;
    ensure!(ended.status.code() == Some(0), "{}", ended.status);
    let text = ended.output.join("\n");
    for command in ["leaks", "trace", "doctor", "demo"] {
        ensure!(text.contains(command), "no {command} in:\n{text}");
    }
    ensure!(ended.errors.is_empty(), "{:?}", ended.errors);
    Ok(())
}

#[test]
fn help_of_leaks_names_every_flag() -> Result<()> {
    let ended = Memlens::run(["leaks", "--help"])?;
    ensure!(ended.status.code() == Some(0), "{}", ended.status);
    let text = ended.output.join("\n");
    for flag in [
        "--json",
        "--folded",
        "--svg",
        "--top",
        "--sort",
        "--older",
        "--min-size",
        "--max-size",
        "--show-allocs",
        "--combined",
        "--sample-bytes",
        "--stack-depth",
        "--max-live",
        "--fail-over",
        "--no-source",
        "--addresses",
        "--symbols-prefix",
        "--object",
        "--all",
        "--cgroup",
        "--user",
        "--exclude",
        "--by",
        "--per-process",
        "--cpu-budget",
    ] {
        ensure!(text.contains(flag), "no {flag} in:\n{text}");
    }
    Ok(())
}

#[test]
fn version_is_the_packages() -> Result<()> {
    let ended = Memlens::run(["--version"])?;
    ensure!(ended.status.code() == Some(0), "{}", ended.status);
    let line = ended.output.join("\n");
    ensure!(
        line == format!("memlens {}", env!("CARGO_PKG_VERSION")),
        "{line}"
    );
    Ok(())
}

/// Mistakes that can be seen without looking at the machine: exit code 2, one line.
#[test]
fn mistakes_are_told_in_one_line() -> Result<()> {
    let mistakes: &[(&[&str], &str)] = &[
        (&["leaks"], "-p"),
        (&["nothing"], "nothing"),
        (&["leaks", "-p", "1", "--no-such-flag"], "--no-such-flag"),
        (&["leaks", "-p", "abc"], "abc"),
        (&["leaks", "-p", "0"], "0"),
        (&["leaks", "-p", "-5"], "-5"),
        (&["leaks", "-p", "12,,13"], "not a PID"),
        (&["leaks", "-p", "1", "-n", "name"], "-n"),
        (&["leaks", "-p", "1", "zero"], "zero"),
        (&["leaks", "-p", "1", "0"], "0"),
        (&["leaks", "-p", "1", "5", "0"], "0"),
        (&["leaks", "-p", "1", "5", "many"], "many"),
        (&["leaks", "-p", "1", "--top", "-1"], "-1"),
        (&["leaks", "-p", "1", "--sort", "colour"], "colour"),
        (&["leaks", "-p", "1", "--older", "soon"], "soon"),
        (&["leaks", "-p", "1", "--older", "5parsecs"], "5parsecs"),
        (&["leaks", "-p", "1", "--min-size", "big"], "big"),
        (
            &[
                "leaks",
                "-p",
                "1",
                "--min-size",
                "2KiB",
                "--max-size",
                "1KiB",
            ],
            "--min-size",
        ),
        (&["leaks", "-p", "1", "--sample-bytes", "0"], "0"),
        (&["leaks", "-p", "1", "--stack-depth", "0"], "0"),
        (&["leaks", "-p", "1", "--max-live", "0"], "0"),
        (&["leaks", "-p", "1", "--fail-over", "1.5.2"], "1.5.2"),
        (
            &["leaks", "-p", "1", "--combined", "--show-allocs"],
            "--show-allocs",
        ),
        (&["leaks", "--"], "--"),
        (&["leaks", "--all", "-p", "1"], "--all"),
        (&["leaks", "--all", "--", "true"], "--all"),
        (&["leaks", "-p", "1", "--by", "user"], "--by"),
        (&["leaks", "--all", "--by", "colour"], "colour"),
        (&["leaks", "--all", "--cpu-budget", "most"], "most"),
        (&["leaks", "--cgroup", "/a/../b"], "/a/../b"),
        (&["trace", "--all"], "--all"),
        (&["trace"], "-p"),
        (&["doctor", "--probes"], "-p"),
    ];
    let mut wrong = Vec::new();
    for (args, word) in mistakes {
        if let Err(error) = Memlens::run(*args)?.refused_with(&[word]) {
            wrong.push(format!("memlens {}: {error:#}", args.join(" ")));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}
