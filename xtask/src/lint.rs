//! Formatting, clippy and what dependencies may be, for the workspace and for the kernel side.

use std::process::Command;

use anyhow::{Context as _, Result};

use crate::{
    ebpf::{self, Arch},
    run,
    rust_src::{self, Choice},
    tools,
};

/// The manifests of the workspace and of the kernel side.
const MANIFESTS: [&str; 2] = ["Cargo.toml", "tracer-ebpf/Cargo.toml"];

/// What to check: both without a flag.
#[derive(clap::Args)]
pub struct Args {
    /// Formatting alone
    #[arg(long, conflicts_with = "clippy")]
    fmt: bool,
    /// Clippy alone
    #[arg(long)]
    clippy: bool,
}

/// Fails on the first finding.
pub fn run(args: &Args) -> Result<()> {
    if !args.clippy {
        fmt()?;
    }
    if !args.fmt {
        clippy()?;
    }
    Ok(())
}

fn fmt() -> Result<()> {
    let root = run::workspace_root()?;
    for manifest in MANIFESTS {
        run::run(
            run::cargo()
                .args(["fmt", "--all", "--check", "--manifest-path", manifest])
                .current_dir(&root),
        )
        .context("run `cargo fmt --all`, in tracer-ebpf as well")?;
    }
    Ok(())
}

fn clippy() -> Result<()> {
    let root = run::workspace_root()?;
    run::run(
        run::cargo()
            .args([
                "clippy",
                "--workspace",
                "--all-targets",
                "--locked",
                "--",
                "-D",
                "warnings",
            ])
            .current_dir(&root),
    )?;
    let library = rust_src::library(&root, &tools::cache_dir(&root), Choice::Any)?;
    for arch in Arch::ALL {
        let target_dir = arch.target_dir(&root.join("target/clippy"));
        let mut kernel_side = ebpf::cargo(&root, "clippy", arch, &target_dir, &library)?;
        run::run(kernel_side.args(["--", "-D", "warnings"]))?;
    }
    Ok(())
}

/// Checks licenses, sources and duplicates of all dependencies.
pub fn deny() -> Result<()> {
    let root = run::workspace_root()?;
    let program = tools::cargo_deny(&tools::cache_dir(&root))?;
    for manifest in MANIFESTS {
        run::run(
            Command::new(&program)
                .args(["--manifest-path", manifest, "--locked"])
                .args(["--config", "deny.toml", "check"])
                .args(["--hide-inclusion-graph", "bans", "licenses", "sources"])
                .current_dir(&root),
        )
        .context("deny.toml says what a dependency may be")?;
    }
    Ok(())
}
