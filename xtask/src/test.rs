//! Runs the tests: those that need nothing, then those that need root and a kernel.

use std::{
    io::{BufRead as _, BufReader, Write as _},
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
};

use anyhow::{Context as _, Result, bail};
use clap::ValueEnum;

use crate::{packages, run, tally::Tally};

/// `cargo xtask test`
#[derive(clap::Args)]
pub struct Args {
    /// Which tests
    #[arg(value_enum, default_value_t = Part::All)]
    part: Part,
    /// Run only tests whose name contains this
    filter: Option<String>,
    /// Also run the root tests that take long and rarely fail
    #[arg(long)]
    all: bool,
    /// Without root, be content with the tests that need none (never under CI=true)
    #[arg(long)]
    no_root: bool,
}

/// Which tests to run.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Both
    All,
    /// Those that need nothing
    Unit,
    /// Those that trace real processes
    Root,
}

/// Runs the tests and prints their sum as the last line.
pub fn run(args: &Args) -> Result<ExitCode> {
    let is_root = nix::unistd::geteuid().is_root();
    if args.part == Part::Root && !is_root {
        bail!(
            "the root tests load BPF programs: run `sudo -E env PATH=\"$PATH\" cargo xtask test root`"
        );
    }
    let filter = args.filter.as_deref();
    let mut sum = Tally::default();
    let mut complete = true;
    // Before the unit tests: some of those compile victims too.
    if is_root && args.part != Part::Unit {
        packages::install_missing(packages::TESTS)?;
        packages::install_duckdb()?;
        packages::install_browser_tests()?;
    }
    if args.part != Part::Root {
        sum.add(unit(filter)?);
    }
    if args.part != Part::Unit {
        if is_root {
            let root = root(filter, args.all)?;
            complete = root.ignored == 0 || !on_ci();
            if !complete {
                println!(
                    "{} root tests were ignored, which counts as a failure on CI",
                    root.ignored
                );
            }
            sum.add(root);
        } else {
            println!(
                "the root tests were not run: run `sudo -E env PATH=\"$PATH\" cargo xtask test`"
            );
            complete = args.no_root && !on_ci();
        }
    }
    println!("{sum}");
    Ok(if complete && sum.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn on_ci() -> bool {
    std::env::var("CI").is_ok_and(|value| value == "true" || value == "1")
}

/// The tests that pass on a laptop without root.
fn unit(filter: Option<&str>) -> Result<Tally> {
    let mut cargo = run::cargo();
    cargo.args([
        "test",
        "--no-fail-fast",
        "--workspace",
        "--exclude",
        "memlens-tests",
    ]);
    cargo.args(filter);
    tests(&mut cargo, &run::workspace_root()?)
}

/// Where the package with the root tests is.
const PACKAGE_FOLDER: &str = "tests";

/// Modules of the root tests that wait for memory to grow in real time, and need no CPU meanwhile.
const WAITING: [&str; 2] = ["growth::", "hunt::"];

/// Modules of the root tests that need a machine of their own: `cargo xtask vm` runs them.
const IN_GUESTS: &str = "agent::version_two::";

/// Tests that take more than ten seconds each and have rarely failed: `--all` runs them.
const LONG: [&str; 4] = [
    "address_space_host::short_lived_processes_leave_what_they_held",
    "host::crowds::processes_that_vanish_while_they_are_looked_at",
    "host::harmless::programs_under_tools_end_as_without",
    "methods::a_full_sample_is_exact_by_each_method",
];

/// The tests that trace real processes: one at a time, since they share the kernel, but for those that only wait.
fn root(filter: Option<&str>, all: bool) -> Result<Tally> {
    let program = release_program()?;
    let binaries = root_binaries()?;
    let run = |binary: &Path, options: &[&str]| {
        let mut command = Command::new(binary);
        command.args(options).env("MEMLENS_BIN", &program);
        println!("     Running {}", binary.display());
        tests(&mut command, &run::workspace_root()?.join(PACKAGE_FOLDER))
    };
    let mut sum = Tally::default();
    let long = if all { &[][..] } else { &LONG };
    let apart = WAITING.iter().chain([&IN_GUESTS]).chain(long);
    let others = apart.flat_map(|name| ["--skip", name]);
    let mut alone: Vec<&str> = ["--test-threads=1"].into_iter().chain(others).collect();
    if let Some(filter) = filter {
        alone = vec!["--test-threads=1", filter];
    }
    for binary in &binaries {
        sum.add(run(binary, &alone)?);
    }
    if filter.is_none() {
        if !all {
            println!(
                "{} tests that take long were left out: `cargo xtask test --all` has them",
                LONG.len()
            );
        }
        let together = ["--test-threads=8"].into_iter().chain(WAITING);
        let together: Vec<&str> = together.collect();
        for binary in binaries.iter().filter(|binary| is_root_test(binary)) {
            sum.add(run(binary, &together)?);
        }
    }
    Ok(sum)
}

/// Builds memlens for release and returns its path; `MEMLENS_BIN` names another binary instead.
pub fn release_program() -> Result<PathBuf> {
    if let Some(program) = std::env::var_os("MEMLENS_BIN") {
        return Ok(PathBuf::from(program));
    }
    run::run(
        run::cargo()
            .args(["build", "--release", "--locked", "-p", "memlens"])
            .current_dir(run::workspace_root()?),
    )?;
    Ok(run::target_dir()?.join("release/memlens"))
}

/// Builds the binary of the root tests and returns its path.
pub fn root_test_binary() -> Result<PathBuf> {
    let mut binaries = root_binaries()?.into_iter();
    let binary = binaries.find(|binary| is_root_test(binary));
    binary.context("cargo built no binary of the root tests")
}

fn is_root_test(binary: &Path) -> bool {
    let name = binary.file_name().map(|name| name.to_string_lossy());
    name.is_some_and(|name| name.starts_with("root-"))
}

/// Builds the binaries of the package that has the root tests. Of the whole workspace, as the unit tests are built: by
/// itself the package would have the libraries compiled once more, with fewer of their features.
fn root_binaries() -> Result<Vec<PathBuf>> {
    let messages = run::output(
        run::cargo()
            .args(["test", "--no-run", "--locked", "--workspace"])
            .args(["--message-format", "json-render-diagnostics"])
            .current_dir(run::workspace_root()?),
    )?;
    let messages = messages
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let manifest = run::workspace_root()?
        .join(PACKAGE_FOLDER)
        .join("Cargo.toml");
    let own = messages
        .filter(|message| message["manifest_path"].as_str().map(Path::new) == Some(&manifest));
    Ok(own
        .filter_map(|message| message["executable"].as_str().map(PathBuf::from))
        .collect())
}

/// Runs a command that tests, shows its output as it comes and adds up the results.
fn tests(command: &mut Command, folder: &Path) -> Result<Tally> {
    let mut child = command
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .context("cannot run the tests")?;
    let stdout = child
        .stdout
        .take()
        .context("the tests were started without a pipe")?;
    let mut tally = Tally::default();
    for line in BufReader::new(stdout).split(b'\n') {
        let line = String::from_utf8_lossy(&line?).into_owned();
        tally.read(&line);
        writeln!(std::io::stdout().lock(), "{line}")?;
    }
    let status = child.wait().context("cannot wait for the tests")?;
    if !status.success() && tally.failed == 0 {
        // They did not compile, or a binary was killed before its result line.
        println!("the tests failed without a failing test ({status}): counted as one failure");
        tally.failed += 1;
    }
    Ok(tally)
}

/// Rewrites the golden reports with what the program prints now.
pub fn bless() -> Result<()> {
    run::run(
        run::cargo()
            .args([
                "test",
                "--quiet",
                "-p",
                "memlens",
                "--test",
                "render",
                "--test",
                "host",
                "--test",
                "explain",
                "--test",
                "hunt",
                "--test",
                "top",
                "as_blessed",
            ])
            .env("MEMLENS_BLESS", "1")
            .current_dir(run::workspace_root()?),
    )?;
    eprintln!("xtask: golden reports written: look at `git diff` before you commit them");
    Ok(())
}

/// `cargo xtask schema`
#[derive(clap::Args)]
pub struct SchemaArgs {
    /// Fail if the committed schema is not that of the types, and change nothing
    #[arg(long)]
    check: bool,
}

/// Generates `docs/memlens-1.schema.json` from the types, or compares it with them.
pub fn schema(args: &SchemaArgs) -> Result<()> {
    let mut cargo = run::cargo();
    cargo
        .args([
            "test",
            "--quiet",
            "-p",
            "memlens",
            "--test",
            "schema",
            "as_blessed",
        ])
        .current_dir(run::workspace_root()?);
    if !args.check {
        cargo.env("MEMLENS_BLESS", "1");
    }
    run::run(&mut cargo)
}

#[cfg(test)]
mod tests_of_names {
    use super::*;

    /// A name that no test has would leave out nothing.
    #[test]
    fn each_name_is_that_of_a_test() -> Result<()> {
        let folder = run::workspace_root()?.join("tests/tests/root");
        for name in LONG {
            let (module, test) = name.rsplit_once("::").context("a name with a module")?;
            let module = folder.join(module.replace("::", "/"));
            let source = std::fs::read_to_string(module.with_extension("rs"))
                .or_else(|_| std::fs::read_to_string(module.join("mod.rs")))?;
            assert!(source.contains(&format!("fn {test}()")), "{name}");
        }
        Ok(())
    }
}
