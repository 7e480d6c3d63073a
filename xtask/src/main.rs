//! Set-up, BPF build, tests and benchmarks of memlens: `cargo xtask --help`.

mod bench;
mod bpf_object;
mod cross;
mod debian;
mod dist;
mod docs;
mod ebpf;
mod lint;
mod packages;
mod readme;
mod run;
mod rust_src;
mod rustc_wrapper;
mod tally;
mod test;
mod tools;
mod verified;
mod vm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up, BPF build, tests and benchmarks of memlens.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Rebuild the committed BPF objects from tracer-ebpf
    Ebpf(ebpf::Args),
    /// Run the tests; as root those that trace real processes too
    Test(test::Args),
    /// Rewrite the golden reports
    Bless,
    /// Rewrite the JSON Schema of what memlens prints
    Schema(test::SchemaArgs),
    /// Run the root tests on other kernels, in emulated machines
    Vm(vm::Args),
    /// Check formatting and clippy
    Lint(lint::Args),
    /// Check licenses, sources and duplicates of dependencies
    Deny,
    /// Check the links of the documents, and build the book
    Docs(docs::Args),
    /// Build the release: static binary, packages, checksums
    Dist(dist::Args),
    /// Build memlens for aarch64: a static binary in target/cross
    Cross,
    /// Make the picture of the README by a real run, or compare it with one
    Readme(readme::Args),
    /// Measure what tracing costs
    Bench(bench::Args),
}

fn main() -> ExitCode {
    if rustc_wrapper::requested() {
        return rustc_wrapper::run();
    }
    dispatch(Cli::parse().task).unwrap_or_else(|err| {
        eprintln!("xtask: {err:#}");
        ExitCode::FAILURE
    })
}

fn dispatch(task: Task) -> anyhow::Result<ExitCode> {
    match task {
        Task::Ebpf(args) => ebpf::run(&args)?,
        Task::Test(args) => return test::run(&args),
        Task::Vm(args) => return vm::run(&args),
        Task::Bless => test::bless()?,
        Task::Schema(args) => test::schema(&args)?,
        Task::Lint(args) => lint::run(&args)?,
        Task::Deny => lint::deny()?,
        Task::Docs(args) => docs::run(&args)?,
        Task::Dist(args) => dist::run(&args)?,
        Task::Cross => cross::run()?,
        Task::Readme(args) => readme::run(&args)?,
        Task::Bench(args) => bench::run(&args)?,
    }
    Ok(ExitCode::SUCCESS)
}
