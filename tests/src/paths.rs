//! Where the things are that the tests run: memlens itself, the victims' sources, the cache of built victims.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use anyhow::{Context, Result, anyhow, ensure};

/// Root of the checkout.
pub fn workspace() -> PathBuf {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    tests.parent().unwrap_or(tests).to_path_buf()
}

/// Cargo's output folder.
pub fn target() -> PathBuf {
    std::env::var_os("CARGO_TARGET_DIR").map_or_else(
        || workspace().join("target"),
        |folder| workspace().join(folder),
    )
}

/// Folder with the victims' sources.
pub fn victims() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("victims")
}

/// Folder with the tests of the HTML report, whose packages must be there.
pub fn browser_tests() -> Result<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
    ensure!(
        folder.join("node_modules").exists(),
        "there is no {}: `cargo xtask test` installs what the tests need",
        folder.join("node_modules").display()
    );
    Ok(folder)
}

/// The program under test: `MEMLENS_BIN`, else the newest built one, else one built now.
pub fn memlens() -> Result<PathBuf> {
    static FOUND: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    FOUND
        .get_or_init(|| find_memlens().map_err(|error| format!("{error:#}")))
        .clone()
        .map_err(|error| anyhow!(error))
}

fn find_memlens() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("MEMLENS_BIN") {
        let path = PathBuf::from(path);
        ensure!(
            path.is_file(),
            "MEMLENS_BIN names {}, which is no file",
            path.display()
        );
        return Ok(path);
    }
    let built = |profile: &str| target().join(profile).join("memlens");
    let newest = ["release", "debug"]
        .map(built)
        .into_iter()
        .filter_map(|path| Some((path.metadata().ok()?.modified().ok()?, path)))
        .max();
    if let Some((_, path)) = newest {
        return Ok(path);
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--package", "memlens"])
        .current_dir(workspace())
        .status()
        .context("cannot run cargo to build memlens")?;
    ensure!(
        status.success(),
        "cargo build --package memlens failed: {status}"
    );
    Ok(built("debug"))
}
