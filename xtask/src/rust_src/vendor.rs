//! Makes the vendored archive: the files of the compiler's library that a BPF build reads, found by such a build.

use std::{
    collections::BTreeSet,
    ffi::OsStr,
    fs,
    path::{Component, Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use super::{archive, fetch};
use crate::{
    ebpf::{self, Arch},
    tools,
};

/// Writes the archive for the compiler in use, and proves it by a build that must give the same objects.
pub fn make(root: &Path) -> Result<()> {
    tools::check_rustc()?;
    let library = fetch::whole_library(&tools::cache_dir(root))?;
    let target_dir = tempfile::tempdir().context("cannot create a temporary folder")?;
    let objects = ebpf::objects(root, Arch::X86_64, target_dir.path(), &library)?;
    let files = select(
        &files_below(&library)?,
        &read_by_build(target_dir.path(), &library)?,
    );
    let bytes = archive::pack(&library, &files)?;
    prove(root, &bytes, &objects)?;
    write(root, &bytes)?;
    eprintln!(
        "xtask: {}: {} files, {} bytes; put this SHA-256 into xtask/src/rust_src/archive.rs:",
        archive::path(),
        files.len(),
        bytes.len()
    );
    println!("{}", archive::checksum(&bytes));
    Ok(())
}

/// Fails unless a build with the archive's files gives the same objects.
fn prove(root: &Path, bytes: &[u8], objects: &[Vec<u8>]) -> Result<()> {
    let dir = tempfile::tempdir().context("cannot create a temporary folder")?;
    archive::unpack(bytes, dir.path())?;
    let library = dir.path().join(archive::TOP);
    if ebpf::objects(root, Arch::X86_64, &dir.path().join("target"), &library)? != objects {
        bail!(
            "the chosen files of the source give other objects: see `select` in xtask/src/rust_src/vendor.rs"
        );
    }
    Ok(())
}

fn write(root: &Path, bytes: &[u8]) -> Result<()> {
    let path = root.join(archive::path());
    fs::write(&path, bytes).with_context(|| format!("cannot write {}", path.display()))
}

/// Of the files of the library those that a build needs: what it read by its dependency information; what cargo wants
/// to see of every package of the library's workspace, also of those that are not built; and the licenses.
fn select(all: &BTreeSet<PathBuf>, read: &BTreeSet<PathBuf>) -> BTreeSet<PathBuf> {
    let is_wanted = |path: &&PathBuf| {
        read.contains(*path)
            || *path == Path::new("Cargo.lock")
            || is_named(path, "Cargo.toml")
            || is_package_root(path, all)
            || is_license(path, read)
    };
    all.iter().filter(is_wanted).cloned().collect()
}

fn is_named(path: &Path, name: &str) -> bool {
    path.file_name() == Some(OsStr::new(name))
}

/// Cargo takes a manifest that names no target only if this file is there.
fn is_package_root(path: &Path, all: &BTreeSet<PathBuf>) -> bool {
    path.ends_with("src/lib.rs")
        && path
            .ancestors()
            .nth(2)
            .is_some_and(|package| all.contains(&package.join("Cargo.toml")))
}

/// The license of a folder that something is read of.
fn is_license(path: &Path, read: &BTreeSet<PathBuf>) -> bool {
    let name = path.file_name().unwrap_or_default().as_encoded_bytes();
    let folder = path.parent().unwrap_or(Path::new(""));
    (name.starts_with(b"LICENSE") || name.starts_with(b"COPYRIGHT"))
        && read.iter().any(|file| file.starts_with(folder))
}

/// The files of the library that the compiler read in a build, relative to the library.
fn read_by_build(target_dir: &Path, library: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut read = BTreeSet::new();
    for file in files_below(target_dir)? {
        if file.extension() == Some(OsStr::new("d")) {
            let path = target_dir.join(&file);
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            read.extend(dependencies(&text, library));
        }
    }
    if read.is_empty() {
        bail!(
            "the build's dependency information names no file of {}",
            library.display()
        );
    }
    Ok(read)
}

/// The files below a folder that rustc's dependency information names, relative to it. Each file stands once as a
/// target without dependencies: `/folder/core/src/lib.rs:`.
fn dependencies(text: &str, folder: &Path) -> BTreeSet<PathBuf> {
    text.lines()
        .filter_map(|line| line.strip_suffix(':'))
        .map(|path| without_parents(Path::new(&path.replace("\\ ", " "))))
        .filter_map(|path| path.strip_prefix(folder).map(Path::to_path_buf).ok())
        .collect()
}

/// The path with each `..` resolved: `core/src/../../stdarch` is `stdarch`.
fn without_parents(path: &Path) -> PathBuf {
    let mut plain = PathBuf::new();
    for component in path.components() {
        if component == Component::ParentDir {
            plain.pop();
        } else {
            plain.push(component);
        }
    }
    plain
}

/// All files below a folder, relative to it.
fn files_below(folder: &Path) -> Result<BTreeSet<PathBuf>> {
    let mut files = BTreeSet::new();
    let mut folders = vec![folder.to_path_buf()];
    while let Some(dir) = folders.pop() {
        let list = fs::read_dir(&dir).with_context(|| format!("cannot read {}", dir.display()))?;
        for entry in list {
            let entry = entry.with_context(|| format!("cannot read {}", dir.display()))?;
            let path = entry.path();
            if entry.file_type()?.is_dir() {
                folders.push(path);
            } else if let Ok(relative) = path.strip_prefix(folder) {
                files.insert(relative.to_path_buf());
            }
        }
    }
    Ok(files)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn paths(names: &[&str]) -> BTreeSet<PathBuf> {
        names.iter().map(PathBuf::from).collect()
    }

    #[test]
    fn dependencies_below_the_library() {
        let text = "/t/libcore.rlib: /a b/library/core/src/lib.rs /r/x.rs\n\n\
                    /a\\ b/library/core/src/lib.rs:\n\
                    /a\\ b/library/core/src/../../stdarch/mod.rs:\n\
                    /r/x.rs:\n\n# env-dep:CARGO_PKG_NAME=core\n";
        assert_eq!(
            dependencies(text, Path::new("/a b/library")),
            paths(&["core/src/lib.rs", "stdarch/mod.rs"])
        );
    }

    #[test]
    fn what_is_read_and_what_cargo_resolves_is_selected() {
        let selected = paths(&[
            "Cargo.lock",
            "Cargo.toml",
            "core/Cargo.toml",
            "core/src/lib.rs",
            "core/src/num/mod.rs",
            "simd/LICENSE-MIT",
            "simd/src/mod.rs",
            "std/Cargo.toml",
            "std/src/lib.rs",
        ]);
        let mut all = selected.clone();
        all.extend(paths(&[
            "backtrace/LICENSE-MIT",
            "core/README.md",
            "core/src/arch/lib.rs",
            "core/tests/num.rs",
            "std/src/fs.rs",
            "std/src/sys/src/lib.rs",
        ]));
        let read = paths(&["core/src/lib.rs", "core/src/num/mod.rs", "simd/src/mod.rs"]);
        assert_eq!(select(&all, &read), selected);
    }

    #[test]
    fn files_of_all_depths_are_found() -> Result<()> {
        let dir = tempfile::tempdir()?;
        fs::create_dir_all(dir.path().join("a/b"))?;
        fs::write(dir.path().join("a/b/c"), "")?;
        fs::write(dir.path().join("d"), "")?;
        assert_eq!(files_below(dir.path())?, paths(&["a/b/c", "d"]));
        Ok(())
    }
}
