//! The command line without root: help, version, color, exit codes and mistakes.

use std::process::{Command, Stdio};

use anyhow::{Result, ensure};
use memlens_tests::memlens::Ended;
use memlens_tests::{Memlens, need, paths};

#[test]
fn help_names_every_command() -> Result<()> {
    let ended = Memlens::run(["--help"])?;
    ensure!(ended.status.code() == Some(0), "{}", ended.status);
    let text = ended.output.join("\n");
    for command in [
        "hunt", "leaks", "vm", "kernel", "trace", "host", "explain", "doctor", "demo",
    ] {
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
        "--fail-on",
        "--group-frames",
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

/// Done, or failed for whatever reason. `--fail-over` alone exits with 1, which needs a trace.
#[test]
fn exit_codes() -> Result<()> {
    let own = std::process::id().to_string();
    let done: [&[&str]; 5] = [
        &["--help"],
        &["--version"],
        &["help", "leaks"],
        &["host", "200ms", "1"],
        &["explain", &own],
    ];
    let failed: [&[&str]; 8] = [
        &[],
        &["nothing"],
        &["leaks"],
        &["leaks", "--no-such-option"],
        &["explain", "4999999"],
        &["hunt", "4999999"],
        &["hunt", "no-such-process-name"],
        &["host", "--csv", "/no/such/folder/a.csv"],
    ];
    let done = done.map(|args| (args, 0));
    for (args, code) in done.into_iter().chain(failed.map(|args| (args, 2))) {
        let ended = Memlens::run(args)?;
        ensure!(
            ended.status.code() == Some(code),
            "{args:?}: {}, not {code}: {:?}",
            ended.status,
            ended.errors
        );
        ensure!(
            ended.errors.is_empty() == (code == 0),
            "{args:?}: {:?}",
            ended.errors
        );
    }
    Ok(())
}

/// On a terminal reports are colored, unless the environment is against it; `--color` decides over both.
#[test]
fn color_follows_the_terminal_and_the_environment() -> Result<()> {
    let is_colored = |words: &str, environment: &[(&str, &str)]| -> Result<bool> {
        let command = format!("{} {words} doctor", paths::memlens()?.display());
        let mut script = Command::new(need::program("script")?);
        for name in ["CI", "CLICOLOR", "CLICOLOR_FORCE", "NO_COLOR", "TERM"] {
            script.env_remove(name);
        }
        let output = script
            .args(["-qc", &command, "/dev/null"])
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()?;
        let text = String::from_utf8_lossy(&output.stdout);
        ensure!(text.contains("kernel"), "doctor did not run: {text}");
        Ok(text.contains("\x1b["))
    };
    let xterm = ("TERM", "xterm");
    ensure!(is_colored("", &[xterm])?);
    ensure!(!is_colored("--color never", &[xterm])?);
    ensure!(!is_colored("", &[xterm, ("NO_COLOR", "1")])?);
    ensure!(is_colored("--color always", &[xterm, ("NO_COLOR", "1")])?);
    for plain in [&[("TERM", "dumb")][..], &[]] {
        ensure!(!is_colored("", plain)?, "{plain:?}");
        ensure!(is_colored("--color always", plain)?, "{plain:?}");
    }
    Ok(())
}

/// Runs memlens with each list of arguments; `check` gets what became of it and a word that it must say.
fn each(cases: &[(&[&str], &str)], check: impl Fn(&Ended, &[&str]) -> Result<()>) -> Result<()> {
    let mut wrong = Vec::new();
    for (args, word) in cases {
        if let Err(error) = check(&Memlens::run(*args)?, &[word]) {
            wrong.push(format!("memlens {}: {error:#}", args.join(" ")));
        }
    }
    ensure!(wrong.is_empty(), "{}", wrong.join("\n"));
    Ok(())
}

/// Arguments that contradict each other: exit code 2, one line.
#[test]
fn contradictions_are_one_line() -> Result<()> {
    let cases: &[(&[&str], &str)] = &[
        (&["leaks"], "try 'memlens leaks --help'"),
        (&["leaks", "--"], "-- COMMAND"),
        (&["leaks", "4242"], "to trace process 4242 give -p 4242"),
        (&["vm", "10", "3"], "give -p 10"),
        (&["trace"], "-p"),
        (&["leaks", "-p", "1", "-z", "2K", "-Z", "1K"], "--min-size"),
        (&["leaks", "-p", "1", "--combined", "-a"], "--show-allocs"),
        (
            &["leaks", "-p", "1", "--svg", "a", "--folded", "a"],
            "two outputs are to be written to a",
        ),
        (&["host", "10", "--window", "1"], "--window"),
    ];
    each(cases, Ended::refused_with)
}

/// Arguments that clap refuses: exit code 2, its message with tips and usage.
#[test]
fn mistakes_say_what_is_wrong() -> Result<()> {
    let cases: &[(&[&str], &str)] = &[
        (&["nothing"], "unrecognized subcommand 'nothing'"),
        (&["leeks"], "tip: a similar subcommand exists: 'leaks'"),
        (&["leaks", "-p", "1", "--no-such-flag"], "--no-such-flag"),
        (&["leaks", "nginx"], "-n nginx"),
        (&["leaks", "-p", "abc"], "'abc' for '--pid <PID>'"),
        (&["leaks", "-p", "-5"], "'-5' for '--pid <PID>'"),
        (&["leaks", "-p", "12,,13"], "expected a PID"),
        (&["leaks", "-p", "1", "-n", "name"], "--name"),
        (&["leaks", "-p", "1", "zero"], "expected a time"),
        (&["leaks", "-p", "1", "0"], "must not be zero"),
        (
            &["leaks", "-p", "1", "5", "0"],
            "a whole number of reports, such as 3",
        ),
        (
            &["leaks", "-p", "1", "5", "1.5"],
            "a whole number of reports, such as 3",
        ),
        (&["leaks", "-p", "1", "--top", "-1"], "-1"),
        (
            &["leaks", "-p", "1", "--sort", "color"],
            "[possible values: verdict, bytes,",
        ),
        (
            &["leaks", "-p", "1", "--older", "5parsecs"],
            "unknown unit \"parsecs\"",
        ),
        (
            &["leaks", "-p", "1", "--older", "-5s"],
            "'-5s' for '--older <AGE>': must not be negative",
        ),
        (&["leaks", "-p", "1", "--min-size", "big"], "big"),
        (&["leaks", "-p", "1", "--sample-bytes", "0"], "512KiB"),
        (&["leaks", "-p", "1", "--stack-depth", "0"], "from 1 to 127"),
        (&["leaks", "-p", "1", "--fail-over", "1.5.2"], "1.5.2"),
        (&["leaks", "--all", "-p", "1"], "--all"),
        (&["leaks", "--all", "--", "true"], "--all"),
        (&["leaks", "-p", "1", "--by", "user"], "--by"),
        (
            &["leaks", "--exclude", "a"],
            "<--all|--cgroup <PATH>|--user <USER>>",
        ),
        (
            &["leaks", "--all", "--cpu-budget", "most"],
            "from 0.1 to 100",
        ),
        (
            &["leaks", "--cgroup", "/a/../b"],
            "'/a/../b' for '--cgroup <PATH>': expected",
        ),
        (&["trace", "--all"], "unexpected argument '--all'"),
        (&["trace", "4242"], "tip: for process 4242 use '-p 4242'"),
        (&["doctor", "--probes"], "<--pid <PID>|--name <NAME>>"),
        (&["host", "soon"], "soon"),
        (
            &["host", "--watch"],
            "tip: a view that refreshes in place is 'memlens top'",
        ),
        (
            &["host", "-w"],
            "tip: a view that refreshes in place is 'memlens top'",
        ),
        (&["host", "--csv", "-"], "--csv"),
        (&["host", "-p", "1"], "-p"),
    ];
    each(cases, Ended::misused_with)
}
