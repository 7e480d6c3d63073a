//! Going through a recording again: each snapshot makes the next profile of its track.

use std::collections::HashMap;

use serde_json::Value;

use super::reader::ReadError;
use super::steady::{self, Base};
use super::{Snapshot, Tables, patch, tree};
use crate::profile::{Profile, wire};

/// Where all tracks of a session are.
#[derive(Default)]
pub struct Replay {
    tracks: HashMap<String, Track>,
}

#[derive(Default)]
struct Track {
    tables: Profile,
    tree: Value,
    base: Base,
}

impl Replay {
    /// Takes a snapshot in.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn add(&mut self, snapshot: Snapshot) -> Result<(), ReadError> {
        let track = self.tracks.entry(snapshot.track).or_default();
        let Tables {
            modules,
            frames,
            stacks,
        } = snapshot.tables;
        track.tables.modules.extend(modules);
        track.tables.frames.extend(frames);
        track.tables.stacks.extend(stacks);
        let patch = serde_json::from_str(snapshot.patch.get()).map_err(ReadError::content)?;
        patch::apply(&mut track.tree, patch);
        track.base = Base {
            elapsed_ms: wire::milliseconds(snapshot.elapsed),
            reports: snapshot.reports,
        };
        Ok(())
    }

    /// The profile that a track has come to.
    ///
    /// # Errors
    /// What is wrong with what was read.
    pub fn profile(&self, track: &str) -> Result<Profile, ReadError> {
        let Some(track) = self.tracks.get(track) else {
            return Err(ReadError::NoSnapshot);
        };
        let mut tree = track.tree.clone();
        steady::to_ages(&mut tree, track.base);
        tree::to_profile(tree, &track.tables).map_err(ReadError::content)
    }
}
