//! The tools that the BPF build and the checks need, fetched once.

use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::run;

/// The compiler that the committed object is built with: another one gives other bytes.
pub const RUSTC: &str = "1.95.0";
/// The last line of bpf-linker that finds LLVM in rustc itself; later ones want a system LLVM.
const BPF_LINKER: &str = "0.10.4";
/// Must be the LLVM of [`RUSTC`].
const BPF_LINKER_FEATURE: &str = "rust-llvm-22";

/// Checks the dependencies against `deny.toml`.
const CARGO_DENY: &str = "0.20.2";

/// Make packages out of what tracer/Cargo.toml says.
const CARGO_DEB: &str = "3.8.0";
const CARGO_GENERATE_RPM: &str = "0.21.1";
/// Lists the parts of the binary.
const CARGO_CYCLONEDX: &str = "0.5.9";
/// Makes the book of the documents.
const MDBOOK: &str = "0.5.4";

/// Where fetched tools stay: shared by all checkouts if `XDG_CACHE_HOME` is set.
pub fn cache_dir(root: &Path) -> PathBuf {
    match std::env::var_os("XDG_CACHE_HOME").map(PathBuf::from) {
        Some(dir) if dir.is_absolute() => dir.join("memlens"),
        _ => root.join("target/tools"),
    }
}

/// Fails unless the compiler in use is the one that the object is built with.
pub fn check_rustc() -> Result<()> {
    let text = run::output(run::rustc().arg("--version"))?;
    let version = text.split_whitespace().nth(1).unwrap_or("unknown");
    if version != RUSTC {
        bail!(
            "the BPF object is built with rustc {RUSTC}, this is {version}: install it and run `cargo +{RUSTC} xtask ebpf`"
        );
    }
    Ok(())
}

/// The compiler's own folder.
pub fn sysroot() -> Result<PathBuf> {
    let text = run::output(run::rustc().args(["--print", "sysroot"]))?;
    Ok(PathBuf::from(text.trim()))
}

/// Where cargo keeps the sources of dependencies.
pub fn cargo_home() -> Result<PathBuf> {
    std::env::var_os("CARGO_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::home_dir().map(|home| home.join(".cargo")))
        .context("neither CARGO_HOME nor HOME is set")
}

/// Path of bpf-linker, built on first use.
pub fn bpf_linker(cache: &Path) -> Result<PathBuf> {
    let features = ["--no-default-features", "--features", BPF_LINKER_FEATURE];
    installed(cache, "bpf-linker", BPF_LINKER, &features)
}

/// Path of cargo-deny, built on first use.
pub fn cargo_deny(cache: &Path) -> Result<PathBuf> {
    // It runs once a build: optimizing it would take longer than it saves.
    installed(cache, "cargo-deny", CARGO_DENY, &["--debug"])
}

/// Path of cargo-deb, built on first use.
pub fn cargo_deb(cache: &Path) -> Result<PathBuf> {
    installed(cache, "cargo-deb", CARGO_DEB, &["--debug"])
}

/// Path of cargo-generate-rpm, built on first use.
pub fn cargo_generate_rpm(cache: &Path) -> Result<PathBuf> {
    installed(
        cache,
        "cargo-generate-rpm",
        CARGO_GENERATE_RPM,
        &["--debug"],
    )
}

/// Path of cargo-cyclonedx, built on first use.
pub fn cargo_cyclonedx(cache: &Path) -> Result<PathBuf> {
    installed(cache, "cargo-cyclonedx", CARGO_CYCLONEDX, &["--debug"])
}

/// Path of mdbook, built on first use.
pub fn mdbook(cache: &Path) -> Result<PathBuf> {
    installed(
        cache,
        "mdbook",
        MDBOOK,
        &["--debug", "--no-default-features"],
    )
}

/// Path of a program from crates.io, built on first use.
fn installed(cache: &Path, name: &str, version: &str, more: &[&str]) -> Result<PathBuf> {
    let prefix = cache.join(format!("{name}-{version}"));
    let program = prefix.join("bin").join(name);
    if program.is_file() {
        return Ok(program);
    }
    eprintln!("xtask: building {name} {version}, once");
    let mut install = run::cargo();
    install
        .args(["install", name, "--version", version, "--locked"])
        .args(more)
        .arg("--root")
        .arg(&prefix)
        // Cargo would take the flags and the target folder of the outer build.
        .env_remove("CARGO_ENCODED_RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .current_dir(cache_parent(cache)?);
    run::run(&mut install).with_context(|| {
        format!("cannot build {name} {version}: it needs a C compiler and the network, once")
    })?;
    Ok(program)
}

/// Creates the cache folder, so that it can be a working folder.
fn cache_parent(cache: &Path) -> Result<&Path> {
    std::fs::create_dir_all(cache).with_context(|| format!("cannot create {}", cache.display()))?;
    Ok(cache)
}
