//! A recording as a file that is added to.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{self, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use super::encoder::Encoder;
use super::frames::{self, FrameError, Frames};
use crate::profile::Profile;
use crate::render::file::WriteFileError;

/// A recording that is being written.
pub struct Writer {
    path: PathBuf,
    file: File,
    encoder: Encoder,
    /// End of the last whole frame.
    end: u64,
    snapshots: u64,
}

impl Writer {
    /// Opens a recording to be added to, or begins one. What a killed memlens left half written is cut off.
    ///
    /// # Errors
    /// Why nothing can be written there; a file that is no recording, or that another process records into, is left
    /// alone.
    pub fn open(path: &Path) -> Result<Self, WriteFileError> {
        Self::try_open(path).map_err(|cause| WriteFileError {
            path: path.to_owned(),
            cause,
        })
    }

    fn try_open(path: &Path) -> io::Result<Self> {
        let mut options = OpenOptions::new();
        let mut file = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(path)?;
        let about = file.metadata()?;
        if about.is_file() {
            lock(&file)?;
        }
        let end = match about.is_file() && about.len() > 0 {
            true => whole(&file)?,
            false => 0,
        };
        if about.is_file() {
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))?;
        }
        let mut writer = Self {
            path: path.to_owned(),
            file,
            encoder: Encoder::new()?,
            end,
            snapshots: 0,
        };
        if end == 0 {
            writer.append(&frames::first())?;
        }
        Ok(writer)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Snapshots that were added, and how long the file is now.
    pub const fn written(&self) -> (u64, u64) {
        (self.snapshots, self.end)
    }

    /// Adds a profile, which must have all stacks.
    ///
    /// # Errors
    /// Why it could not be written; the file is then as it was, and what has changed is in the next snapshot.
    pub fn add(&mut self, profile: &Profile) -> Result<(), WriteFileError> {
        self.try_add(profile).map_err(|cause| WriteFileError {
            path: self.path.clone(),
            cause,
        })
    }

    fn try_add(&mut self, profile: &Profile) -> io::Result<()> {
        let encoded = self.encoder.encode(profile)?;
        self.append(&encoded.bytes)?;
        self.encoder.accept(encoded);
        self.snapshots += 1;
        Ok(())
    }

    /// Adds bytes, all or none.
    fn append(&mut self, bytes: &[u8]) -> io::Result<()> {
        let written = self.file.write_all(bytes);
        match written {
            Ok(()) => self.end += bytes.len() as u64,
            // What is there of it would stand in the way of the next one. Where that fails too, a reader stops there.
            Err(_) => {
                let _ = self.file.set_len(self.end);
                let _ = self.file.seek(SeekFrom::Start(self.end));
            }
        }
        written
    }
}

/// Keeps other writers away until the file is closed: two would write over each other.
fn lock(file: &File) -> io::Result<()> {
    match file.try_lock() {
        Err(TryLockError::WouldBlock) => Err(io::Error::other(
            "another memlens records into it; name another file",
        )),
        // A file system without locks is no reason not to record.
        Ok(()) | Err(TryLockError::Error(_)) => Ok(()),
    }
}

/// Where the last whole frame of a recording ends.
fn whole(file: &File) -> io::Result<u64> {
    let mut frames = Frames::open(file).map_err(|why| match why {
        FrameError::Io(error) => error,
        other => io::Error::other(format!("{other}; name another file")),
    })?;
    while let Ok(Some(_)) = frames.read() {}
    Ok(frames.position())
}
