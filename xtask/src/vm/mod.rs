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
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
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
    /// Machines at the same time; as many as there are CPUs unless told
    #[arg(long, short)]
    jobs: Option<usize>,
    /// Also run the tests that take long and rarely fail
    #[arg(long)]
    all: bool,
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
        all: args.all,
        verbose: args.verbose,
    };
    let jobs = args
        .jobs
        .or_else(|| thread::available_parallelism().ok().map(usize::from))
        .unwrap_or(1);
    // The newest has the most to do: begun first, no other CPU waits for it at the end.
    let kernels: Vec<&Kernel> = kernels.into_iter().rev().collect();
    let sum = bench.run_all(&kernels, &filters, jobs);
    if !args.all && filters.is_empty() {
        for kernel in kernels.iter().filter(|kernel| !kernel.long.is_empty()) {
            println!(
                "kernel {}: tests that take long were left out: `cargo xtask vm --all` has them",
                kernel.series
            );
        }
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
    all: bool,
    verbose: bool,
}

impl Bench<'_> {
    /// Runs the kernels, so many at a time, and adds up their results.
    ///
    /// A guest that waits leaves its CPU to another one, so two cores run two machines of two CPUs in little more than
    /// the time of one.
    fn run_all(&self, kernels: &[&Kernel], filters: &[String], jobs: usize) -> Tally {
        let next = AtomicUsize::new(0);
        let sum = Mutex::new(Tally::default());
        thread::scope(|scope| {
            for _ in 0..jobs.clamp(1, kernels.len().max(1)) {
                scope.spawn(|| {
                    while let Some(kernel) = kernels.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let tally = self.report(kernel, filters);
                        sum.lock()
                            .unwrap_or_else(PoisonError::into_inner)
                            .add(tally);
                    }
                });
            }
        });
        sum.into_inner().unwrap_or_else(PoisonError::into_inner)
    }

    /// Runs one kernel and prints what failed and its line, in one piece.
    fn report(&self, kernel: &Kernel, filters: &[String]) -> Tally {
        let start = Instant::now();
        let (name, tally, failure) = self.run(kernel, filters).unwrap_or_else(|err| {
            let failed = Tally {
                failed: 1,
                ..Tally::default()
            };
            let name = format!("{} ({})", kernel.series, kernel.suite);
            (name, failed, format!("{err:#}\n"))
        });
        let seconds = start.elapsed().as_secs();
        println!("{failure}kernel {name}: {tally}, {seconds} s");
        tally
    }

    /// The kernel's release, the result, and what there is to say about failures.
    fn run(&self, kernel: &Kernel, filters: &[String]) -> Result<(String, Tally, String)> {
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
            processor: kernel.processor,
            initramfs: &initramfs,
            console: &console,
            victims: &job.victims,
            limit: self.limit,
        };
        let mut lines = Vec::new();
        let booted = Instant::now();
        let end = machine.run(|line| {
            // The test runner does not say how long a test takes.
            writeln!(log, "{:6} s  {line}", booted.elapsed().as_secs())?;
            if self.verbose {
                println!("{line}");
            }
            lines.push(line.to_owned());
            Ok(())
        })?;
        let tally = kernel.tests.judge(&lines);
        let mut failure = String::new();
        if tally.failed > 0 {
            failure = describe_failure(&lines, &console);
        }
        if end == End::Late {
            failure += &format!("switched off after {} s\n", self.limit.as_secs());
        }
        Ok((fetched.release, tally, failure))
    }

    fn job(&self, kernel: &Kernel, filters: &[String]) -> Result<Job> {
        let programs = &self.programs;
        let long = if self.all { kernel.long } else { &[] };
        let victims = programs.target.join("victims");
        fs::create_dir_all(&victims)
            .with_context(|| format!("cannot create {}", victims.display()))?;
        let folder = |path: &Path| path.parent().unwrap_or(path).to_path_buf();
        Ok(Job {
            command: kernel.tests.script(programs, long, filters),
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

/// What failed: the tests' own account if they came so far, else the last lines of the guest and of its kernel.
fn describe_failure(lines: &[String], console: &Path) -> String {
    const LAST: usize = 60;
    let failures = lines.iter().position(|line| line == "failures:");
    let from = failures.unwrap_or(lines.len().saturating_sub(LAST));
    let mut text: String = lines[from..]
        .iter()
        .map(|line| format!("{line}\n"))
        .collect();
    if failures.is_none() {
        let bytes = fs::read(console).unwrap_or_default();
        let console = String::from_utf8_lossy(&bytes);
        let messages: Vec<&str> = console.lines().collect();
        for line in &messages[messages.len().saturating_sub(LAST)..] {
            text += &format!("console: {}\n", line.trim_end());
        }
    }
    text
}
