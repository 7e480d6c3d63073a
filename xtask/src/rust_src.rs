//! Finds or fetches the source of `core`, which the BPF build compiles for its own target.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{debian::Archive, run, tools};

/// The Debian suite that carries rust-src of [`tools::RUSTC`].
const SUITE: &str = "trixie-backports";

/// The `library` folder of the compiler's source: the compiler's own, a cached one, or a fetched one.
pub fn library(cache: &Path) -> Result<PathBuf> {
    let own = tools::sysroot()?.join("lib/rustlib/src/rust/library");
    if is_complete(&own) {
        return Ok(own);
    }
    let cached = cache.join(format!("rust-src-{}", tools::RUSTC));
    let unpacked = cached.join(format!("usr/src/rustc-{}/library", tools::RUSTC));
    if is_complete(&unpacked) {
        return Ok(unpacked);
    }
    eprintln!("xtask: fetching the source of rustc {}, once", tools::RUSTC);
    let rustup = rustup_component();
    if rustup.is_ok() && is_complete(&own) {
        return Ok(own);
    }
    let rustup = rustup
        .err()
        .map_or_else(|| "it left no source".to_owned(), |err| format!("{err:#}"));
    if let Err(debian) = debian_package(&cached) {
        bail!(
            "cannot fetch the source of rustc {}: rustup: {rustup}; Debian: {debian:#}; put it into {} or try again with a network",
            tools::RUSTC,
            own.display()
        );
    }
    if !is_complete(&unpacked) {
        bail!(
            "{} has no Cargo.lock: remove {} and try again",
            unpacked.display(),
            cached.display()
        );
    }
    Ok(unpacked)
}

/// `build-std` reads the lock file beside the sources; a distribution may ship them without it.
fn is_complete(library: &Path) -> bool {
    library.join("Cargo.lock").is_file() && library.join("core/src/lib.rs").is_file()
}

fn rustup_component() -> Result<()> {
    if !run::in_path("rustup") {
        bail!("not installed");
    }
    run::output(Command::new("rustup").args(["component", "add", "rust-src"])).map(drop)
}

/// Unpacks Debian's rust-src of the compiler's version.
fn debian_package(into: &Path) -> Result<()> {
    let archive = Archive::open(SUITE)?;
    let version = package_version(&archive.versions("rust-src")?, tools::RUSTC)
        .with_context(|| format!("{SUITE} has no rust-src {}", tools::RUSTC))?;
    archive.unpack(&[format!("rust-src={version}")], into)
}

/// The newest package version in `apt-cache madison` output that carries the compiler's version.
fn package_version(madison: &str, rustc: &str) -> Option<String> {
    madison
        .lines()
        .filter_map(|line| line.split('|').nth(1))
        .map(str::trim)
        .find(|version| {
            version
                .strip_prefix(rustc)
                .is_some_and(|rest| rest.starts_with(['+', '-', '~']))
        })
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn package_of_the_compilers_version() {
        let table = "  rust-src | 1.95.1+dfsg1-1 | http://m trixie-backports/main amd64 Packages\n\
                     \x20 rust-src | 1.95.0+dfsg1-2~bpo13+1 | http://m trixie-backports/main amd64 Packages\n";
        assert_eq!(
            package_version(table, "1.95.0").as_deref(),
            Some("1.95.0+dfsg1-2~bpo13+1")
        );
        assert_eq!(package_version(table, "1.9"), None);
        assert_eq!(package_version("", "1.95.0"), None);
    }
}
