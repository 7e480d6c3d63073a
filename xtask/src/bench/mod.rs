//! Measures what tracing costs, as ratios within one run: `cargo xtask bench`.

mod attach;
mod exact;
mod faults;
mod finding;
mod host;
mod json;
mod kernel;
mod machine;
mod memleak;
mod output;
mod page;
mod pair;
mod passes;
mod peers;
mod reach;
mod report;
mod samples;
mod space;
mod table;
mod tracer;
mod unwind;
mod victim;

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result, bail, ensure};

use crate::test;
use finding::Finding;
use table::Table;

/// `cargo xtask bench`
#[derive(clap::Args)]
pub struct Args {
    /// Benchmarks to run; all without a name
    names: Vec<String>,
    /// How often each measurement is repeated; the smallest counts
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    runs: u32,
    /// Seconds of each phase of a measurement
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: u32,
    /// Mixed calls of the exactness benchmark
    #[arg(long, default_value_t = 10_000_000, value_parser = clap::value_parser!(u32).range(1000..))]
    calls: u32,
    /// bcc's compiled memleak, if it is not in PATH as memleak-libbpf or memleak
    #[arg(long, value_name = "PROGRAM")]
    memleak: Option<PathBuf>,
    /// Name the benchmarks and end
    #[arg(long)]
    list: bool,
    /// Write the page to a Markdown file as well, such as docs/performance.md
    #[arg(long)]
    write: Option<PathBuf>,
}

/// What a benchmark is given.
struct Plan {
    /// The program to measure.
    memlens: PathBuf,
    /// Repetitions of a measurement.
    runs: u32,
    /// Seconds of a phase.
    seconds: u32,
    /// Calls of the exactness benchmark.
    calls: u32,
    /// bcc's memleak, where the user has named it.
    memleak: Option<PathBuf>,
}

/// What a benchmark found.
#[derive(Default)]
struct Outcome {
    /// What is held against a target.
    findings: Vec<Finding>,
    /// More figures, under their titles.
    tables: Vec<(&'static str, Table)>,
    /// What the reader of the figures should know.
    notes: Vec<String>,
}

impl Outcome {
    fn add(&mut self, other: Self) {
        self.findings.extend(other.findings);
        self.tables.extend(other.tables);
        self.notes.extend(other.notes);
    }
}

/// A benchmark: measures and returns what it found.
struct Bench {
    name: &'static str,
    about: &'static str,
    run: fn(&Plan) -> Result<Outcome>,
}

const BENCHES: &[Bench] = &[
    Bench {
        name: "pair",
        about: "one malloc(64) and free from ten frames: untraced, floor, traced, sampled, bcc memleak",
        run: pair::cost,
    },
    Bench {
        name: "unwind",
        about: "unwinding 10, 20 and 40 frames without frame pointers; unwind tables of node",
        run: unwind::cost,
    },
    Bench {
        name: "threads",
        about: "pairs a second of two threads on two CPUs against one thread",
        run: pair::scaling,
    },
    Bench {
        name: "attach",
        about: "time to attach to a process with 20 libraries, and to detach",
        run: attach::latency,
    },
    Bench {
        name: "host",
        about: "the whole host, 500 idle processes: start, stop, memory and CPU of memlens",
        run: host::idle,
    },
    Bench {
        name: "outside",
        about: "a process that allocates all the time, beside a trace of another user",
        run: host::scope::outside,
    },
    Bench {
        name: "budget",
        about: "a busy host: how soon all are probed, and what the probes cost, measured from outside",
        run: host::scope::budget,
    },
    Bench {
        name: "leak",
        about: "a leak of 1 MiB a minute in one process of a busy host",
        run: host::scope::leak,
    },
    Bench {
        name: "loads",
        about: "redis-server and python at full speed on a traced host against untraced",
        run: host::loads,
    },
    Bench {
        name: "report",
        about: "a report of 1,000,000 live blocks on 10,000 stacks: time and memory",
        run: report::speed,
    },
    Bench {
        name: "output",
        about: "10,000 stacks of a recording in each form: time, memory, size",
        run: output::forms,
    },
    Bench {
        name: "ages",
        about: "reading all of 1,000,000 and of 10,000,000 live blocks; kernel memory of their table",
        run: report::ages,
    },
    Bench {
        name: "reach",
        about: "what holds 1,000,000 and 10,000,000 live blocks: time and memory",
        run: reach::speed,
    },
    Bench {
        name: "kernel",
        about: "loops that make the kernel allocate: untraced, under memlens kernel, sampled",
        run: kernel::cost,
    },
    Bench {
        name: "host-pass",
        about: "one pass of memlens host over 2,000 processes",
        run: passes::pass,
    },
    Bench {
        name: "space",
        about: "memlens vm: cost of a traced mmap and munmap, a storm of calls, reports, the start on 500 processes",
        run: space::all,
    },
    Bench {
        name: "faults",
        about: "memlens vm --faults: 200,000 page faults a second, traced against untraced",
        run: faults::cost,
    },
    Bench {
        name: "peers",
        about: "the same pair under heaptrack, valgrind, LeakSanitizer and AddressSanitizer",
        run: peers::cost,
    },
    Bench {
        name: "exact",
        about: "mixed calls on 8 threads: exact to the byte and block",
        run: exact::exactness,
    },
];

/// Runs the named benchmarks and prints their tables as Markdown.
pub fn run(args: &Args) -> Result<()> {
    let benches = chosen(&args.names)?;
    if args.list {
        for bench in benches {
            println!("{:<10} {}", bench.name, bench.about);
        }
        return Ok(());
    }
    if !nix::unistd::geteuid().is_root() {
        bail!("benchmarks trace a process: run `sudo -E env PATH=\"$PATH\" cargo xtask bench`");
    }
    let plan = Plan {
        memlens: test::release_program()?,
        runs: args.runs,
        seconds: args.seconds,
        calls: args.calls,
        memleak: args.memleak.clone(),
    };
    let (mut outcome, mut failed) = (Outcome::default(), Vec::new());
    for bench in benches {
        eprintln!("xtask: {}: {}", bench.name, bench.about);
        // What the others found is worth its minutes.
        match (bench.run)(&plan) {
            Ok(found) => outcome.add(found),
            Err(error) => {
                eprintln!("xtask: {}: {error:#}", bench.name);
                let note = format!("`{}` was not measured: {error:#}.", bench.name);
                outcome.notes.push(note);
                failed.push(bench.name);
            }
        }
    }
    let text = page::text(&machine::describe()?, &plan, &outcome);
    print!("{text}");
    if let Some(path) = &args.write {
        fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))?;
    }
    ensure!(failed.is_empty(), "not measured: {}", failed.join(", "));
    Ok(())
}

/// The benchmarks of these names, in their own order.
fn chosen(names: &[String]) -> Result<Vec<&'static Bench>> {
    if let Some(unknown) = names
        .iter()
        .find(|name| BENCHES.iter().all(|bench| bench.name != **name))
    {
        bail!("no benchmark is called {unknown}: `cargo xtask bench --list` names them");
    }
    Ok(BENCHES
        .iter()
        .filter(|bench| names.is_empty() || names.iter().any(|name| name == bench.name))
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_means_all() {
        assert_eq!(chosen(&[]).expect("all").len(), BENCHES.len());
    }

    #[test]
    fn names_choose() {
        let one = chosen(&["threads".to_owned()]).expect("known");
        assert_eq!(
            one.iter().map(|bench| bench.name).collect::<Vec<_>>(),
            ["threads"]
        );
        assert!(chosen(&["nothing".to_owned()]).is_err());
    }
}
