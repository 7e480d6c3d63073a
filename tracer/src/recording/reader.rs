//! Reading a recording: which moments it has, and the profiles of some of them.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;
use thiserror::Error;

use super::frames::{FrameError, Frames};
use super::replay::Replay;
use super::{Header, Record, Snapshot};
use crate::profile::Profile;

/// Why a recording cannot be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// Its frames cannot be.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// A frame holds what no snapshot is.
    #[error("a snapshot in it cannot be read: {0}")]
    Content(String),
    /// It has no snapshot.
    #[error("it has no snapshot yet")]
    NoSnapshot,
}

impl ReadError {
    pub(super) fn content(error: serde_json::Error) -> Self {
        Self::Content(error.to_string())
    }
}

/// One moment of one track.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// What the profile of it is about.
    pub track: String,
    /// Number of the session: each memlens that has written to the file is one.
    pub session: usize,
    /// When it was.
    pub time: Timestamp,
    /// How long the trace had run by then.
    pub elapsed: Duration,
}

/// Where a recording is.
#[derive(Debug)]
enum Input {
    File(PathBuf),
    Bytes(Vec<u8>),
}

impl Input {
    fn open(&self) -> io::Result<Box<dyn Read + '_>> {
        Ok(match self {
            Self::File(path) => Box::new(File::open(path)?),
            Self::Bytes(bytes) => Box::new(bytes.as_slice()),
        })
    }
}

/// A recording whose moments are known.
#[derive(Debug)]
pub struct Recording {
    input: Input,
    moments: Vec<Moment>,
    /// What is wrong with its end.
    damage: Option<String>,
}

/// Whether a file that begins so is a recording, of whatever version.
pub fn is_recording(begin: &[u8]) -> bool {
    matches!(
        Frames::open(begin),
        Ok(_) | Err(FrameError::OtherVersion(_))
    )
}

impl Recording {
    /// Looks through a file for its moments.
    ///
    /// # Errors
    /// Why it is not, or has not, what can be read.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::of(Input::File(path.to_owned()))
    }

    /// The same with what was read of a pipe.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn of_bytes(bytes: Vec<u8>) -> Result<Self, ReadError> {
        Self::of(Input::Bytes(bytes))
    }

    fn of(input: Input) -> Result<Self, ReadError> {
        let mut recording = Self {
            input,
            moments: Vec::new(),
            damage: None,
        };
        let mut moments = Vec::new();
        let damage = recording.each(|session, snapshot| {
            moments.push(Moment {
                track: snapshot.track,
                session,
                time: snapshot.time,
                elapsed: snapshot.elapsed,
            });
            Ok(())
        })?;
        if moments.is_empty() {
            return Err(damage.map_or(ReadError::NoSnapshot, ReadError::Frame));
        }
        recording.moments = moments;
        recording.damage = damage.map(|why| why.to_string());
        Ok(recording)
    }

    /// Its moments, in the order in which they were recorded.
    pub fn moments(&self) -> &[Moment] {
        &self.moments
    }

    /// What is wrong with the end of the file, where something is: what comes after the last moment is lost.
    pub fn damage(&self) -> Option<&str> {
        self.damage.as_deref()
    }

    /// Hands out the profiles of some moments, given by their places in [`Self::moments`] in ascending order.
    ///
    /// # Errors
    /// What is wrong with the file.
    pub fn profiles(
        &self,
        wanted: &[usize],
        mut take: impl FnMut(usize, Profile),
    ) -> Result<(), ReadError> {
        let mut replay = Replay::default();
        let mut place = 0;
        let mut of_session = None;
        self.each(|session, snapshot| {
            if of_session.replace(session) != Some(session) {
                replay = Replay::default();
            }
            if wanted.last().is_some_and(|last| place <= *last) {
                let track = snapshot.track.clone();
                replay.add(snapshot)?;
                if wanted.binary_search(&place).is_ok() {
                    take(place, replay.profile(&track)?);
                }
            }
            place += 1;
            Ok(())
        })?;
        Ok(())
    }

    /// Hands out all snapshots with the numbers of their sessions; why the file ends where it does, if that is not its
    /// end.
    fn each(
        &self,
        mut take: impl FnMut(usize, Snapshot) -> Result<(), ReadError>,
    ) -> Result<Option<FrameError>, ReadError> {
        let input = self.input.open().map_err(FrameError::Io)?;
        let mut frames = Frames::open(input)?;
        let mut headers = 0_usize;
        loop {
            let content = match frames.read() {
                Ok(Some(content)) => content,
                Ok(None) => return Ok(None),
                Err(FrameError::Io(error)) => return Err(FrameError::Io(error).into()),
                Err(damage) => return Ok(Some(damage)),
            };
            let record: Record = serde_json::from_slice(&content).map_err(ReadError::content)?;
            if let Some(Header { .. }) = record.header {
                headers += 1;
            }
            if let Some(snapshot) = record.snapshot {
                take(headers.saturating_sub(1), snapshot)?;
            }
        }
    }
}
