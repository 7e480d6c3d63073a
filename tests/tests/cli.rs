//! The command line without root: help, version, color, exit codes and mistakes.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
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

/// Nothing at all is answered by where to begin.
#[test]
fn memlens_alone_says_where_to_begin() -> Result<()> {
    let ended = Memlens::run([] as [&str; 0])?;
    let text = ended.errors.join("\n");
    for word in [
        "memlens demo",
        "memlens hunt",
        "memlens doctor",
        "memlens -h",
    ] {
        ensure!(text.contains(word), "no {word} in:\n{text}");
    }
    ensure!(text.lines().count() <= 16, "{text}");
    Ok(())
}

/// The pages are what man formats without a warning, and the completions what bash reads.
#[test]
fn pages_and_completions_are_read_by_their_programs() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let to = folder.path().join("man1");
    let to = to.to_str().context("a path")?;
    let ended = Memlens::run(["man", "--to", to])?;
    ensure!(ended.status.code() == Some(0), "{:?}", ended.errors);
    let mut pages = 0;
    for page in std::fs::read_dir(to)? {
        let page = page?.path();
        let output = Command::new(need::program("groff")?)
            .args(["-man", "-Tutf8", "-ww", "-z"])
            .arg(&page)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            output.status.success() && said.is_empty(),
            "{}: {said}",
            page.display()
        );
        pages += 1;
    }
    ensure!(pages >= 16, "only {pages} pages");
    let ended = Memlens::run(["completions", "bash"])?;
    let file = folder.path().join("memlens.bash");
    std::fs::write(&file, ended.output.join("\n"))?;
    let bash = Command::new("bash").arg("-n").arg(&file).output()?;
    ensure!(
        bash.status.success(),
        "{}",
        String::from_utf8_lossy(&bash.stderr)
    );
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
    let done: [&[&str]; 8] = [
        &["--help"],
        &["--version"],
        &["help", "leaks"],
        &["completions", "zsh"],
        &["man"],
        &["man", "leaks"],
        &["host", "200ms", "1"],
        &["explain", &own],
    ];
    let failed: [&[&str]; 9] = [
        &[],
        &["nothing"],
        &["leaks"],
        &["man", "leeks"],
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
        (&["leaks", "0"], "for PID|NAME: expected a PID"),
        (
            &["leaks", "-p", "1", "zero"],
            "for INTERVAL: expected a time",
        ),
        (&["leaks", "-p", "1", "0"], "must not be zero"),
        (
            &["leaks", "-p", "1", "5", "0"],
            "a whole number of reports, such as 3",
        ),
        (
            &["leaks", "-p", "1", "5", "3", "2"],
            "unexpected argument \"2\"",
        ),
        (&["trace"], "give a PID, a name or"),
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
        (&["leaks", "-p", "abc"], "'abc' for '--pid <PID>'"),
        (&["leaks", "-p", "-5"], "'-5' for '--pid <PID>'"),
        (&["leaks", "-p", "12,,13"], "expected a PID"),
        (&["leaks", "-p", "1", "-n", "name"], "--name"),
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
        (&["doctor", "--probes"], "<--pid <PID>|--name <NAME>"),
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
