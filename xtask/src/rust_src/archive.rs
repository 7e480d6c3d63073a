//! The vendored source of `core`: its archive, its checksum, packing and unpacking.

use std::{
    collections::BTreeSet,
    fs,
    io::Read as _,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, anyhow, bail};
use sha2::{Digest as _, Sha256};

use crate::tools;

/// SHA-256 of the archive for [`tools::RUSTC`], as `cargo xtask ebpf --vendor` prints it.
const SHA256: &str = "791fb7af4efa9d857fd0bfe8a94e2144b201c8f947934ec7c92ca21e990476ba";
/// The folder that everything in the archive lies in.
pub const TOP: &str = "library";
/// Time of last change of every file in the archive, so that the archive depends on the files alone.
const MODIFIED: u64 = 1_000_000_000;
/// Higher levels of zstd need more memory and gain nothing for an archive of this size.
const LEVEL: i32 = 19;

/// The archive, as seen from the checkout.
pub fn path() -> String {
    format!("xtask/vendor/rust-src-{}.tar.zst", tools::RUSTC)
}

/// The archive's bytes, if they are those that belong to the source of xtask.
pub fn read(root: &Path) -> Result<Vec<u8>> {
    let path = path();
    let bytes = fs::read(root.join(&path)).map_err(|err| {
        anyhow!(
            "cannot read {path}: {err}: `git checkout {path}` brings it back, `cargo xtask ebpf --vendor` makes one \
             for another version of the compiler"
        )
    })?;
    verify(&bytes, SHA256).map_err(|err| {
        anyhow!(
            "{path} {err}: `git checkout {path}` brings it back; if `cargo xtask ebpf --vendor` made it, put its \
             SHA-256 into xtask/src/rust_src/archive.rs"
        )
    })?;
    Ok(bytes)
}

/// Fails if bytes have another checksum.
fn verify(bytes: &[u8], expected: &str) -> Result<()> {
    let found = checksum(bytes);
    if found != expected {
        bail!("has the SHA-256 {found}, not {expected}");
    }
    Ok(())
}

/// SHA-256 in hexadecimal digits.
pub fn checksum(bytes: &[u8]) -> String {
    let digest = Sha256::digest(bytes);
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An archive of some files of a folder: the same bytes for the same files.
pub fn pack(folder: &Path, files: &BTreeSet<PathBuf>) -> Result<Vec<u8>> {
    let mut tar = tar::Builder::new(Vec::new());
    for file in files {
        let path = folder.join(file);
        let bytes = fs::read(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(MODIFIED);
        tar.append_data(&mut header, Path::new(TOP).join(file), bytes.as_slice())
            .with_context(|| format!("cannot pack {}", file.display()))?;
    }
    let bytes = tar.into_inner().context("cannot pack the source")?;
    zstd::bulk::compress(&bytes, LEVEL).context("cannot compress the source")
}

/// Unpacks an archive into a folder.
pub fn unpack(archive: &[u8], into: &Path) -> Result<()> {
    let mut tar = opened(archive)?;
    // A file that replaces another one must be newer, or cargo would not compile it.
    tar.set_preserve_mtime(false);
    tar.unpack(into)
        .with_context(|| format!("cannot unpack {} into {}", path(), into.display()))
}

/// Whether a folder has every file of an archive with the same bytes.
pub fn is_unpacked(archive: &[u8], folder: &Path) -> Result<bool> {
    let mut tar = opened(archive)?;
    for entry in tar
        .entries()
        .with_context(|| format!("cannot read {}", path()))?
    {
        let mut entry = entry.with_context(|| format!("cannot read {}", path()))?;
        let mut bytes = Vec::new();
        entry.read_to_end(&mut bytes)?;
        // A file that cannot be read will be unpacked again.
        if !fs::read(folder.join(entry.path()?)).is_ok_and(|there| there == bytes) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// An archive, to be read once.
fn opened(archive: &[u8]) -> Result<tar::Archive<impl std::io::Read>> {
    let tar = zstd::Decoder::new(archive).with_context(|| format!("cannot read {}", path()))?;
    Ok(tar::Archive::new(tar))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run;

    #[test]
    fn a_wrong_checksum_is_one_line() {
        let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        assert!(verify(b"", empty).is_ok());
        let err = verify(b"x", empty).expect_err("another checksum");
        let text = format!("{err:#}");
        assert!(text.contains(&checksum(b"x")) && text.contains(empty));
        assert_eq!(text.lines().count(), 1);
    }

    #[test]
    fn a_missing_or_wrong_archive_says_what_to_do() -> Result<()> {
        let root = tempfile::tempdir()?;
        let missing = read(root.path()).expect_err("no archive");
        assert!(format!("{missing:#}").contains("git checkout"));
        fs::create_dir_all(root.path().join("xtask/vendor"))?;
        fs::write(root.path().join(path()), "other")?;
        let wrong = format!("{:#}", read(root.path()).expect_err("another archive"));
        assert!(wrong.contains("git checkout") && wrong.contains("SHA-256"));
        assert_eq!(wrong.lines().count(), 1);
        Ok(())
    }

    #[test]
    fn packing_is_reproducible_and_unpacking_gives_the_files() -> Result<()> {
        let (folder, unpacked) = (tempfile::tempdir()?, tempfile::tempdir()?);
        fs::create_dir_all(folder.path().join("core/src"))?;
        fs::write(folder.path().join("core/src/lib.rs"), "pub fn f() {}\n")?;
        fs::write(folder.path().join("left-out"), "x")?;
        let files = [PathBuf::from("core/src/lib.rs")].into();
        let archive = pack(folder.path(), &files)?;
        assert_eq!(archive, pack(folder.path(), &files)?);

        assert!(!is_unpacked(&archive, unpacked.path())?);
        unpack(&archive, unpacked.path())?;
        assert!(is_unpacked(&archive, unpacked.path())?);
        assert!(!unpacked.path().join("library/left-out").exists());
        Ok(())
    }

    #[test]
    fn the_committed_archive_has_its_checksum() -> Result<()> {
        read(&run::workspace_root()?).map(drop)
    }
}
