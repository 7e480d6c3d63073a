//! What the guest is given to boot into: an initramfs with its init, a shell, and the modules by which it reaches the
//! host's files.

use std::{
    fs,
    io::Cursor,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use super::kernel::Fetched;

/// Process 1.
const INIT: &str = include_str!("init.sh");

/// What mounting the host's files takes, in the order of their dependencies. A kernel that has one built in has no file
/// for it.
const MODULES: &[&str] = &[
    "virtio_ring",
    "virtio",
    "virtio_pci_modern_dev",
    "virtio_pci_legacy_dev",
    "virtio_pci",
    "fuse",
    "virtiofs",
];

/// Folders in which the guest has files of its own in place of the host's.
const OWN_FOLDERS: &[&str] = &["/tmp", "/run", "/var/tmp"];

/// What runs in the guest.
pub struct Job {
    /// A shell script.
    pub command: String,
    /// Folders of the host that it needs, by absolute path.
    pub needs: Vec<PathBuf>,
    /// The folder of built victims, by absolute path: the only one that it may write to.
    pub victims: PathBuf,
}

/// Writes the initramfs.
pub fn write_initramfs(kernel: &Fetched, job: &Job, to: &Path) -> Result<()> {
    let mut files = vec![
        ("init".to_owned(), INIT.into()),
        ("busybox".to_owned(), read(&kernel.busybox)?),
        ("command".to_owned(), job.command.clone().into_bytes()),
        (
            "victims.path".to_owned(),
            job.victims.display().to_string().into_bytes(),
        ),
        ("hidden".to_owned(), lines(&hidden(&job.needs))),
    ];
    let mut names = Vec::new();
    for name in MODULES {
        if let Some(path) = module(&kernel.modules, name)? {
            files.push(((*name).to_owned(), module_bytes(&path)?));
            names.push(*name);
        }
    }
    files.push(("modules".to_owned(), lines(&names)));
    let entries = files.into_iter().map(|(name, bytes): (String, Vec<u8>)| {
        let entry = cpio::newc::Builder::new(&name).mode(0o100_755);
        (entry, Cursor::new(bytes))
    });
    let file = fs::File::create(to).with_context(|| format!("cannot write {}", to.display()))?;
    cpio::write_cpio(entries, file).with_context(|| format!("cannot write {}", to.display()))?;
    Ok(())
}

/// The folders that the guest's own would hide.
fn hidden(folders: &[PathBuf]) -> Vec<String> {
    folders
        .iter()
        .filter(|folder| OWN_FOLDERS.iter().any(|own| folder.starts_with(own)))
        .map(|folder| folder.display().to_string())
        .collect()
}

fn lines(words: &[impl AsRef<str>]) -> Vec<u8> {
    words
        .iter()
        .map(|word| format!("{}\n", word.as_ref()))
        .collect::<String>()
        .into_bytes()
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The file of a module, anywhere below the folder.
fn module(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        let file = path.file_name().unwrap_or_default().to_string_lossy();
        if path.is_dir() {
            if let Some(found) = module(&path, name)? {
                return Ok(Some(found));
            }
        } else if file == format!("{name}.ko") || file == format!("{name}.ko.xz") {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

/// A module's bytes, unpacked: not every kernel can do that itself.
fn module_bytes(path: &Path) -> Result<Vec<u8>> {
    if path.extension().is_none_or(|extension| extension != "xz") {
        return read(path);
    }
    let out = Command::new("xz")
        .arg("-dc")
        .arg(path)
        .output()
        .context("cannot run xz")?;
    if !out.status.success() {
        bail!("xz cannot unpack {}", path.display());
    }
    Ok(out.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_lies_in_the_guests_own_folders_is_hidden() {
        let folders = ["/tmp/checkout", "/tmpfiles", "/root/x", "/var/tmp/y"].map(PathBuf::from);
        assert_eq!(hidden(&folders), ["/tmp/checkout", "/var/tmp/y"]);
    }

    #[test]
    fn modules_are_found_packed_or_not() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let deep = folder.path().join("kernel/fs/fuse");
        fs::create_dir_all(&deep)?;
        fs::write(deep.join("fuse.ko.xz"), "")?;
        fs::write(deep.join("virtiofs.ko"), "")?;
        let found = |name| module(folder.path(), name);
        assert_eq!(found("fuse")?, Some(deep.join("fuse.ko.xz")));
        assert_eq!(found("virtiofs")?, Some(deep.join("virtiofs.ko")));
        assert_eq!(found("virtio")?, None);
        Ok(())
    }
}
