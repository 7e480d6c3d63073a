//! Installs the Debian packages that the root tests and benchmarks need: only the missing ones, with no service
//! started.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::run;

/// A package under the names that releases give it, and what the tests do with it.
pub struct Need {
    names: &'static [&'static str],
    why: &'static str,
}

const fn need(names: &'static [&'static str], why: &'static str) -> Need {
    Need { names, why }
}

/// Everything that the tests need beyond Rust.
pub const TESTS: &[Need] = &[
    need(&["gcc"], "compiles the C victims"),
    need(
        &["g++"],
        "compiles the C++ victims: exceptions, operator new",
    ),
    need(&["libc6-dev"], "headers of the victims, static libc"),
    need(&["musl-tools"], "static and dynamic victims on musl"),
    need(&["libjemalloc2"], "allocator by LD_PRELOAD"),
    need(
        &["libtcmalloc-minimal4", "libtcmalloc-minimal4t64"],
        "allocator by LD_PRELOAD",
    ),
    need(
        &["libmimalloc2.0", "libmimalloc2.1"],
        "allocator by LD_PRELOAD",
    ),
    need(&["redis-server"], "real program under load, on jemalloc"),
    need(&["redis-tools"], "the load of redis-server"),
    need(
        &["nginx", "nginx-light"],
        "real program under load, forks workers",
    ),
    need(&["tmux"], "a terminal for the live view"),
    need(&["sqlite3"], "real program under load"),
    need(&["python3"], "real program under load, C extensions"),
    need(
        &["postgresql"],
        "real program under load: stacks as deep as its query plans",
    ),
    need(
        &["nodejs"],
        "real program under load: compiled code without unwind tables",
    ),
    need(&["ruby"], "a runtime whose heap explain finds"),
    need(
        &["golang-go"],
        "victims that bring an allocator of their own, with and without C",
    ),
    need(
        &["default-jdk-headless", "openjdk-17-jdk-headless"],
        "a victim with a heap of its own and native memory beside it",
    ),
    need(&["gdb"], "the stacks that memlens' must equal"),
    need(
        &["valgrind"],
        "a program that a trace of the host must not hurt, and the judge of leaks",
    ),
    need(
        &["qemu-user"],
        "a program that a trace of the host must not hurt",
    ),
    need(
        &["strace"],
        "a program that a trace of the host must not hurt",
    ),
    need(&["binutils"], "damages a library's unwind tables"),
    need(&["jq"], "runs the examples of docs/json.md"),
    need(&["groff"], "formats the manual pages"),
    need(&["python3-venv"], "the environment of DuckDB"),
    need(&["chromium"], "opens the HTML report"),
    need(&["debuginfod"], "a server of debug files, and its client"),
    need(&["heaptrack"], "opens the file that is for it"),
    need(
        &["prometheus"],
        "scrapes the agent, and its promtool checks what is shipped",
    ),
    need(&["tmux"], "a terminal for memlens top"),
];

/// What the kernel matrix needs besides.
pub const MACHINES: &[Need] = &[
    need(&["qemu-system-x86"], "emulates a machine for each kernel"),
    need(&["xz-utils"], "unpacks kernel modules"),
];

/// What a release needs besides.
pub const DIST: &[Need] = &[
    need(&["binutils"], "splits off debug information"),
    need(&["file"], "tells whether the binary is static"),
    need(&["xz-utils"], "packs archives"),
];

/// What checks packages.
pub const LINT: &[Need] = &[need(&["lintian"], "checks the package for Debian")];

/// What installs the package in a fresh system.
pub const INSTALL: &[Need] = &[need(&["debootstrap"], "makes a fresh system")];

/// Came with QEMU until Debian 12.
pub const VIRTIOFSD: &[Need] = &[need(
    &["virtiofsd"],
    "gives emulated machines the files of this one",
)];

/// The file by which package scripts ask whether they may start a service.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs what is missing; without apt, names it and goes on: the tests that miss it fail by themselves.
pub fn install_missing(needs: &'static [Need]) -> Result<()> {
    if !run::in_path("apt-get") || !run::in_path("dpkg-query") {
        eprintln!(
            "xtask: no apt here; the root tests need the likes of: {}",
            all_names(needs)
        );
        return Ok(());
    }
    let missing = missing(needs, &installed()?);
    if missing.is_empty() {
        return Ok(());
    }
    for need in &missing {
        eprintln!("xtask: installing {}: {}", need.names[0], need.why);
    }
    // Lists may be absent in a fresh container; old ones name packages that the mirror has dropped.
    run::output(Command::new("apt-get").args(["update", "-q"]))
        .context("cannot read the package lists: is there a network?")?;
    let names = missing
        .iter()
        .map(|need| available(need))
        .collect::<Result<Vec<_>>>()?;
    let _policy = NoServices::begin()?;
    run::output(
        Command::new("apt-get")
            .args(["install", "-y", "-q", "--no-install-recommends"])
            .args(names)
            .env("DEBIAN_FRONTEND", "noninteractive")
            .env("RUNLEVEL", "1"),
    )
    .context("cannot install what the root tests need")?;
    Ok(())
}

/// DuckDB as a package of Python; runs the examples of `docs/json.md`.
const DUCKDB: &str = "duckdb==2.0.1";

/// Installs DuckDB into an environment of its own below the target folder, unless it is there.
pub fn install_duckdb() -> Result<()> {
    let folder = run::target_dir()?.join("venv");
    let python = folder.join("bin/python");
    let is_there = |python| run::output(Command::new(python).args(["-c", "import duckdb"])).is_ok();
    if is_there(&python) {
        return Ok(());
    }
    eprintln!("xtask: installing {DUCKDB} into {}, once", folder.display());
    run::run(Command::new("python3").args(["-m", "venv"]).arg(&folder))?;
    let pip = [
        "-m",
        "pip",
        "install",
        "-q",
        "--disable-pip-version-check",
        DUCKDB,
    ];
    run::run(Command::new(&python).args(pip))
        .context("cannot install DuckDB: the tests of the documents need it, once")
}

/// Installs what the tests of the HTML report need of npm, unless it is there.
pub fn install_browser_tests() -> Result<()> {
    const NPM: &[Need] = &[need(
        &["npm"],
        "installs the driver of the browser, and speedscope",
    )];
    let folder = run::workspace_root()?.join("tests/browser");
    let (lock, installed) = (
        folder.join("package-lock.json"),
        folder.join("node_modules/.package-lock.json"),
    );
    let time = |file: &Path| fs::metadata(file).and_then(|about| about.modified()).ok();
    if time(&installed).is_some_and(|installed| Some(installed) >= time(&lock)) {
        return Ok(());
    }
    // Some packages of Node bring it along, and conflict with the one that has its name.
    if !run::in_path("npm") {
        install_missing(NPM)?;
    }
    eprintln!("xtask: installing the packages of tests/browser, once");
    run::run(
        Command::new("npm")
            .args(["ci", "--no-audit", "--no-fund", "--ignore-scripts"])
            .current_dir(&folder),
    )
    .context("cannot install the packages of tests/browser: the tests of the HTML report need them, once")
}

fn all_names(needs: &[Need]) -> String {
    needs
        .iter()
        .map(|need| need.names[0])
        .collect::<Vec<_>>()
        .join(" ")
}

/// Names of the installed packages.
fn installed() -> Result<BTreeSet<String>> {
    let table = run::output(Command::new("dpkg-query").args([
        "-W",
        "-f",
        "${Package} ${db:Status-Status}\n",
    ]))?;
    Ok(installed_in(&table))
}

/// The packages of a `NAME STATUS` table that are really there, not just configured once.
fn installed_in(table: &str) -> BTreeSet<String> {
    table
        .lines()
        .filter_map(|line| line.strip_suffix(" installed"))
        .map(str::to_owned)
        .collect()
}

fn missing(needs: &'static [Need], installed: &BTreeSet<String>) -> Vec<&'static Need> {
    needs
        .iter()
        .filter(|need| !need.names.iter().any(|name| installed.contains(*name)))
        .collect()
}

/// The name that this release has the package under.
fn available(need: &Need) -> Result<&'static str> {
    for name in need.names {
        let policy = run::output(
            Command::new("apt-cache")
                .args(["policy", name])
                .env("LC_ALL", "C"),
        )?;
        if has_candidate(&policy) {
            return Ok(name);
        }
    }
    bail!(
        "this release has no package {} ({})",
        need.names.join(" or "),
        need.why
    )
}

/// Whether `apt-cache policy` output offers a version.
fn has_candidate(policy: &str) -> bool {
    policy
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Candidate:"))
        .any(|version| version.trim() != "(none)")
}

/// While it lives, package scripts start no service.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn begin() -> Result<Self> {
        if Path::new(POLICY).exists() {
            // The machine has a policy of its own (containers deny).
            return Ok(Self { ours: false });
        }
        fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o755)
            .open(POLICY)
            .and_then(|mut file| std::io::Write::write_all(&mut file, b"#!/bin/sh\nexit 101\n"))
            .and_then(|()| fs::set_permissions(POLICY, fs::Permissions::from_mode(0o755)))
            .with_context(|| {
                format!("cannot write {POLICY}, which keeps services from starting")
            })?;
        Ok(Self { ours: true })
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours
            && let Err(err) = fs::remove_file(POLICY)
        {
            eprintln!("xtask: cannot remove {POLICY}: {err}; remove it by hand");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_installed_packages_count() {
        let set = installed_in("gcc installed\nnginx config-files\ng++ not-installed\n");
        assert_eq!(set.into_iter().collect::<Vec<_>>(), ["gcc"]);
    }

    #[test]
    fn any_name_of_a_package_will_do() {
        let mut have: BTreeSet<String> =
            TESTS.iter().map(|need| need.names[0].to_owned()).collect();
        assert!(missing(TESTS, &have).is_empty());
        have.remove("libtcmalloc-minimal4");
        assert_eq!(missing(TESTS, &have).len(), 1);
        have.insert("libtcmalloc-minimal4t64".to_owned());
        assert!(missing(TESTS, &have).is_empty());
    }

    #[test]
    fn candidate_of_a_package() {
        assert!(has_candidate(
            "gcc:\n  Installed: (none)\n  Candidate: 4:12.2.0-3\n"
        ));
        assert!(!has_candidate(
            "gone:\n  Installed: (none)\n  Candidate: (none)\n"
        ));
        assert!(!has_candidate(""));
    }
}
