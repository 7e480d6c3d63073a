//! Fetches packages of any Debian suite with a throwaway apt configuration, which leaves the machine's own alone.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::run;

/// Where Debian keeps the keys of its archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One suite of the Debian mirror that the machine uses: lists and downloads lie in a folder that goes with this.
pub struct Archive {
    dir: tempfile::TempDir,
}

impl Archive {
    /// Fetches the suite's list of packages.
    pub fn open(suite: &str) -> Result<Self> {
        for program in ["apt-get", "apt-cache", "dpkg"] {
            if !run::in_path(program) {
                bail!("no {program} on this machine");
            }
        }
        let mirror =
            mirror(&read_sources()?).context("the machine's apt sources name no Debian mirror")?;
        let archive = Self {
            dir: tempfile::tempdir()?,
        };
        let dir = archive.dir.path();
        fs::create_dir_all(dir.join("lists/partial"))?;
        fs::create_dir_all(dir.join("cache/archives/partial"))?;
        fs::write(
            dir.join("sources.list"),
            source_line(&mirror, suite, Path::new(KEYRING).is_file()),
        )?;
        let update = ["update", "-q", "-o", "APT::Update::Error-Mode=any"];
        run::output(&mut archive.command("apt-get", &update))?;
        Ok(archive)
    }

    /// Versions of a package that the suite has, newest first, as `apt-cache madison` prints them.
    pub fn versions(&self, package: &str) -> Result<String> {
        run::output(&mut self.command("apt-cache", &["madison", package]))
    }

    /// What a package depends on, as `apt-cache depends` prints it.
    pub fn depends(&self, package: &str) -> Result<String> {
        run::output(&mut self.command("apt-cache", &["depends", package]))
    }

    /// Downloads packages (`NAME` or `NAME=VERSION`) and unpacks them into one folder, without their scripts.
    pub fn unpack(&self, packages: &[String], into: &Path) -> Result<()> {
        let mut download = self.command("apt-get", &["download", "-q"]);
        run::output(download.args(packages))?;
        fs::create_dir_all(into).with_context(|| format!("cannot create {}", into.display()))?;
        let downloaded: Vec<PathBuf> = fs::read_dir(self.dir.path())?
            .filter_map(Result::ok)
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|ext| ext == "deb"))
            .collect();
        if downloaded.len() < packages.len() {
            bail!("apt-get download left no package");
        }
        for package in downloaded {
            run::output(Command::new("dpkg").arg("-x").arg(&package).arg(into))?;
            fs::remove_file(&package)?;
        }
        Ok(())
    }

    fn command(&self, program: &str, args: &[&str]) -> Command {
        let dir = self.dir.path();
        let mut command = Command::new(program);
        command.args(args);
        for (option, value) in [
            ("Dir::Etc::sourcelist", dir.join("sources.list")),
            ("Dir::Etc::sourceparts", PathBuf::from("/dev/null")),
            ("Dir::State::lists", dir.join("lists")),
            // What is installed here is no answer to what the suite has.
            ("Dir::State::status", PathBuf::from("/dev/null")),
            ("Dir::Cache", dir.join("cache")),
        ] {
            command
                .arg("-o")
                .arg(format!("{option}={}", value.display()));
        }
        // Downloads as the user who asks: apt's own user may not enter the folder.
        command.args(["-o", "APT::Sandbox::User=root"]);
        command.current_dir(dir).env("LC_ALL", "C");
        command
    }
}

/// The source line of a suite; without Debian's keys (a derivative) the mirror that the machine already uses is
/// trusted.
fn source_line(mirror: &str, suite: &str, has_keyring: bool) -> String {
    let option = if has_keyring {
        format!("signed-by={KEYRING}")
    } else {
        "trusted=yes".to_owned()
    };
    format!("deb [{option}] {mirror} {suite} main\n")
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
    fn source_line_prefers_the_keyring() {
        assert_eq!(
            source_line("http://m/debian", "sid", true),
            format!("deb [signed-by={KEYRING}] http://m/debian sid main\n")
        );
        assert!(source_line("http://m/debian", "sid", false).contains("trusted=yes"));
    }
}
