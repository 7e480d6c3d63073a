//! Builds tracer-ebpf into the committed BPF objects, the same bytes from any folder.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{
    bpf_object, run,
    rust_src::{self, Choice, archive, vendor},
    rustc_wrapper, tools, verified,
};

/// The programs of tracer-ebpf, of each of which an object is built and committed.
const PROGRAMS: [&str; 3] = ["memlens", "kernel", "registers"];
const TARGET: &str = "bpfel-unknown-none";

/// The processors whose kernels objects are built for. The target is one; what differs is told by a feature.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Arch {
    /// x86-64
    X86_64,
    /// aarch64
    Aarch64,
}

impl Arch {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::X86_64, Self::Aarch64];

    /// As aya names it.
    const fn name(self) -> &'static str {
        match self {
            Self::X86_64 => "x86_64",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The features of tracer-ebpf.
    const fn features(self) -> &'static str {
        match self {
            Self::X86_64 => "",
            Self::Aarch64 => "aarch64",
        }
    }

    /// The committed object of a program, as seen from the checkout.
    fn object(self, program: &str) -> String {
        match self {
            Self::X86_64 => format!("tracer/src/bpf/{program}.bpf.o"),
            Self::Aarch64 => format!("tracer/src/bpf/{program}.aarch64.bpf.o"),
        }
    }

    /// Where cargo builds, apart from what it builds for other processors.
    pub fn target_dir(self, parent: &Path) -> PathBuf {
        match self {
            Self::X86_64 => parent.join("ebpf"),
            Self::Aarch64 => parent.join("ebpf-aarch64"),
        }
    }
}

/// `cargo xtask ebpf`
#[derive(clap::Args)]
pub struct Args {
    /// Change nothing: fail unless a build from scratch gives the committed bytes
    #[arg(long)]
    check: bool,
    /// Print the size and the instructions of each program; as root also what the verifier walks through, which must be
    /// within the bounds of tracer-ebpf/verified.txt
    #[arg(long)]
    stats: bool,
    /// Build core from the vendored copy of its source, also where the toolchain has the source
    #[arg(long)]
    use_vendored: bool,
    /// Only make the vendored copy of core's source anew, for another version of the compiler
    #[arg(long, conflicts_with_all = ["check", "stats", "use_vendored"])]
    vendor: bool,
}

impl Args {
    fn choice(&self) -> Choice {
        if self.use_vendored {
            Choice::Vendored
        } else {
            Choice::Any
        }
    }
}

/// Builds, then writes or compares the objects.
pub fn run(args: &Args) -> Result<()> {
    let root = run::workspace_root()?;
    if args.vendor {
        return vendor::make(&root);
    }
    if args.check {
        // Where the toolchain has the source, nothing else would notice that the copy is gone.
        archive::read(&root)?;
    }
    // Nothing of an earlier build may hide a difference.
    let fresh = tempfile::tempdir().context("cannot create a temporary folder")?;
    let library = rust_src::library(&root, &tools::cache_dir(&root), args.choice())?;
    for arch in Arch::ALL {
        if args.check {
            finish(args, &root, arch, &arch.target_dir(fresh.path()), &library)?;
        } else {
            finish(
                args,
                &root,
                arch,
                &arch.target_dir(&root.join("target")),
                &library,
            )?;
        }
    }
    if args.stats {
        if nix::unistd::geteuid().is_root() {
            print!("{}", verified::compare(&root)?);
        } else {
            eprintln!("xtask: the verifier's own counts need root: run it as root to compare them");
        }
    }
    Ok(())
}

/// Builds in a target folder, and writes or compares each object.
fn finish(args: &Args, root: &Path, arch: Arch, target_dir: &Path, library: &Path) -> Result<()> {
    let built = objects(root, arch, target_dir, library)?;
    for (program, bytes) in PROGRAMS.into_iter().zip(built) {
        let object = arch.object(program);
        if args.check {
            compare(&bytes, root, &object)?;
        } else {
            write(&bytes, root, &object)?;
        }
        if args.stats {
            print!("{}", bpf_object::stats(&bytes)?);
        }
    }
    Ok(())
}

/// Puts a built object in the place of the committed one, if it is another.
fn write(bytes: &[u8], root: &Path, object: &str) -> Result<()> {
    let committed = root.join(object);
    let changed = fs::read(&committed).ok().as_deref() != Some(bytes);
    if changed {
        fs::write(&committed, bytes)
            .with_context(|| format!("cannot write {}", committed.display()))?;
    }
    eprintln!(
        "xtask: {object}: {} bytes, {}",
        bytes.len(),
        if changed { "written" } else { "unchanged" }
    );
    Ok(())
}

/// Fails unless the build gave the committed bytes.
fn compare(built: &[u8], root: &Path, object: &str) -> Result<()> {
    let old = fs::read(root.join(object))
        .with_context(|| format!("cannot read {object}: `cargo xtask ebpf` builds it"))?;
    if old != built {
        let at = old.iter().zip(built).take_while(|(a, b)| a == b).count();
        bail!(
            "{object} is not what tracer-ebpf builds to ({} bytes committed, {} built, first difference at {at:#x}): \
             run `cargo xtask ebpf` and commit the object",
            old.len(),
            built.len()
        );
    }
    eprintln!("xtask: {object} is up to date");
    Ok(())
}

/// Builds the objects of an architecture in a target folder, with `core` from a library folder.
pub fn objects(root: &Path, arch: Arch, target_dir: &Path, library: &Path) -> Result<Vec<Vec<u8>>> {
    run::run(&mut cargo(root, "build", arch, target_dir, library)?)?;
    PROGRAMS
        .iter()
        .map(|program| built(root, target_dir, library, program))
        .collect()
}

/// The bytes of an object that was built in a target folder, without debug sections.
fn built(root: &Path, target_dir: &Path, library: &Path, program: &str) -> Result<Vec<u8>> {
    let artefact = target_dir.join(TARGET).join("release").join(program);
    let full =
        fs::read(&artefact).with_context(|| format!("the build left no {}", artefact.display()))?;
    let bytes = bpf_object::without_dwarf(&full)?;
    bpf_object::check_no_paths(
        &bytes,
        &[
            root,
            target_dir,
            library,
            &tools::sysroot()?,
            &tools::cargo_home()?,
        ],
    )?;
    Ok(bytes)
}

/// A cargo command on tracer-ebpf for the BPF target, with `core` from a library folder; fetches the linker.
pub fn cargo(
    root: &Path,
    subcommand: &str,
    arch: Arch,
    target_dir: &Path,
    library: &Path,
) -> Result<Command> {
    tools::check_rustc()?;
    let linker = tools::bpf_linker(&tools::cache_dir(root))?;
    let manifest = root.join("tracer-ebpf/Cargo.toml");
    let mut prefixes = vec![(root.to_path_buf(), "/memlens")];
    prefixes.extend(
        registry_folders(&manifest)?
            .into_iter()
            .map(|dir| (dir, "/registry")),
    );
    prefixes.push((library.to_path_buf(), "/rust/library"));
    prefixes.push((target_dir.to_path_buf(), "/target"));

    let mut cargo = run::cargo();
    cargo
        .args([
            subcommand,
            "--release",
            "--locked",
            "-Z",
            "build-std=core",
            "--target",
            TARGET,
        ])
        .arg("--manifest-path")
        .arg(&manifest)
        .arg("--target-dir")
        .arg(target_dir)
        .args(["--features", arch.features()])
        // A folder's .cargo/config.toml counts by working folder, not by manifest.
        .current_dir(root)
        .env("RUSTC_BOOTSTRAP", "1")
        // Incremental code comes out in another order.
        .env("CARGO_INCREMENTAL", "0")
        .env("__CARGO_TESTS_ONLY_SRC_ROOT", library)
        .env("AYA_BPF_TARGET_ARCH", arch.name())
        .env("CARGO_ENCODED_RUSTFLAGS", rustflags(&linker, &prefixes));
    rustc_wrapper::install(&mut cargo)?;
    Ok(cargo)
}

/// The compiler flags, joined as `CARGO_ENCODED_RUSTFLAGS` wants them.
fn rustflags(linker: &Path, prefixes: &[(PathBuf, &str)]) -> String {
    let mut flags = vec![
        "-Ctarget-cpu=v3".to_owned(),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
        format!("-Clinker={}", linker.display()),
    ];
    // The last prefix that fits wins, so the special ones stand behind the checkout.
    flags.extend(
        prefixes
            .iter()
            .map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display())),
    );
    flags.join("\x1f")
}

/// The folders that hold the dependencies' sources; their names contain a host name.
fn registry_folders(manifest: &Path) -> Result<BTreeSet<PathBuf>> {
    let text = run::output(
        run::cargo()
            .args([
                "metadata",
                "--format-version",
                "1",
                "--locked",
                "--manifest-path",
            ])
            .arg(manifest),
    )
    .context("cannot resolve the dependencies of tracer-ebpf")?;
    let metadata: serde_json::Value =
        serde_json::from_str(&text).context("cargo metadata printed no JSON")?;
    Ok(registry_folders_of(&metadata))
}

/// The grandparents of the manifests that do not belong to the checkout.
fn registry_folders_of(metadata: &serde_json::Value) -> BTreeSet<PathBuf> {
    let packages = metadata["packages"]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default();
    packages
        .iter()
        .filter(|package| !package["source"].is_null())
        .filter_map(|package| package["manifest_path"].as_str())
        .filter_map(|manifest| Path::new(manifest).ancestors().nth(2))
        .map(Path::to_path_buf)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registry_folders_skip_path_packages() {
        let metadata = serde_json::json!({"packages": [
            {"source": null, "manifest_path": "/src/memlens/tracer-ebpf/Cargo.toml"},
            {"source": "registry+x", "manifest_path": "/c/registry/src/host-1/aya-ebpf-0.2.1/Cargo.toml"},
            {"source": "registry+x", "manifest_path": "/c/registry/src/host-1/syn-2.0.0/Cargo.toml"},
        ]});
        let folders: Vec<PathBuf> = registry_folders_of(&metadata).into_iter().collect();
        assert_eq!(folders, [PathBuf::from("/c/registry/src/host-1")]);
    }

    #[test]
    fn flags_remap_in_order() {
        let flags = rustflags(
            Path::new("/l"),
            &[("/a".into(), "/memlens"), ("/a/target".into(), "/target")],
        );
        let flags: Vec<&str> = flags.split('\x1f').collect();
        assert_eq!(
            flags[3..],
            [
                "-Clinker=/l",
                "--remap-path-prefix=/a=/memlens",
                "--remap-path-prefix=/a/target=/target"
            ]
        );
    }
}
