//! What a test needs of the machine. Where it is missing the test fails and says so; nothing is skipped.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};

/// The test runs as root.
pub fn root() -> Result<()> {
    // SAFETY: geteuid takes nothing and cannot fail.
    let euid = unsafe { libc::geteuid() };
    ensure!(
        euid == 0,
        "this test loads BPF programs and needs root: run `cargo xtask test` as root"
    );
    Ok(())
}

/// A program of the machine, looked for in `PATH` and in the folders for administrators.
pub fn program(name: &str) -> Result<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin", "/usr/bin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|file| file.is_file())
        .with_context(|| {
            format!("{name} is not installed: `cargo xtask test` installs what the tests need")
        })
}

/// A shared library of the machine, by its file name.
pub fn library(name: &str) -> Result<PathBuf> {
    ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"]
        .iter()
        .map(|folder| Path::new(folder).join(name))
        .find(|file| file.is_file())
        .with_context(|| {
            format!("{name} is not installed: `cargo xtask test` installs what the tests need")
        })
}

/// A Python that has DuckDB.
pub fn duckdb() -> Result<PathBuf> {
    let python = crate::paths::target().join("venv/bin/python");
    ensure!(
        python.exists(),
        "there is no {}: `cargo xtask test` installs what the tests need",
        python.display()
    );
    Ok(python)
}
