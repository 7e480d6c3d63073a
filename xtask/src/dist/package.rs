//! The files of a release: packages, archives, the list of parts.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result, bail};

use super::{Dist, TARGET};
use crate::{run, tools};

/// Makes all files of a release out of the stage.
pub fn all(dist: &Dist) -> Result<()> {
    deb(dist)?;
    rpm(dist)?;
    archive(dist)?;
    debug(dist)?;
    parts(dist)
}

/// What tracer/Cargo.toml says of the package for Debian.
fn deb(dist: &Dist) -> Result<()> {
    let program = tools::cargo_deb(&tools::cache_dir(&dist.root))?;
    run::run(
        Command::new(program)
            .args([
                "--package",
                "memlens",
                "--no-build",
                "--no-strip",
                "--locked",
            ])
            .args(["--target", TARGET, "--output"])
            .arg(&dist.out)
            .env("SOURCE_DATE_EPOCH", &dist.epoch)
            .current_dir(&dist.root),
    )
}

/// What tracer/Cargo.toml says of the package for Fedora and the like.
fn rpm(dist: &Dist) -> Result<()> {
    let program = tools::cargo_generate_rpm(&tools::cache_dir(&dist.root))?;
    run::run(
        Command::new(program)
            .args([
                "--package",
                "tracer",
                "--target",
                TARGET,
                "--auto-req",
                "disabled",
            ])
            .arg("--output")
            .arg(&dist.out)
            .env("SOURCE_DATE_EPOCH", &dist.epoch)
            .current_dir(&dist.root),
    )
}

/// For all others: the binary, its pages, completions, the unit, samples, licenses.
fn archive(dist: &Dist) -> Result<()> {
    let name = format!("memlens-{}-x86_64-linux", dist.version);
    let folder = dist.out.join(&name);
    fs::create_dir_all(folder.join("completions"))?;
    for file in ["memlens.bash", "_memlens", "memlens.fish"] {
        fs::copy(dist.stage.join(file), folder.join("completions").join(file))?;
    }
    fs::copy(dist.stage.join("memlens"), folder.join("memlens"))?;
    copy_folder(&dist.stage.join("man1"), &folder.join("man1"))?;
    samples(dist, &folder)?;
    for file in [
        "LICENSE-MIT",
        "LICENSE-APACHE",
        "LICENSE-GPL-2.0",
        "CHANGELOG.md",
    ] {
        fs::copy(dist.root.join(file), folder.join(file))?;
    }
    tar(dist, &name)
}

/// What is in dist/, but for what is not of the repository.
fn samples(dist: &Dist, folder: &Path) -> Result<()> {
    let list = run::output(
        Command::new("git")
            .args(["ls-files", "dist"])
            .current_dir(&dist.root),
    )?;
    for file in list.lines() {
        let target = folder.join(file);
        fs::create_dir_all(target.parent().context("a file without a folder")?)?;
        fs::copy(dist.root.join(file), target)?;
    }
    Ok(())
}

/// The debug file where debuggers and `memlens report --debug-dir` look for it.
fn debug(dist: &Dist) -> Result<()> {
    let name = format!("memlens-{}-x86_64-linux-debug", dist.version);
    let id = build_id(&dist.stage.join("memlens"))?;
    let (first, rest) = id.split_at(2);
    let folder = dist.out.join(&name).join(".build-id").join(first);
    fs::create_dir_all(&folder)?;
    fs::copy(
        dist.stage.join("memlens.debug"),
        folder.join(format!("{rest}.debug")),
    )?;
    tar(dist, &name)
}

/// The build id of a program, in hexadecimal digits.
fn build_id(program: &Path) -> Result<String> {
    let notes = run::output(
        Command::new("readelf")
            .arg("-n")
            .arg(program)
            .env("LC_ALL", "C"),
    )?;
    let line = notes
        .lines()
        .find_map(|line| line.trim().strip_prefix("Build ID: "));
    match line.map(str::trim) {
        Some(id) if id.len() > 2 => Ok(id.to_owned()),
        _ => bail!("{} has no build id", program.display()),
    }
}

/// Packs a folder of the result, and removes it: no times, owners or orders of this machine.
fn tar(dist: &Dist, name: &str) -> Result<()> {
    run::run(
        Command::new("tar")
            .args([
                "--sort=name",
                "--owner=0",
                "--group=0",
                "--numeric-owner",
                "--mode=u=rwX,go=rX",
            ])
            .arg(format!("--mtime=@{}", dist.epoch))
            .args(["-cJf", &format!("{name}.tar.xz"), name])
            .current_dir(&dist.out),
    )?;
    fs::remove_dir_all(dist.out.join(name))?;
    Ok(())
}

fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        match entry.file_type()?.is_dir() {
            true => copy_folder(&entry.path(), &target)?,
            false => {
                fs::copy(entry.path(), target)?;
            }
        }
    }
    Ok(())
}

/// The crates that the binary is made of, with versions and licenses: CycloneDX.
fn parts(dist: &Dist) -> Result<()> {
    let program = tools::cargo_cyclonedx(&tools::cache_dir(&dist.root))?;
    let written = dist.root.join("tracer/memlens.cdx.json");
    run::run(
        Command::new(program)
            .args([
                "cyclonedx",
                "--manifest-path",
                "tracer/Cargo.toml",
                "--format",
                "json",
            ])
            .args(["--target", TARGET, "--override-filename", "memlens.cdx"])
            .env("SOURCE_DATE_EPOCH", &dist.epoch)
            .current_dir(&dist.root),
    )?;
    let text = fs::read_to_string(&written)
        .with_context(|| format!("cargo-cyclonedx wrote no {}", written.display()))?;
    for package in ["tracer", "tracer-common", "xtask", "tests"] {
        // It writes one for each package of the workspace.
        let _ = fs::remove_file(dist.root.join(package).join("memlens.cdx.json"));
    }
    let text = text.replace(&format!("{}", dist.root.display()), "/usr/src/memlens");
    fs::write(
        dist.out.join(format!("memlens-{}.cdx.json", dist.version)),
        text,
    )?;
    Ok(())
}
