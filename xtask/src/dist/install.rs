//! The package in a fresh Debian: installed, used as the README says, removed.

use std::{fs, path::Path, process::Command, time::Instant};

use anyhow::{Context as _, Result, ensure};

use super::Dist;
use crate::{packages, run};

/// Runs in the fresh system; each line is what a new user types, or looks for afterwards.
const SCRIPT: &str = r#"set -eu
dpkg -i /memlens.deb
memlens --version
memlens doctor
memlens leaks -h | grep -q NAME
test -s /usr/share/man/man1/memlens-leaks.1.gz
bash -n /usr/share/bash-completion/completions/memlens
memlens agent --config /etc/memlens/agent.toml --check
cd /tmp
memlens demo > report.txt
cat report.txt
grep -q '^leak: .*forget_a_buffer grows by ' report.txt
grep -q '^complete: nothing was lost' report.txt
test -s memlens-demo.svg
dpkg --purge memlens
test ! -e /usr/bin/memlens
test ! -e /etc/memlens
"#;

/// Mounts what a trace needs where the script runs; the mounts go with its namespace.
const ENTER: &str = r#"mount --bind /proc "$1/proc" && mount --rbind /sys "$1/sys" && mount --bind /dev "$1/dev" &&
exec chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 sh /script"#;

/// Installs, runs and removes the package in a fresh system of a release of Debian.
pub fn check(dist: &Dist, suite: &str) -> Result<()> {
    packages::install_missing(packages::INSTALL)?;
    let system = tempfile::Builder::new()
        .prefix("memlens-fresh-")
        .tempdir()?;
    let base = dist.root.join("target/fresh").join(format!("{suite}.tar"));
    unpack(suite, &base, system.path())?;
    let deb = dist
        .names()?
        .into_iter()
        .find(|name| name.ends_with(".deb"));
    fs::copy(
        dist.out.join(deb.context("no .deb was made")?),
        system.path().join("memlens.deb"),
    )?;
    fs::write(system.path().join("script"), SCRIPT)?;
    let begin = Instant::now();
    let printed = run::output(
        Command::new("unshare")
            .args([
                "--mount",
                "--propagation",
                "private",
                "sh",
                "-c",
                ENTER,
                "sh",
            ])
            .arg(system.path()),
    )
    .with_context(|| format!("the package does not work in a fresh {suite}"))?;
    ensure!(
        printed.contains("forget_a_buffer"),
        "no report in a fresh {suite}:\n{printed}"
    );
    let took = begin.elapsed().as_secs_f64();
    println!("{suite}: installed, a leak's stack shown, removed, in {took:.1} s");
    Ok(())
}

/// A fresh system: made once, kept as an archive.
fn unpack(suite: &str, base: &Path, to: &Path) -> Result<()> {
    if !base.is_file() {
        eprintln!("xtask: making a fresh {suite}, once");
        fs::create_dir_all(base.parent().context("an archive without a folder")?)?;
        let made = tempfile::Builder::new().prefix("memlens-base-").tempdir()?;
        let debootstrap = ["--variant=minbase", suite];
        run::run(
            Command::new("debootstrap")
                .args(debootstrap)
                .arg(made.path()),
        )
        .with_context(|| {
            format!("cannot make a fresh {suite}: it needs root and the network, once")
        })?;
        let part = base.with_extension("part");
        run::run(
            Command::new("tar")
                .arg("-C")
                .arg(made.path())
                .arg("-cf")
                .arg(&part)
                .arg("."),
        )?;
        fs::rename(part, base)?;
    }
    run::run(Command::new("tar").arg("-C").arg(to).arg("-xf").arg(base))
}
