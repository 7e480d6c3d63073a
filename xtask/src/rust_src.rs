//! Finds or fetches the source of `core`, which the BPF build compiles for its own target.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{run, tools};

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

/// Unpacks Debian's rust-src of the compiler's version, with an apt configuration that leaves the machine's own alone.
fn debian_package(into: &Path) -> Result<()> {
    for program in ["apt-get", "apt-cache", "dpkg"] {
        if !run::in_path(program) {
            bail!("no {program} on this machine");
        }
    }
    let sources = read_sources()?;
    let mirror = mirror(&sources).context("the machine's apt sources name no Debian mirror")?;
    let dir = tempfile::tempdir()?;
    let apt = Apt::new(dir.path(), &mirror)?;
    run::output(&mut apt.command(
        "apt-get",
        &["update", "-q", "-o", "APT::Update::Error-Mode=any"],
    ))?;
    let table = run::output(&mut apt.command("apt-cache", &["madison", "rust-src"]))?;
    let version = package_version(&table, tools::RUSTC)
        .with_context(|| format!("{SUITE} has no rust-src {}", tools::RUSTC))?;
    run::output(&mut apt.command(
        "apt-get",
        &["download", "-q", &format!("rust-src={version}")],
    ))?;
    let package = fs::read_dir(dir.path())?
        .filter_map(Result::ok)
        .map(|entry| entry.path())
        .find(|path| path.extension().is_some_and(|ext| ext == "deb"))
        .context("apt-get download left no package")?;
    fs::create_dir_all(into).with_context(|| format!("cannot create {}", into.display()))?;
    run::output(Command::new("dpkg").arg("-x").arg(package).arg(into)).map(drop)
}

/// A throwaway apt configuration in a folder of its own.
struct Apt<'a> {
    dir: &'a Path,
}

impl<'a> Apt<'a> {
    fn new(dir: &'a Path, mirror: &str) -> Result<Self> {
        fs::create_dir_all(dir.join("lists/partial"))?;
        fs::create_dir_all(dir.join("cache/archives/partial"))?;
        fs::write(
            dir.join("sources.list"),
            source_line(mirror, Path::new(KEYRING).is_file()),
        )?;
        Ok(Self { dir })
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(args);
        for (option, value) in [
            ("Dir::Etc::sourcelist", self.dir.join("sources.list")),
            ("Dir::Etc::sourceparts", PathBuf::from("/dev/null")),
            ("Dir::State::lists", self.dir.join("lists")),
            ("Dir::Cache", self.dir.join("cache")),
        ] {
            command
                .arg("-o")
                .arg(format!("{option}={}", value.display()));
        }
        // Downloads as the user who asks: apt's own user may not enter the folder.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command.current_dir(self.dir).env("LC_ALL", "C");
        command
    }
}

/// Where Debian keeps the keys of its archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// The source line of the suite; without Debian's keys (a derivative) the mirror that the machine already uses is trusted.
fn source_line(mirror: &str, has_keyring: bool) -> String {
    let option = if has_keyring {
        format!("signed-by={KEYRING}")
    } else {
        "trusted=yes".to_owned()
    };
    format!("deb [{option}] {mirror} {SUITE} main\n")
}

/// Every apt source file of the machine, joined.
fn read_sources() -> Result<String> {
    let mut paths = vec![PathBuf::from("/etc/apt/sources.list")];
    if let Ok(dir) = fs::read_dir("/etc/apt/sources.list.d") {
        paths.extend(dir.filter_map(Result::ok).map(|entry| entry.path()));
    }
    paths.sort();
    let texts: Vec<String> = paths
        .iter()
        .filter_map(|path| fs::read_to_string(path).ok())
        .collect();
    if texts.is_empty() {
        bail!("the machine has no apt sources");
    }
    Ok(texts.join("\n"))
}

/// The first Debian archive address in apt sources of either format: one whose path ends in `/debian`.
fn mirror(sources: &str) -> Option<String> {
    sources
        .lines()
        .map(str::trim)
        .filter(|line| line.starts_with("deb ") || line.starts_with("URIs:"))
        .flat_map(str::split_whitespace)
        .find(|word| word.contains("://") && word.trim_end_matches('/').ends_with("/debian"))
        .map(str::to_owned)
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
    fn mirror_of_deb822_sources() {
        let text = "Types: deb\n# http://old.example/archive/debian/2025\nURIs: http://mirror.example/debian\n\
                    Suites: bookworm\n\nURIs: http://mirror.example/debian-security\n";
        assert_eq!(
            mirror(text).as_deref(),
            Some("http://mirror.example/debian")
        );
    }

    #[test]
    fn mirror_of_one_line_sources() {
        let text = "deb https://other.example/apt stable main\n#deb http://off.example/debian x main\n\
                    deb [arch=amd64 signed-by=/k.gpg] http://mirror.example/debian/ trixie main\n";
        assert_eq!(
            mirror(text).as_deref(),
            Some("http://mirror.example/debian/")
        );
    }

    #[test]
    fn no_mirror_in_foreign_sources() {
        assert_eq!(
            mirror(
                "deb http://archive.example/ubuntu noble main\nURIs: http://x.example/node_20.x\n"
            ),
            None
        );
    }

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

    #[test]
    fn source_line_prefers_the_keyring() {
        assert_eq!(
            source_line("http://m/debian", true),
            format!("deb [signed-by={KEYRING}] http://m/debian {SUITE} main\n")
        );
        assert!(source_line("http://m/debian", false).contains("trusted=yes"));
    }
}
