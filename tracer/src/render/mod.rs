//! Outputs of a profile: one renderer for each format, all behind one trait.

pub mod collapse;
pub mod csv;
pub mod file;
mod folded;
mod heaptrack;
mod html;
mod json;
mod markdown;
pub mod openmetrics;
pub mod otlp;
mod path;
mod pprof;
mod recording;
mod speedscope;
mod svg;
pub mod term;
pub mod text;

use std::collections::BTreeSet;
use std::io::{self, Write};
use std::path::Path;

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

/// What a format is called and what it is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Form {
    /// Its name, as `--format` takes it.
    pub name: &'static str,
    /// How the names of its files end.
    pub ending: &'static str,
    /// What it is, in a few words, for the list of all.
    pub words: &'static str,
    /// What one report of it is.
    pub content: Content,
}

/// What one report in a format is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Content {
    /// Text, one report after the other.
    Lines,
    /// Text that is a document of its own.
    Document,
    /// Bytes that no terminal shows.
    Binary,
}

macro_rules! formats {
    ($($(#[$doc:meta])+ $name:ident = $renderer:expr, $form:literal $ending:literal $content:ident $words:literal,
       $file:expr;)+) => {
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

            /// What it is called and made of.
            pub const fn form(self) -> Form {
                match self {
                    $(Self::$name => Form {
                        name: $form, ending: $ending, words: $words, content: Content::$content,
                    },)+
                }
            }

            /// An option of its own for a file of it, where there is one; `-o` takes all formats.
            pub const fn file(self) -> Option<&'static FileOption> {
                match self { $(Self::$name => $file,)+ }
            }
        }
    };
}

formats! {
    /// For a person, in a terminal or a log.
    Text = text::Text, "text" ".txt" Lines "the report as on a terminal", None;
    /// `memlens/1`: one object, one line.
    Json = json::Json, "json" ".json" Lines "one object, memlens/1", None;
    /// A table for the summary of a job, an issue or a chat.
    Markdown = markdown::Markdown, "markdown" ".md" Document "a table for a job's summary or an issue",
        Some(&markdown::FILE);
    /// A flame graph.
    Svg = svg::Svg, "svg" ".svg" Document "a flame graph", Some(&svg::FILE);
    /// Folded stacks, which flame graph tools read.
    Folded = folded::Folded, "folded" ".folded" Document "folded stacks, for flame graph tools", Some(&folded::FILE);
    /// A gzipped `profile.proto`, which pprof, Parca, Pyroscope and speedscope read.
    Pprof = pprof::Pprof, "pprof" ".pb.gz" Binary "for go tool pprof, Parca, Pyroscope, speedscope", None;
    /// The form of <https://www.speedscope.app>.
    Speedscope = speedscope::Speedscope, "speedscope" ".speedscope.json" Document "for speedscope", None;
    /// What `heaptrack_print` and `heaptrack_gui` open.
    Heaptrack = heaptrack::Heaptrack, "heaptrack" ".heaptrack" Document "for heaptrack_gui and heaptrack_print", None;
    /// A page to look at, in a browser.
    Html = html::Html, "html" ".html" Document "a page to look at: verdicts, time, icicle, table", None;
    /// What `memlens report` and `memlens diff` read: profiles over time.
    Recording = recording::Recording, "recording" ".memlens" Binary "a recording, for memlens report and diff", None;
}

impl Format {
    /// The formats that have an option of their own, each with it.
    pub fn with_file() -> impl Iterator<Item = (Self, &'static FileOption)> {
        Self::ALL
            .iter()
            .filter_map(|format| Some((*format, format.file()?)))
    }

    /// The format whose files are named like this; `None` where the ending does not say.
    pub fn of_path(path: &Path) -> Option<Self> {
        let name = path.file_name()?.to_str()?;
        let is_named = |format: &&Self| {
            let stem = name.strip_suffix(format.form().ending);
            stem.is_some_and(|stem| !stem.is_empty())
        };
        let named = Self::ALL.iter().filter(is_named);
        named
            .max_by_key(|format| format.form().ending.len())
            .copied()
    }

    /// All endings, for the help and for mistakes: ".txt, .json, ...".
    pub fn endings() -> String {
        let endings = Self::ALL.iter().map(|format| format.form().ending);
        endings.collect::<Vec<_>>().join(", ")
    }

    /// The format of a name that `--format` takes.
    pub fn of_name(name: &str) -> Option<Self> {
        let mut all = Self::ALL.iter();
        all.find(|format| format.form().name == name).copied()
    }

    /// Whether it shows values over time.
    pub const fn wants_history(self) -> bool {
        matches!(self, Self::Html | Self::Heaptrack)
    }

    /// Whether it shows as many stacks as are asked for; others have all that there are.
    pub const fn heeds_top(self) -> bool {
        matches!(self, Self::Text | Self::Json)
    }
}

/// What flame graphs and folded stacks show of a profile.
fn drawn(profile: &Profile, options: &Options) -> Measure {
    let level = profile.main_source().level();
    options.measure.unwrap_or(level)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endings_name_formats() {
        let of = |name: &str| Format::of_path(Path::new(name));
        assert_eq!(of("a/heap.pb.gz"), Some(Format::Pprof));
        assert_eq!(of("heap.json"), Some(Format::Json));
        assert_eq!(of("heap.speedscope.json"), Some(Format::Speedscope));
        for name in [
            "heap",
            ".json",
            "heap.gz",
            "heap.JSON",
            "heap.svgz",
            "..",
            "",
        ] {
            assert_eq!(of(name), None, "{name}");
        }
        for format in Format::ALL {
            let form = format.form();
            assert_eq!(of(&format!("x{}", form.ending)), Some(*format));
            assert_eq!(Format::of_name(form.name), Some(*format));
        }
    }
}
