//! A profile as a recording of one snapshot. A file of several is written by `recording::Writer`.

use std::io::{self, Write};

use super::{Options, Render};
use crate::profile::Profile;
use crate::recording::{Encoder, first};

/// The renderer.
pub struct Recording;

impl Render for Recording {
    fn render(&self, profile: &Profile, _: &Options, out: &mut dyn Write) -> io::Result<()> {
        out.write_all(&first())?;
        let encoded = Encoder::new()?.encode(profile)?;
        out.write_all(&encoded.bytes)
    }
}
