//! Recordings: profiles of one or more traces over time, in one file that is only added to.
//!
//! # The file
//!
//! A sequence of zstd frames (RFC 8878), so that `zstd -dc` reads it. The first is a skippable frame with the words
//! `memlens recording 1` and a line end; the number changes when a reader could break. Each of the others has its
//! content's size and a checksum, and holds one `Record`: JSON and a line end. What a version does not know it
//! passes over.
//!
//! A file that ends early, because memlens was killed or a disk was full, is read up to its last whole frame. A trace
//! that is recorded to a file that is a recording already adds a header and goes on: a *session* of its own.
//!
//! # Snapshots
//!
//! A *track* is what one trace gave: its profiles are about the same source. Each snapshot says what has changed
//! since the one before it of its track and session: new entries of the tables of modules, frames and stacks, which
//! only grow, and a merge patch (RFC 7396) of the tree (see `tree.rs`) that a profile is kept as.

mod encoder;
mod frames;
mod patch;
mod reader;
mod replay;
mod steady;
mod tree;
mod when;
mod writer;

use std::time::Duration;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::profile::{Frame, Module, Stack, wire};

pub use encoder::Encoder;
pub use frames::{FrameError, Packer, first};
pub use reader::{Moment, ReadError, Recording, is_recording};
pub use when::When;
pub use writer::Writer;

/// What one frame of the file holds: one of these.
#[derive(Debug, Default, Serialize, Deserialize)]
struct Record {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    header: Option<Header>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    snapshot: Option<Snapshot>,
}

/// Who begins to write.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Header {
    /// Version of memlens.
    version: String,
    /// Name of the host.
    host: String,
    /// Release of its kernel.
    kernel: String,
}

/// What has changed since the snapshot before it of the same track.
#[derive(Debug, Serialize, Deserialize)]
struct Snapshot {
    /// What the profiles are about: the name of a source.
    track: String,
    /// When the figures were read.
    #[serde(with = "wire::time")]
    time: Timestamp,
    /// How long the trace had run by then.
    #[serde(rename = "elapsed_ms", with = "wire::millis")]
    elapsed: Duration,
    /// Entries that the tables have more.
    #[serde(default)]
    tables: Tables,
    /// How many reports the course of the oldest sample rests on; those of all samples are kept relative to it.
    #[serde(default)]
    reports: u64,
    /// What has changed in the tree.
    patch: Box<RawValue>,
}

/// Entries of the tables that stacks are made of.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(default)]
struct Tables {
    #[serde(skip_serializing_if = "Vec::is_empty")]
    modules: Vec<Module>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    frames: Vec<Frame>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    stacks: Vec<Stack>,
}
