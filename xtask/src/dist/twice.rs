//! Whether the same commit gives the same bytes in another folder.

use std::{fs, process::Command};

use anyhow::{Result, bail, ensure};

use super::Dist;
use crate::run;

/// Builds the last commit in a folder of another name and length, and compares all files.
pub fn check(dist: &Dist) -> Result<()> {
    let changes = run::output(
        Command::new("git")
            .args(["status", "--porcelain", "--untracked-files=no"])
            .current_dir(&dist.root),
    )?;
    ensure!(
        changes.is_empty(),
        "the second build is of the last commit: commit your changes first"
    );
    let folder = tempfile::Builder::new()
        .prefix("memlens-again-")
        .tempdir()?;
    let checkout = folder.path().join("a/checkout/elsewhere");
    run::run(
        Command::new("git")
            .args(["clone", "--quiet", "--no-hardlinks"])
            .args([&dist.root, &checkout]),
    )?;
    let again = Dist::new(&checkout)?;
    // The tools are the same ones.
    let tools = crate::tools::cache_dir(&dist.root);
    std::os::unix::fs::symlink(tools, checkout.join("target/tools"))?;
    again.make()?;
    ensure!(
        dist.names()? == again.names()?,
        "the second build has other files"
    );
    for name in dist.names()? {
        if fs::read(dist.out.join(&name))? != fs::read(again.out.join(&name))? {
            bail!("{name} has other bytes in another folder");
        }
    }
    println!("two builds in two folders: the same bytes");
    Ok(())
}
