//! Victims in languages that bring a runtime of their own: Go and Java.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{Stepped, need, paths};

/// Builds the Go victim, with or without C in it.
pub fn go(cgo: bool) -> Result<PathBuf> {
    let folder = paths::target().join("victims").join("go");
    let output = folder.join(if cgo { "go-with-c" } else { "go-alone" });
    let mut command = Command::new(need::program("go")?);
    command
        .current_dir(paths::victims().join("go"))
        .args(["build", "-o"])
        .arg(&output)
        // Whatever a user has set: no modules, no network, nothing in the home folder.
        .envs([
            ("GO111MODULE", "off"),
            ("GOFLAGS", ""),
            ("GOTOOLCHAIN", "local"),
        ])
        .env("CGO_ENABLED", if cgo { "1" } else { "0" })
        .env("GOCACHE", folder.join("cache"));
    run(&mut command)?;
    Ok(output)
}

/// A command that runs the Java victim.
pub fn java() -> Result<Command> {
    let folder = paths::target().join("victims").join("java");
    let source = paths::victims().join("Direct.java");
    compile_java(&source, &folder)?;
    let mut command = Command::new(need::program("java")?);
    command.arg("-cp").arg(folder).args(["-Xmx200m", "Direct"]);
    Ok(command)
}

/// The program that calls in many ways, compiled, so often each way before it is ready, in this Java.
pub fn mixed(java: &Path, often: u32, options: &[&str]) -> Result<Stepped> {
    let folder = paths::target().join("victims").join("java-mixed");
    let source = paths::victims().join("Mixed.java");
    let mut compiler = Command::new(need::program("javac")?);
    compiler
        .args(["--release", "11", "-nowarn", "-d"])
        .args([&folder, &source]);
    run(&mut compiler)?;
    let mut command = Command::new(java);
    command
        .args(["-XX:+UnlockDiagnosticVMOptions", "-XX:+ShowHiddenFrames"])
        .args(options)
        .arg("-cp")
        .arg(folder)
        .args(["Mixed", &often.to_string()]);
    let mut java = Stepped::start(command)?;
    java.ready()?;
    Ok(java)
}

fn compile_java(source: &Path, folder: &Path) -> Result<()> {
    let mut command = Command::new(need::program("javac")?);
    command.arg("-d").arg(folder).arg(source);
    run(&mut command)
}

fn run(command: &mut Command) -> Result<()> {
    let result = command
        .output()
        .with_context(|| format!("cannot run {:?}", command.get_program()))?;
    ensure!(
        result.status.success(),
        "{command:?} failed, {}:\n{}",
        result.status,
        String::from_utf8_lossy(&result.stderr)
    );
    Ok(())
}
