//! Finds the source of `core`, which the BPF build compiles for its own target.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::tools;

pub mod archive;
pub mod fetch;
pub mod vendor;

/// Which source to build with.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Choice {
    /// The toolchain's own, or the vendored one where it has none.
    Any,
    /// The vendored one.
    Vendored,
}

/// The `library` folder of the compiler's source: the toolchain's own component, or a copy in the cache folder that has
/// the files of the vendored archive.
pub fn library(root: &Path, cache: &Path, choice: Choice) -> Result<PathBuf> {
    let own = own_library()?;
    let has_own = is_complete(&own);
    if has_own && choice == Choice::Any {
        return Ok(own);
    }
    if !has_own {
        eprintln!("xtask: the toolchain has no rust-src");
    }
    let library = unpacked(&archive::read(root)?, cache)?;
    eprintln!(
        "xtask: core is built from {}, whose checksum is right",
        archive::path()
    );
    Ok(library)
}

/// Where the toolchain has its source, if it has the component.
fn own_library() -> Result<PathBuf> {
    Ok(tools::sysroot()?.join("lib/rustlib/src/rust/library"))
}

/// `build-std` reads the lock file beside the sources; a distribution may ship them without it.
fn is_complete(library: &Path) -> bool {
    library.join("Cargo.lock").is_file() && library.join("core/src/lib.rs").is_file()
}

/// The `library` folder of an archive in the cache folder; unpacks it where the cache has none or other files.
fn unpacked(archive: &[u8], cache: &Path) -> Result<PathBuf> {
    let dir = cache.join(format!("rust-src-{}-vendored", tools::RUSTC));
    let library = dir.join(archive::TOP);
    if archive::is_unpacked(archive, &dir)? {
        return Ok(library);
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    // Renamed when it is complete, so that an interrupted run leaves no half of it.
    let new = tempfile::tempdir_in(&dir)
        .with_context(|| format!("cannot create a folder in {}", dir.display()))?;
    archive::unpack(archive, new.path())?;
    remove(&library)?;
    fs::rename(new.path().join(archive::TOP), &library)
        .with_context(|| format!("cannot create {}", library.display()))?;
    Ok(library)
}

/// Removes a folder that may not be there.
fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(err) if err.kind() != io::ErrorKind::NotFound => {
            Err(err).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_file_in_the_cache_is_replaced() -> Result<()> {
        let (source, cache) = (tempfile::tempdir()?, tempfile::tempdir()?);
        fs::write(source.path().join("Cargo.lock"), "right")?;
        let archive = archive::pack(source.path(), &[PathBuf::from("Cargo.lock")].into())?;

        let library = unpacked(&archive, cache.path())?;
        assert_eq!(fs::read_to_string(library.join("Cargo.lock"))?, "right");
        fs::write(library.join("Cargo.lock"), "wrong")?;
        assert_eq!(unpacked(&archive, cache.path())?, library);
        assert_eq!(fs::read_to_string(library.join("Cargo.lock"))?, "right");
        Ok(())
    }
}
