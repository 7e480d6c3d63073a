//! Runs the root tests on other kernels, each in an emulated machine: `cargo xtask vm`.

mod guest;
mod kernel;
mod machine;
mod suite;

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use crate::{packages, run, tally::Tally, test};
use guest::Job;
use kernel::Kernel;
use machine::{End, Machine};
use suite::Programs;

/// `cargo xtask vm`
#[derive(clap::Args)]
pub struct Args {
    /// Kernels of the matrix, such as 6.1 or trixie, and words that the names of tests contain; all without a word
    #[arg(value_name = "KERNEL|FILTER")]
    words: Vec<String>,
    /// Minutes after which a machine is switched off
    #[arg(long, default_value_t = 20)]
    minutes: u64,
    /// Show everything that the guests print, not only what failed
    #[arg(long, short)]
    verbose: bool,
}

/// Runs the tests on each kernel, prints a line for each and the sum as the last line.
pub fn run(args: &Args) -> Result<ExitCode> {
    let (kernels, filters) = kernel::select(&args.words)?;
    if !nix::unistd::geteuid().is_root() {
        bail!(
            "the guest is given files that only root may read: run `sudo -E env PATH=\"$PATH\" cargo xtask vm`"
        );
    }
    packages::install_missing(packages::TESTS)?;
    packages::install_missing(packages::MACHINES)?;
    if machine::virtiofsd().is_none() {
        packages::install_missing(packages::VIRTIOFSD)?;
    }
    let memlens = test::release_program()?;
    let tests = test::root_test_binary()?;
    let (workspace, target) = (run::workspace_root()?, run::target_dir()?);
    let bench = Bench {
        programs: Programs {
            memlens: &memlens,
            tests: &tests,
            workspace: &workspace,
            target: &target,
        },
        cache: target.join("vm"),
        limit: Duration::from_secs(args.minutes * 60),
        verbose: args.verbose,
    };
    let mut sum = Tally::default();
    for kernel in kernels {
        sum.add(bench.report(kernel, &filters));
    }
    println!("{sum}");
    Ok(if sum.failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// What all kernels share.
struct Bench<'a> {
    programs: Programs<'a>,
    cache: PathBuf,
    limit: Duration,
    verbose: bool,
}

impl Bench<'_> {
    /// Runs one kernel and prints its line.
    fn report(&self, kernel: &Kernel, filters: &[String]) -> Tally {
        let start = Instant::now();
        let (name, tally) = self.run(kernel, filters).unwrap_or_else(|err| {
            println!("{err:#}");
            let failed = Tally {
                failed: 1,
                ..Tally::default()
            };
            (format!("{} ({})", kernel.series, kernel.suite), failed)
        });
        println!("kernel {name}: {tally}, {} s", start.elapsed().as_secs());
        tally
    }

    fn run(&self, kernel: &Kernel, filters: &[String]) -> Result<(String, Tally)> {
        let fetched = kernel.fetch(&self.cache)?;
        eprintln!("xtask: booting Linux {}", fetched.release);
        let folder = self.cache.join(kernel.series);
        let (initramfs, console) = (folder.join("initramfs"), folder.join("console.log"));
        let job = self.job(kernel, filters)?;
        guest::write_initramfs(&fetched, &job, &initramfs)?;
        let log_path = folder.join("output.log");
        let mut log = fs::File::create(&log_path)
            .with_context(|| format!("cannot write {}", log_path.display()))?;
        let machine = Machine {
            kernel: &fetched,
            initramfs: &initramfs,
            console: &console,
            victims: &job.victims,
            limit: self.limit,
        };
        let mut lines = Vec::new();
        let end = machine.run(|line| {
            writeln!(log, "{line}")?;
            if self.verbose {
                println!("{line}");
            }
            lines.push(line.to_owned());
            Ok(())
        })?;
        let tally = kernel.tests.judge(&lines);
        if end == End::Late {
            println!("switched off after {} s", self.limit.as_secs());
        }
        if tally.failed > 0 && !self.verbose {
            show_failure(&lines, &console);
        }
        Ok((fetched.release, tally))
    }

    fn job(&self, kernel: &Kernel, filters: &[String]) -> Result<Job> {
        let programs = &self.programs;
        let victims = programs.target.join("victims");
        fs::create_dir_all(&victims)
            .with_context(|| format!("cannot create {}", victims.display()))?;
        let folder = |path: &Path| path.parent().unwrap_or(path).to_path_buf();
        Ok(Job {
            command: kernel.tests.script(programs, filters),
            needs: vec![
                programs.workspace.to_path_buf(),
                programs.target.to_path_buf(),
                folder(programs.memlens),
                folder(programs.tests),
            ],
            victims,
        })
    }
}

/// Prints what failed: the tests' own account if they came so far, else the last lines of the guest and of its kernel.
fn show_failure(lines: &[String], console: &Path) {
    const LAST: usize = 40;
    let failures = lines.iter().position(|line| line == "failures:");
    let from = failures.unwrap_or(lines.len().saturating_sub(LAST));
    for line in &lines[from..] {
        println!("{line}");
    }
    if failures.is_none() {
        let text = String::from_utf8_lossy(&fs::read(console).unwrap_or_default()).into_owned();
        let messages: Vec<&str> = text.lines().collect();
        for line in &messages[messages.len().saturating_sub(LAST)..] {
            println!("console: {}", line.trim_end());
        }
    }
}
