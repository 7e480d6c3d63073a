//! The frames of a recording: what begins the file, how each is written, and how they are found again.

use std::io::{self, Read};

use thiserror::Error;
use zstd::bulk::Compressor;
use zstd::zstd_safe::{self, CParameter};

/// The words in the first frame.
const WORDS: &str = "memlens recording 1\n";
/// What the words of every version begin with.
const ANY_VERSION: &str = "memlens recording ";
/// The first of the sixteen numbers that begin a skippable frame (RFC 8878, 3.1.2).
const SKIPPABLE: u32 = 0x184D_2A50;
/// Number and length of a skippable frame.
const SKIPPABLE_HEADER: usize = 8;
/// Most bytes of one frame, packed and unpacked: 10,000 stacks that are all new take some 20 MiB.
const MOST: usize = 512 << 20;
/// How hard zstd tries: a fifth smaller than with 3, at a hundred megabytes a second; more gains nothing.
const LEVEL: i32 = 9;
/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// Why no frame can be read.
#[derive(Debug, Error)]
pub enum FrameError {
    /// The file cannot be read.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// It does not begin like a recording.
    #[error("it is no recording")]
    NoRecording,
    /// It begins like a recording of another version.
    #[error(
        "it is a recording of version {0}, and this memlens reads version 1: use a newer memlens"
    )]
    OtherVersion(String),
    /// It ends within a frame.
    #[error("it ends in the middle of what was being written")]
    Cut,
    /// A frame is not what was written.
    #[error("it is damaged at byte {0}")]
    Damaged(u64),
}

/// The frame that begins a recording.
pub fn first() -> Vec<u8> {
    let length = u32::try_from(WORDS.len()).unwrap_or(0);
    let mut frame = Vec::from(SKIPPABLE.to_le_bytes());
    frame.extend(length.to_le_bytes());
    frame.extend(WORDS.as_bytes());
    frame
}

/// Packs contents.
pub struct Packer(Compressor<'static>);

impl Packer {
    /// One with the settings of all recordings.
    ///
    /// # Errors
    /// No memory for it.
    pub fn new() -> io::Result<Self> {
        let mut packer = Compressor::new(LEVEL)?;
        packer.set_parameter(CParameter::ChecksumFlag(true))?;
        Ok(Self(packer))
    }

    /// A content as a frame.
    ///
    /// # Errors
    /// It is too large.
    pub fn pack(&mut self, content: &[u8]) -> io::Result<Vec<u8>> {
        if content.len() > MOST {
            return Err(io::ErrorKind::FileTooLarge.into());
        }
        self.0.compress(content)
    }
}

/// Reads frame after frame.
pub struct Frames<R> {
    source: R,
    /// What was read and not taken yet.
    buffer: Vec<u8>,
    /// Where the buffer begins in the file.
    begin: u64,
    is_at_end: bool,
}

impl<R: Read> Frames<R> {
    /// Reads what begins the file.
    ///
    /// # Errors
    /// That it is no recording, or one of another version.
    pub fn open(source: R) -> Result<Self, FrameError> {
        let mut frames = Self {
            source,
            buffer: Vec::new(),
            begin: 0,
            is_at_end: false,
        };
        while frames.buffer.len() < SKIPPABLE_HEADER + WORDS.len() && !frames.is_at_end {
            frames.read_on()?;
        }
        let words = skippable(&frames.buffer).ok_or(FrameError::NoRecording)?;
        let length = SKIPPABLE_HEADER + words.len();
        match (words == WORDS.as_bytes(), String::from_utf8_lossy(words)) {
            (true, _) => frames.take(length),
            (false, words) if words.starts_with(ANY_VERSION) => {
                let version = words[ANY_VERSION.len()..].trim().chars().take(20);
                return Err(FrameError::OtherVersion(version.collect()));
            }
            (false, _) => return Err(FrameError::NoRecording),
        }
        Ok(frames)
    }

    /// Where the next frame begins in the file.
    pub const fn position(&self) -> u64 {
        self.begin
    }

    /// The content of the next frame; `None` at the end of the file.
    ///
    /// # Errors
    /// Why there is none. The position is then the end of the last whole frame.
    pub fn read(&mut self) -> Result<Option<Vec<u8>>, FrameError> {
        loop {
            if let Some(skipped) = skippable(&self.buffer) {
                self.take(SKIPPABLE_HEADER + skipped.len());
                continue;
            }
            // The size is known as soon as all block headers are there.
            match zstd_safe::find_frame_compressed_size(&self.buffer) {
                Ok(size) if !self.buffer.is_empty() && size <= MOST => {
                    let content = self.unpack(size)?;
                    self.take(size);
                    return Ok(Some(content));
                }
                _ if self.is_at_end && self.buffer.is_empty() => return Ok(None),
                _ if self.is_at_end => return Err(self.why_none()),
                _ if self.buffer.len() > MOST || !begins_a_frame(&self.buffer) => {
                    return Err(FrameError::Damaged(self.begin));
                }
                _ => self.read_on()?,
            }
        }
    }

    /// What is wrong with what is left of the file.
    fn why_none(&self) -> FrameError {
        match begins_a_frame(&self.buffer) {
            true => FrameError::Cut,
            false => FrameError::Damaged(self.begin),
        }
    }

    fn unpack(&self, size: usize) -> Result<Vec<u8>, FrameError> {
        let packed = &self.buffer[..size];
        let damaged = || FrameError::Damaged(self.begin);
        let length = zstd_safe::get_frame_content_size(packed).ok().flatten();
        let length = length.and_then(|length| usize::try_from(length).ok());
        let length = length
            .filter(|length| *length <= MOST)
            .ok_or_else(damaged)?;
        zstd::bulk::decompress(packed, length).map_err(|_| damaged())
    }

    fn take(&mut self, bytes: usize) {
        self.buffer.drain(..bytes);
        self.begin += bytes as u64;
    }

    fn read_on(&mut self) -> io::Result<()> {
        // Twice as much each time, so that a large frame is not looked at again and again.
        let wanted = self.buffer.len().max(CHUNK) as u64;
        let read = (&mut self.source)
            .take(wanted)
            .read_to_end(&mut self.buffer)?;
        self.is_at_end = read == 0;
        Ok(())
    }
}

/// The content of a skippable frame, where a whole one begins here.
fn skippable(bytes: &[u8]) -> Option<&[u8]> {
    let number = u32::from_le_bytes(bytes.get(..4)?.try_into().ok()?);
    let length = u32::from_le_bytes(bytes.get(4..SKIPPABLE_HEADER)?.try_into().ok()?);
    let end = SKIPPABLE_HEADER.checked_add(usize::try_from(length).ok()?)?;
    (number & !0xf == SKIPPABLE).then(|| bytes.get(SKIPPABLE_HEADER..end))?
}

/// Whether a frame begins here, as far as can be seen: one may be cut within its first number.
fn begins_a_frame(bytes: &[u8]) -> bool {
    const NUMBER: [u8; 4] = zstd_safe::MAGICNUMBER.to_le_bytes();
    let skippable = SKIPPABLE.to_le_bytes();
    let begun = bytes.len().min(NUMBER.len());
    let is_skippable = bytes.iter().zip(skippable).enumerate();
    bytes[..begun] == NUMBER[..begun]
        || is_skippable.take(4).all(|(place, (own, known))| {
            if place == 0 {
                own & !0xf == known
            } else {
                *own == known
            }
        })
}
