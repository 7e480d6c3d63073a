//! Fetches the whole source of the compiler's library, which the vendored archive is made of.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::{is_complete, own_library};
use crate::{debian::Archive, run, tools};

/// The Debian suite that may carry rust-src of [`tools::RUSTC`].
const SUITE: &str = "trixie-backports";

/// The `library` folder of the compiler's whole source: the toolchain's own component, added by rustup where it is not
/// there, or Debian's package.
pub fn whole_library(cache: &Path) -> Result<PathBuf> {
    let own = own_library()?;
    if is_complete(&own) {
        return Ok(own);
    }
    eprintln!("xtask: fetching the source of rustc {}", tools::RUSTC);
    let rustup = rustup_component();
    if rustup.is_ok() && is_complete(&own) {
        return Ok(own);
    }
    let rustup = rustup
        .err()
        .map_or_else(|| "it left no source".to_owned(), |err| format!("{err:#}"));
    debian_library(&cache.join(format!("rust-src-{}", tools::RUSTC))).with_context(|| {
        format!(
            "cannot fetch the source of rustc {} (rustup: {rustup}); put it into {} or try again with a network",
            tools::RUSTC,
            own.display()
        )
    })
}

fn rustup_component() -> Result<()> {
    if !run::in_path("rustup") {
        bail!("not installed");
    }
    run::output(Command::new("rustup").args(["component", "add", "rust-src"])).map(drop)
}

/// The `library` folder of Debian's package, unpacked into a folder unless it is there already.
fn debian_library(into: &Path) -> Result<PathBuf> {
    let library = into.join(format!("usr/src/rustc-{}/library", tools::RUSTC));
    if !is_complete(&library) {
        debian_package(into)?;
    }
    if !is_complete(&library) {
        bail!(
            "{} has no Cargo.lock: remove {} and try again",
            library.display(),
            into.display()
        );
    }
    eprintln!("xtask: this is Debian's copy, which may have changes: rustup's has none");
    Ok(library)
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
