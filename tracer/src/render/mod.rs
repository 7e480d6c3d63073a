//! Outputs of a profile: one renderer for each format, all behind one trait.

pub mod collapse;
pub mod csv;
pub mod file;
mod folded;
mod json;
mod markdown;
mod svg;
pub mod term;
pub mod text;

use std::collections::BTreeSet;
use std::io::{self, Write};

use jiff::tz::TimeZone;

use crate::profile::{Measure, Profile};

/// Writes profiles in one format.
pub trait Render: Sync {
    /// Writes a profile, in many small pieces: `out` should be buffered.
    ///
    /// # Errors
    /// Those of `out`.
    fn render(&self, profile: &Profile, options: &Options, out: &mut dyn Write) -> io::Result<()>;
}

/// What to show, and how. A renderer ignores what it has no use for.
#[derive(Clone, Debug)]
pub struct Options {
    /// Columns of the terminal, which no line exceeds; `None` cuts and wraps nothing.
    pub width: Option<usize>,
    /// Whether to write bold and dim text.
    pub color: bool,
    /// Whether to show source files and lines.
    pub source: bool,
    /// Whether to show the address of each frame.
    pub addresses: bool,
    /// Whether to show the blocks of each stack, where the profile has them.
    pub show_blocks: bool,
    /// Whether to show every frame, also those of allocators and runtimes.
    pub all_frames: bool,
    /// Whether to show stacks of a heap that do not grow, too.
    pub every_stack: bool,
    /// Notes that were shown before; the last report shows them once more.
    pub known_notes: BTreeSet<String>,
    /// The time zone of the time in the first line.
    pub time_zone: TimeZone,
    /// Most stacks to show, and most rows of the table of a host; `None` is all.
    pub top: Option<usize>,
    /// Stacks to show of each of the first processes, in addition; 0 for none.
    pub per_process: usize,
    /// What flame graphs and folded stacks show; `None` is what the source follows: live or mapped bytes.
    pub measure: Option<Measure>,
    /// Whether to write the compact form of the report of a machine.
    pub brief: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            width: None,
            color: false,
            source: true,
            addresses: false,
            show_blocks: false,
            all_frames: false,
            every_stack: false,
            known_notes: BTreeSet::new(),
            time_zone: TimeZone::system(),
            top: None,
            per_process: 0,
            measure: None,
            brief: false,
        }
    }
}

/// The command line option for a file in a format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileOption {
    /// Its name, without the dashes.
    pub name: &'static str,
    /// What it does, in one line without a full stop.
    pub help: &'static str,
    /// The rest.
    pub details: &'static str,
}

macro_rules! formats {
    ($($(#[$doc:meta])+ $name:ident = $renderer:expr, $file:expr;)+) => {
        /// A format.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum Format { $($(#[$doc])+ $name,)+ }

        impl Format {
            /// All formats.
            pub const ALL: &'static [Self] = &[$(Self::$name),+];

            /// What writes it.
            pub fn renderer(self) -> &'static dyn Render {
                match self { $(Self::$name => &$renderer,)+ }
            }

            /// The option for a file of it; `None` for what goes to standard output alone.
            pub const fn file(self) -> Option<&'static FileOption> {
                match self { $(Self::$name => $file,)+ }
            }
        }
    };
}

formats! {
    /// For a person, in a terminal or a log.
    Text = text::Text, None;
    /// `memlens/1`: one object, one line.
    Json = json::Json, None;
    /// Folded stacks, which flame graph tools read.
    Folded = folded::Folded, Some(&folded::FILE);
    /// A flame graph.
    Svg = svg::Svg, Some(&svg::FILE);
    /// A table for the summary of a job, an issue or a chat.
    Markdown = markdown::Markdown, Some(&markdown::FILE);
}

impl Format {
    /// The formats that files are written in, each with its option.
    pub fn with_file() -> impl Iterator<Item = (Self, &'static FileOption)> {
        Self::ALL
            .iter()
            .filter_map(|format| Some((*format, format.file()?)))
    }
}

/// What flame graphs and folded stacks show of a profile.
fn drawn(profile: &Profile, options: &Options) -> Measure {
    let level = profile.main_source().level();
    options.measure.unwrap_or(level)
}
