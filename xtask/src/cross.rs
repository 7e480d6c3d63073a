//! Builds memlens for aarch64: the standard library from its source, the C parts and the linking by Debian's cross
//! compiler.
//!
//! No distribution has the library of [`tools::RUSTC`] for aarch64 as a package for other machines, so it is compiled
//! as that of the BPF build is, from the same source.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use crate::{debian::Archive, run, rust_src, tools};

/// The target.
const TARGET: &str = "aarch64-unknown-linux-gnu";
/// The Debian suite of the compiler: an old one, whose programs run on later ones, too.
const SUITE: &str = "bookworm";
/// The compiler, as installed by Debian's gcc-aarch64-linux-gnu.
const COMPILER: &str = "aarch64-linux-gnu-gcc";

/// The compiler, what it needs on this machine, and the C library that it links.
const PACKAGES: [&str; 12] = [
    "binutils-aarch64-linux-gnu",
    "cpp-12-aarch64-linux-gnu",
    "gcc-12-aarch64-linux-gnu",
    "libc6-arm64-cross",
    "libc6-dev-arm64-cross",
    "libgcc-12-dev-arm64-cross",
    "libgcc-s1-arm64-cross",
    "libgmp10",
    "libisl23",
    "libmpc3",
    "libmpfr6",
    "linux-libc-dev-arm64-cross",
];

/// A compiler for the target.
struct Compiler {
    /// The program.
    gcc: PathBuf,
    /// The archiver beside it.
    ar: PathBuf,
    /// Where it was unpacked, if it was: it looks for its files from there.
    unpacked: Option<PathBuf>,
}

/// Builds the static binary; prints where it is.
pub fn run() -> Result<()> {
    let root = run::workspace_root()?;
    tools::check_rustc()?;
    let cache = tools::cache_dir(&root);
    let compiler = compiler(&cache)?;
    let folder = root.join("target/cross");
    let mut cargo = run::cargo();
    cargo
        .args(["build", "--release", "--locked", "-p", "memlens"])
        .args(["-Z", "build-std=std", "--target", TARGET])
        .arg("--target-dir")
        .arg(&folder)
        .current_dir(&root)
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "__CARGO_TESTS_ONLY_SRC_ROOT",
            rust_src::fetch::whole_library(&cache)?,
        );
    compiler.set(&mut cargo);
    run::run(&mut cargo)?;
    println!("{}", folder.join(TARGET).join("release/memlens").display());
    Ok(())
}

impl Compiler {
    /// Tells cargo and the build scripts of it.
    fn set(&self, cargo: &mut Command) {
        let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned()];
        if let Some(unpacked) = &self.unpacked {
            let sysroot = format!("--sysroot={}", unpacked.display());
            flags.push(format!("-Clink-arg={sysroot}"));
            cargo.env("CFLAGS_aarch64_unknown_linux_gnu", sysroot);
            cargo.env("LD_LIBRARY_PATH", unpacked.join("usr/lib/x86_64-linux-gnu"));
        }
        cargo
            .env("CC_aarch64_unknown_linux_gnu", &self.gcc)
            .env("AR_aarch64_unknown_linux_gnu", &self.ar)
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", &self.gcc)
            // Of this target alone: build scripts and macros, which run here, cannot be static.
            .env(
                "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_RUSTFLAGS",
                flags.join(" "),
            );
    }
}

/// The installed compiler, or a fetched one.
fn compiler(cache: &Path) -> Result<Compiler> {
    if run::in_path(COMPILER) {
        return Ok(Compiler {
            gcc: COMPILER.into(),
            ar: "aarch64-linux-gnu-ar".into(),
            unpacked: None,
        });
    }
    let unpacked = cache.join("gcc-12-aarch64");
    if !unpacked.is_dir() {
        eprintln!("xtask: fetching a compiler for aarch64, once");
        // Moved into place when it is whole.
        let partial = unpacked.with_extension("partial");
        if partial.exists() {
            std::fs::remove_dir_all(&partial)?;
        }
        let packages = PACKAGES.map(str::to_owned);
        Archive::open(SUITE)?
            .unpack(&packages, &partial)
            .context("cannot fetch a compiler for aarch64: install gcc-aarch64-linux-gnu")?;
        std::fs::rename(&partial, &unpacked)?;
    }
    let program = |name: &str| unpacked.join("usr/bin").join(name);
    Ok(Compiler {
        gcc: program("aarch64-linux-gnu-gcc-12"),
        ar: program("aarch64-linux-gnu-ar"),
        unpacked: Some(unpacked.clone()),
    })
}
