//! The kernels of the matrix: which Debian suite has them, what is expected of them, and where they lie once fetched.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::suite::{
    ATTACHING, JUDGING, LIBRARIES, MACHINES_OF_THEIR_OWN, MORE, RUNTIMES, Suite, TRACEPOINTS,
    WALKING,
};
use crate::debian::Archive;

/// The package whose dependencies are the kernel of a suite: Debian's build for virtual machines.
const META_PACKAGE: &str = "linux-image-cloud-amd64";
/// The guest's shell and tools in one static program, from the kernel's own suite.
const TOOLS_PACKAGE: &str = "busybox-static";

/// A kernel of the matrix.
pub struct Kernel {
    /// Its first two numbers.
    pub series: &'static str,
    /// The Debian suite that has it.
    pub suite: &'static str,
    /// The processor that QEMU emulates. Models with more features crash some of the kernels.
    pub processor: &'static str,
    /// What is done on it.
    pub tests: Suite,
    /// Words of root tests that are run with `--all` besides: they take long, and rarely say what the other kernels' runs
    /// do not.
    pub long: &'static [&'static [&'static str]],
}

/// Without cmpxchg16b: QEMU 7.2 leaves wrong flags behind where it has no lock prefix, and 6.12 crashes of it.
const NO_CX16: &str = "qemu64,-cx16";
/// With it: since 6.18 the kernel gives task storage no memory on a processor that lacks it.
const CX16: &str = "qemu64";

/// The oldest kernels come first. Debian testing moves on: its series is that of the day when this was written.
pub const KERNELS: &[Kernel] = &[
    Kernel {
        series: "5.10",
        suite: "bullseye",
        processor: NO_CX16,
        tests: Suite::Refusal,
        long: &[],
    },
    Kernel {
        series: "6.1",
        suite: "bookworm",
        processor: NO_CX16,
        tests: Suite::Root(&[ATTACHING, WALKING, TRACEPOINTS, JUDGING, RUNTIMES]),
        long: &[],
    },
    Kernel {
        series: "6.12",
        suite: "trixie",
        processor: NO_CX16,
        tests: Suite::Root(&[ATTACHING, MACHINES_OF_THEIR_OWN]),
        long: &[TRACEPOINTS, JUDGING, RUNTIMES],
    },
    Kernel {
        series: "7.2",
        suite: "forky",
        processor: CX16,
        tests: Suite::Root(&[ATTACHING, WALKING, TRACEPOINTS, JUDGING, RUNTIMES, MORE]),
        long: &[LIBRARIES],
    },
];

/// Takes kernels, by number or by suite, and filters of tests apart; without a kernel, all of them.
pub fn select(words: &[String]) -> Result<(Vec<&'static Kernel>, Vec<String>)> {
    let mut kernels = Vec::new();
    let mut filters = Vec::new();
    for word in words {
        let known = KERNELS
            .iter()
            .find(|kernel| kernel.series == word || kernel.suite == word);
        match known {
            Some(kernel) => kernels.push(kernel),
            None if word.starts_with(|first: char| first.is_ascii_digit()) => bail!(
                "no kernel {word} in the matrix: it has {}",
                KERNELS
                    .iter()
                    .map(|kernel| kernel.series)
                    .collect::<Vec<_>>()
                    .join(", ")
            ),
            None => filters.push(word.clone()),
        }
    }
    if kernels.is_empty() {
        kernels = KERNELS.iter().collect();
    }
    Ok((kernels, filters))
}

/// A kernel on this machine.
pub struct Fetched {
    /// Its release, as `uname -r` prints it.
    pub release: String,
    /// The image to boot.
    pub image: PathBuf,
    /// Its modules.
    pub modules: PathBuf,
    /// busybox, linked statically.
    pub busybox: PathBuf,
}

impl Kernel {
    /// The kernel in the cache folder, fetched if it is not there yet.
    pub fn fetch(&self, cache: &Path) -> Result<Fetched> {
        let unpacked = cache.join(self.series).join("packages");
        if !unpacked.is_dir() {
            eprintln!(
                "xtask: fetching the kernel of Debian {}, once: remove {} to fetch a newer one",
                self.suite,
                unpacked.display()
            );
            // Moved into place when it is whole.
            let partial = unpacked.with_extension("partial");
            if partial.exists() {
                fs::remove_dir_all(&partial)?;
            }
            let archive = Archive::open(self.suite)?;
            archive.unpack(&packages(|package| archive.depends(package))?, &partial)?;
            fs::rename(&partial, &unpacked)?;
        }
        find(&unpacked).with_context(|| format!("remove {} and try again", unpacked.display()))
    }
}

/// The packages that make up the suite's kernel: what its meta package leads to. Newer suites have its parts in
/// several.
fn packages(depends: impl Fn(&str) -> Result<String>) -> Result<Vec<String>> {
    let mut found = BTreeSet::new();
    let mut open = vec![META_PACKAGE.to_owned()];
    while let Some(package) = open.pop() {
        for name in kernel_packages(&depends(&package)?) {
            if found.insert(name.clone()) {
                open.push(name);
            }
        }
    }
    if found.is_empty() {
        bail!("{META_PACKAGE} leads to no kernel");
    }
    found.insert(TOOLS_PACKAGE.to_owned());
    Ok(found.into_iter().collect())
}

/// The parts of a kernel among the lines of `apt-cache depends`.
fn kernel_packages(depends: &str) -> Vec<String> {
    depends
        .lines()
        .filter_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|name| {
            ["linux-image-", "linux-binary-", "linux-modules-"]
                .iter()
                .any(|part| name.starts_with(part))
        })
        .map(str::to_owned)
        .collect()
}

/// Looks for the parts in unpacked packages; their places differ between suites.
fn find(unpacked: &Path) -> Result<Fetched> {
    let existing = |paths: [&str; 2]| {
        paths
            .map(|path| unpacked.join(path))
            .into_iter()
            .find(|path| path.exists())
    };
    let versions = existing(["usr/lib/modules", "lib/modules"]).context("there are no modules")?;
    let modules = fs::read_dir(&versions)?
        .next()
        .context("there are no modules")??
        .path();
    let release = modules
        .file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default();
    let image = [
        modules.join("vmlinuz"),
        unpacked.join(format!("boot/vmlinuz-{release}")),
    ]
    .into_iter()
    .find(|path| path.is_file())
    .context("there is no kernel image")?;
    Ok(Fetched {
        release,
        image,
        modules,
        busybox: existing(["usr/bin/busybox", "bin/busybox"]).context("there is no busybox")?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(words: &[&str]) -> (Vec<&'static str>, Vec<String>) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let (kernels, filters) = select(&words).expect("the words are known");
        (
            kernels.iter().map(|kernel| kernel.series).collect(),
            filters,
        )
    }

    #[test]
    fn words_are_kernels_or_filters() {
        assert_eq!(names(&[]).0.len(), KERNELS.len());
        assert_eq!(names(&["6.1"]).0, ["6.1"]);
        let (kernels, filters) = names(&["trixie", "stacks::", "7.2"]);
        assert_eq!(kernels, ["6.12", "7.2"]);
        assert_eq!(filters, ["stacks::"]);
        assert!(select(&["4.4".to_owned()]).is_err());
    }

    #[test]
    fn one_package_or_several() {
        let old = |package: &str| {
            Ok(match package {
                META_PACKAGE => "linux-image-cloud-amd64\n  Depends: linux-image-6.1.0-9-cloud-amd64\n",
                _ => "x\n  PreDepends: linux-base\n |Depends: initramfs-tools\n  Breaks: linux-image-2\n",
            }
            .to_owned())
        };
        assert_eq!(
            packages(old).expect("there is a kernel"),
            ["busybox-static", "linux-image-6.1.0-9-cloud-amd64"]
        );
        let new = |package: &str| {
            Ok(match package {
                META_PACKAGE => "m\n  Depends: linux-image-7-cloud\n  Depends: linux-base-7\n",
                "linux-image-7-cloud" => {
                    "i\n  Depends: linux-binary-7-cloud\n  Depends: linux-modules-7-cloud\n"
                }
                _ => "",
            }
            .to_owned())
        };
        assert_eq!(
            packages(new).expect("there is a kernel"),
            [
                "busybox-static",
                "linux-binary-7-cloud",
                "linux-image-7-cloud",
                "linux-modules-7-cloud"
            ]
        );
        assert!(packages(|_| Ok(String::new())).is_err());
    }
}
