//! Profiles as the frames of a recording: each as what has changed since the one before it.

use std::collections::HashMap;
use std::io;

use serde_json::{Value, value};

use super::frames::Packer;
use super::steady::{self, Base};
use super::{Header, Record, Snapshot, Tables, patch, tree};
use crate::profile::{Identities, Profile, Source, wire};

/// What was encoded so far, by track.
pub struct Encoder {
    packer: Packer,
    has_header: bool,
    tracks: HashMap<Source, Track>,
}

/// A snapshot as frames. The next one is against it only when it was [accepted](Encoder::accept).
pub struct Encoded {
    /// What is to be added to the file.
    pub bytes: Vec<u8>,
    source: Source,
    tree: Value,
}

/// What a track has so far.
#[derive(Default)]
struct Track {
    identities: Identities,
    tree: Value,
    /// Entries of the tables that were written.
    written: Written,
}

#[derive(Clone, Copy, Default)]
struct Written {
    modules: usize,
    frames: usize,
    stacks: usize,
}

impl Encoder {
    /// One that has encoded nothing.
    ///
    /// # Errors
    /// No memory for it.
    pub fn new() -> io::Result<Self> {
        Ok(Self {
            packer: Packer::new()?,
            has_header: false,
            tracks: HashMap::new(),
        })
    }

    /// Encodes a profile, the first one with a header before it.
    ///
    /// # Errors
    /// It is too large.
    pub fn encode(&mut self, profile: &Profile) -> io::Result<Encoded> {
        let mut bytes = Vec::new();
        if !self.has_header {
            bytes.extend(self.record(&Record {
                header: Some(Header {
                    version: profile.meta.version.clone(),
                    host: profile.meta.host.clone(),
                    kernel: profile.meta.kernel.clone(),
                }),
                snapshot: None,
            })?);
        }
        let source = profile.main_source();
        let track = self.tracks.entry(source).or_default();
        let (snapshot, tree) = track.snapshot(profile, source)?;
        bytes.extend(self.record(&Record {
            header: None,
            snapshot: Some(snapshot),
        })?);
        Ok(Encoded {
            bytes,
            source,
            tree,
        })
    }

    /// A snapshot is in the file: the next one is against it.
    pub fn accept(&mut self, encoded: Encoded) {
        self.has_header = true;
        let track = self.tracks.entry(encoded.source).or_default();
        track.settle(encoded.tree);
    }

    fn record(&mut self, record: &Record) -> io::Result<Vec<u8>> {
        let mut content = serde_json::to_vec(record)?;
        content.push(b'\n');
        self.packer.pack(&content)
    }
}

impl Track {
    /// What has changed, and the tree that it makes.
    fn snapshot(&mut self, profile: &Profile, source: Source) -> io::Result<(Snapshot, Value)> {
        let mut tree = tree::of_profile(profile, &mut self.identities)?;
        let base = Base {
            elapsed_ms: wire::milliseconds(profile.meta.elapsed),
            reports: steady::longest(&mut tree),
        };
        steady::to_births(&mut tree, base);
        steady::settle(&mut tree, &self.tree, base);
        let patch = patch::difference(&self.tree, &tree).unwrap_or_else(|| serde_json::json!({}));
        let tables = &self.identities.tables.profile;
        let new = Tables {
            modules: tables.modules[self.written.modules..].to_vec(),
            frames: tables.frames[self.written.frames..].to_vec(),
            stacks: tables.stacks[self.written.stacks..].to_vec(),
        };
        let snapshot = Snapshot {
            track: source.name().to_owned(),
            time: profile.meta.time,
            elapsed: profile.meta.elapsed,
            tables: new,
            reports: base.reports,
            patch: value::to_raw_value(&patch)?,
        };
        Ok((snapshot, tree))
    }

    /// A snapshot was written: the next one is against it.
    fn settle(&mut self, tree: Value) {
        let tables = &self.identities.tables.profile;
        self.written = Written {
            modules: tables.modules.len(),
            frames: tables.frames.len(),
            stacks: tables.stacks.len(),
        };
        self.tree = tree;
    }
}
