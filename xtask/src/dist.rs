//! What is released: a static binary, packages of it, its debug file, a list of its parts, checksums.

mod install;
mod package;
mod twice;

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};

use crate::{packages, run, tools};

/// The target: named, so that its flags do not reach build scripts and macros, which cannot be static.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// Most bytes of the binary without debug information.
const MAX_BYTES: u64 = 12 << 20;
/// The profile in Cargo.toml: optimized as a whole, and for size.
const PROFILE: &str = "dist";
/// How the linker makes the binary smaller: functions of the same code become one, relocations are packed.
const LINKER: [&str; 2] = ["-Wl,--icf=all", "-Wl,-z,pack-relative-relocs"];
/// Symbols that stay, as patterns: those of `memlens demo`, which shows its own stacks, of what starts a program, and of
/// the allocator: a tracer that finds malloc in static programs by its symbol should be one itself.
const KEPT_SYMBOLS: [&str; 14] = [
    "*4demo*",
    "*5alloc*",
    "*3std2rt*",
    "*lang_start*",
    "main",
    "_start",
    "__libc_start*",
    "malloc",
    "free",
    "calloc",
    "realloc",
    "memalign",
    "posix_memalign",
    "aligned_alloc",
];

/// Builds the release into target/dist.
#[derive(clap::Args)]
pub struct Args {
    /// Also build the last commit in another folder, and compare all bytes
    #[arg(long)]
    twice: bool,
    /// Also check the .deb with lintian
    #[arg(long)]
    lint: bool,
    /// Also install, run and remove the .deb in a fresh Debian of this release; as root, may be repeated
    #[arg(long, value_name = "SUITE")]
    install: Vec<String>,
}

/// A release as it is being made.
struct Dist {
    /// The checkout.
    root: PathBuf,
    /// Where the result goes.
    out: PathBuf,
    /// What packages are made of.
    stage: PathBuf,
    /// The version of memlens.
    version: String,
    /// The time of the last commit, which all files and packages get.
    epoch: String,
}

/// Builds, splits, packs and sums up.
pub fn run(args: &Args) -> Result<()> {
    packages::install_missing(packages::DIST)?;
    let dist = Dist::new(&run::workspace_root()?)?;
    dist.make()?;
    if args.lint {
        dist.lint()?;
    }
    for suite in &args.install {
        install::check(&dist, suite)?;
    }
    if args.twice {
        twice::check(&dist)?;
    }
    Ok(())
}

impl Dist {
    fn new(root: &Path) -> Result<Self> {
        let out = root.join("target/dist");
        if out.exists() {
            fs::remove_dir_all(&out).with_context(|| format!("cannot clear {}", out.display()))?;
        }
        let stage = out.join("stage");
        fs::create_dir_all(&stage)?;
        let git = |args: &[&str]| run::output(Command::new("git").args(args).current_dir(root));
        let epoch = git(&["log", "-1", "--format=%ct"])
            .context("releases are made of a commit")?
            .trim()
            .to_owned();
        Ok(Self {
            root: root.to_owned(),
            stage,
            version: env!("CARGO_PKG_VERSION").to_owned(),
            epoch,
            out,
        })
    }

    fn make(&self) -> Result<()> {
        let built = self.build()?;
        self.split(&built)?;
        self.manual()?;
        package::all(self)?;
        fs::remove_dir_all(&self.stage)?;
        self.sums()
    }

    /// Builds the static binary. No path of this machine gets into it.
    fn build(&self) -> Result<PathBuf> {
        let (home, sysroot) = (tools::cargo_home()?, tools::sysroot()?);
        let mut flags = vec![
            "-Ctarget-feature=+crt-static".to_owned(),
            format!(
                "--remap-path-prefix={}=/usr/src/memlens",
                self.root.display()
            ),
            // Where the library's source is installed the compiler names it there.
            format!(
                "--remap-path-prefix={}=/usr/src/rust",
                sysroot.join("lib/rustlib/src/rust").display()
            ),
            format!("--remap-path-prefix={}=/usr/src/cargo", home.display()),
        ];
        flags.extend(LINKER.map(|flag| format!("-Clink-arg={flag}")));
        let folder = self.root.join("target/static");
        let mut cargo = run::cargo();
        cargo
            .args([
                "build",
                "--profile",
                PROFILE,
                "--locked",
                "-p",
                "memlens",
                "--target",
                TARGET,
            ])
            .arg("--target-dir")
            .arg(&folder)
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
            .env("SOURCE_DATE_EPOCH", &self.epoch)
            .current_dir(&self.root);
        run::run(&mut cargo)?;
        Ok(folder.join(TARGET).join(PROFILE).join("memlens"))
    }

    /// The binary without debug information and most symbols, and these apart.
    fn split(&self, built: &Path) -> Result<()> {
        let binary = self.stage.join("memlens");
        let debug = self.stage.join("memlens.debug");
        let objcopy = || Command::new("objcopy");
        run::run(
            objcopy()
                .args(["--only-keep-debug", "--compress-debug-sections"])
                .args([built, debug.as_path()]),
        )?;
        run::run(
            objcopy()
                .args(["--strip-all", "--wildcard"])
                .args(KEPT_SYMBOLS.map(|symbol| format!("--keep-symbol={symbol}")))
                .args([built, binary.as_path()]),
        )?;
        let link = format!("--add-gnu-debuglink={}", debug.display());
        run::run(objcopy().arg(link).arg(&binary))?;
        let bytes = fs::metadata(&binary)?.len();
        ensure!(
            bytes <= MAX_BYTES,
            "the stripped binary has {bytes} bytes, more than {MAX_BYTES}"
        );
        let kind = run::output(Command::new("file").arg("-b").arg(&binary))?;
        ensure!(kind.contains("static"), "the binary is not static: {kind}");
        println!("binary: {bytes} bytes");
        Ok(())
    }

    /// Manual pages and completions, by the binary itself.
    fn manual(&self) -> Result<()> {
        let memlens = || Command::new(self.stage.join("memlens"));
        run::run(memlens().args(["man", "--to"]).arg(self.stage.join("man1")))?;
        for (shell, name) in [
            ("bash", "memlens.bash"),
            ("zsh", "_memlens"),
            ("fish", "memlens.fish"),
        ] {
            let text = run::output(memlens().args(["completions", shell]))?;
            fs::write(self.stage.join(name), text)?;
        }
        Ok(())
    }

    /// The checksums of all files, by name.
    fn sums(&self) -> Result<()> {
        let names = self.names()?;
        let text = run::output(
            Command::new("sha256sum")
                .args(&names)
                .current_dir(&self.out),
        )?;
        fs::write(self.out.join("SHA256SUMS"), &text)?;
        print!("{text}");
        Ok(())
    }

    /// The files of the release.
    fn names(&self) -> Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.out)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                names.push(entry.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
    }

    fn lint(&self) -> Result<()> {
        packages::install_missing(packages::LINT)?;
        let deb = self
            .names()?
            .into_iter()
            .find(|name| name.ends_with(".deb"));
        run::run(
            Command::new("lintian")
                .args(["--fail-on", "error,warning", "--info"])
                .arg(self.out.join(deb.context("no .deb was made")?))
                // It refuses to run as root by default.
                .arg("--allow-root"),
        )
    }
}
