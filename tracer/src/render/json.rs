//! A profile as JSON, `memlens/1`: one object, one line.

use std::io::{self, Write};

use super::{Options, Render};
use crate::profile::Profile;

/// The renderer.
pub struct Json;

impl Render for Json {
    fn render(&self, profile: &Profile, _: &Options, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, profile)?;
        writeln!(out)
    }
}
