//! Writing a report to a file so that a failure leaves no half of it.

use std::fs::{self, File, Permissions};
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

/// A file that could not be written: which, why, and what to do about it.
#[derive(Debug, Error)]
#[error("cannot write {}: {}{}", .path.display(), words(.cause), remedy(.cause))]
pub struct WriteFileError {
    /// The file that was asked for.
    pub path: PathBuf,
    /// What the system said. The sentence holds all of it, so it is not a source.
    pub cause: io::Error,
}

/// What the system said, without the error number and the temporary file's name.
fn words(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    let mut letters = text[..end].chars();
    let first = letters.next().map(|letter| letter.to_ascii_lowercase());
    first.into_iter().chain(letters).collect()
}

fn remedy(error: &io::Error) -> &'static str {
    match error.kind() {
        io::ErrorKind::StorageFull => "; free some space, or name a file elsewhere",
        io::ErrorKind::NotFound => "; its folder does not exist, create it first",
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            "; name a file in a folder that you can write to"
        }
        io::ErrorKind::IsADirectory => "; name a file in it",
        _ => "",
    }
}

/// Writes what `fill` gives to `path`, whole or not at all.
///
/// The bytes go to a temporary file beside it, which then takes its name; a symbolic link keeps
/// pointing to the file that it points to. What is no regular file (a device, a pipe) is written
/// directly.
///
/// # Errors
/// [`WriteFileError`], one line; the old file, if there was one, is then as it was.
pub fn write_file(
    path: &Path,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), WriteFileError> {
    let written = match fs::metadata(path) {
        Ok(there) if there.is_file() => {
            fs::canonicalize(path).and_then(|target| replace(&target, there.permissions(), fill))
        }
        Ok(_) => directly(path, fill),
        Err(_) if path.is_symlink() => directly(path, fill),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            replace(path, Permissions::from_mode(0o666), fill)
        }
        Err(error) => Err(error),
    };
    written.map_err(|cause| WriteFileError {
        path: path.to_owned(),
        cause,
    })
}

/// Finds out whether [`write_file`] could write there, without leaving anything behind.
///
/// # Errors
/// [`WriteFileError`], one line.
pub fn check(path: &Path) -> Result<(), WriteFileError> {
    let possible = match fs::metadata(path) {
        Ok(there) if there.is_dir() => Err(io::ErrorKind::IsADirectory.into()),
        Ok(there) if !there.is_file() => Ok(()),
        _ => tempfile::Builder::new()
            .prefix(".memlens-")
            .tempfile_in(folder_of(path))
            .map(drop),
    };
    possible.map_err(|cause| WriteFileError {
        path: path.to_owned(),
        cause,
    })
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Writes a temporary file and gives it the name of `target`. The permissions pass the umask.
fn replace(
    target: &Path,
    permissions: Permissions,
    fill: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    let temporary = tempfile::Builder::new()
        .prefix(".memlens-")
        .permissions(permissions)
        .tempfile_in(folder_of(target))?;
    let mut out = BufWriter::new(temporary.as_file());
    fill(&mut out)?;
    out.flush()?;
    drop(out);
    // Some filesystems report a full disk only here.
    temporary.as_file().sync_all()?;
    temporary.persist(target).map_err(|error| error.error)?;
    Ok(())
}

fn directly(path: &Path, fill: impl FnOnce(&mut dyn Write) -> io::Result<()>) -> io::Result<()> {
    let mut out = BufWriter::new(File::create(path)?);
    fill(&mut out)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(folder: &Path) -> Vec<String> {
        let entries = fs::read_dir(folder).expect("a folder");
        let mut names: Vec<String> = entries
            .map(|entry| {
                entry
                    .expect("an entry")
                    .file_name()
                    .to_string_lossy()
                    .into_owned()
            })
            .collect();
        names.sort();
        names
    }

    #[test]
    fn a_file_is_written_and_replaced() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.svg");
        write_file(&path, |out| out.write_all(b"one")).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o640)).expect("mode");
        write_file(&path, |out| out.write_all(b"two")).expect("replaced");
        assert_eq!(fs::read(&path).expect("there"), b"two");
        assert_eq!(
            fs::metadata(&path).expect("there").permissions().mode() & 0o777,
            0o640
        );
        assert_eq!(names(folder.path()), ["out.svg"]);
    }

    #[test]
    fn a_failure_leaves_the_old_file_and_nothing_else() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("out.svg");
        write_file(&path, |out| out.write_all(b"old")).expect("written");
        let error = write_file(&path, |out| {
            out.write_all(b"half")?;
            Err(io::Error::from_raw_os_error(libc::ENOSPC))
        })
        .expect_err("a full disk")
        .to_string();
        assert!(
            error.ends_with(
                "out.svg: no space left on device; free some space, or name a file elsewhere"
            ),
            "{error}"
        );
        assert_eq!(fs::read(&path).expect("there"), b"old");
        assert_eq!(names(folder.path()), ["out.svg"]);
    }

    #[test]
    fn a_link_keeps_pointing_where_it_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, link) = (folder.path().join("file"), folder.path().join("link"));
        fs::write(&file, "old").expect("written");
        symlink("file", &link).expect("a link");
        write_file(&link, |out| out.write_all(b"new")).expect("written");
        assert!(link.is_symlink());
        assert_eq!(fs::read(&file).expect("there"), b"new");
    }

    #[test]
    fn a_device_is_written_directly() {
        write_file(Path::new("/dev/null"), |out| out.write_all(b"gone")).expect("written");
        let error = write_file(Path::new("/dev/full"), |out| out.write_all(b"x"))
            .expect_err("a full device");
        assert_eq!(error.cause.kind(), io::ErrorKind::StorageFull);
        assert!(Path::new("/dev/full").exists() && !Path::new("/dev/full").is_file());
    }

    #[test]
    fn errors_say_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = write_file(&folder.path().join("no/out"), |_| Ok(())).expect_err("no folder");
        assert!(
            error.to_string().ends_with(
                "no/out: no such file or directory; its folder does not exist, create it first"
            ),
            "{error}"
        );
        let error = write_file(folder.path(), |_| Ok(())).expect_err("a folder");
        assert!(
            error
                .to_string()
                .ends_with(": is a directory; name a file in it"),
            "{error}"
        );
    }
}
