//! Set-up, BPF build, tests and benchmarks of memlens: `cargo xtask --help`.

mod bpf_object;
mod ebpf;
mod run;
mod rust_src;
mod rustc_wrapper;
mod tools;

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
    /// Rebuild the committed BPF object from tracer-ebpf
    Ebpf(ebpf::Args),
}

fn main() -> ExitCode {
    if rustc_wrapper::requested() {
        return rustc_wrapper::run();
    }
    let done = match Cli::parse().task {
        Task::Ebpf(args) => ebpf::run(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(err) => {
            eprintln!("xtask: {err:#}");
            ExitCode::FAILURE
        }
    }
}
