//! Form and order of the reports, and where they go.

use std::path::{Path, PathBuf};

use clap::builder::PossibleValuesParser;
use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, ValueHint};

use crate::cli::error::ConfigError;
use crate::cli::parsers::{output_file, parse_top};
use crate::render::{FileOption, Format};

/// Rows shown unless told otherwise.
pub const TOP: usize = 10;

/// Form of the reports.
#[derive(Clone, Debug, Default, PartialEq, Eq, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Where they go.
    #[command(flatten)]
    pub outputs: Outputs,
    /// What they show.
    #[command(flatten)]
    pub shown: Shown,
}

/// What a report shows.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Output")]
pub struct Shown {
    /// Show this many stacks and, of a whole host, this many processes; 0 shows all.
    // `None` is all. The type is written in full because clap takes a bare `Option` for an option without a default.
    #[arg(short = 'T', long, value_name = "N", value_parser = parse_top, default_value = TOP.to_string())]
    #[arg(allow_negative_numbers = true)]
    pub top: std::option::Option<usize>,
    /// Leave out file names and line numbers.
    #[arg(long = "no-source", action = ArgAction::SetFalse)]
    pub source: bool,
    /// Show every frame, with its address.
    #[arg(long)]
    pub addresses: bool,
}

impl Default for Shown {
    fn default() -> Self {
        Self {
            top: Some(TOP),
            source: true,
            addresses: false,
        }
    }
}

/// Where reports go, and in which form.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outputs {
    /// Files to write with every report; without a form where the ending does not say and none was given.
    files: Vec<(Option<Format>, PathBuf)>,
    /// The form on standard output, where one was given.
    stdout: Option<Format>,
}

impl Outputs {
    /// One file, and JSON or text on standard output.
    pub fn to_file(format: Format, path: &Path, json: bool) -> Self {
        Self {
            files: vec![(Some(format), path.to_owned())],
            stdout: json.then_some(Format::Json),
        }
    }

    /// Format and path of each file.
    pub fn files(&self) -> impl Iterator<Item = (Format, &Path)> {
        self.files
            .iter()
            .filter_map(|(format, path)| Some(((*format)?, path.as_path())))
    }

    /// The form of the reports on standard output.
    pub fn stdout(&self) -> Format {
        self.stdout.unwrap_or(Format::Text)
    }

    /// Refuses two outputs to one file, and a file whose form is not known.
    pub(in crate::cli) fn check(&self) -> Result<(), ConfigError> {
        let unknown = self.files.iter().find(|(format, _)| format.is_none());
        if let Some((_, path)) = unknown {
            return Err(ConfigError::UnknownForm(path.clone()));
        }
        let twice = |at: &usize| {
            self.files[..*at]
                .iter()
                .any(|file| file.1 == self.files[*at].1)
        };
        match (0..self.files.len()).find(twice) {
            Some(at) => Err(ConfigError::SameFile(self.files[at].1.clone())),
            None => Ok(()),
        }
    }
}

impl FromArgMatches for Outputs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let asked_for = matches.get_one::<String>("format");
        let asked_for = asked_for.and_then(|name| Format::of_name(name));
        let named = matches.get_many::<PathBuf>("output").unwrap_or_default();
        let (dashes, named): (Vec<&PathBuf>, Vec<&PathBuf>) =
            named.partition(|path| path.as_path() == Path::new("-"));
        let with_form = named.iter().map(|path| Format::of_path(path));
        // A form is for the files whose endings do not say, where there are any, and else for standard output.
        let is_for_files = dashes.is_empty() && with_form.clone().any(|format| format.is_none());
        let own_option = |(format, option): (Format, &'static FileOption)| {
            let path = matches.get_one::<PathBuf>(option.name)?;
            Some((Some(format), path.clone()))
        };
        let mut files: Vec<(Option<Format>, PathBuf)> =
            Format::with_file().filter_map(own_option).collect();
        let named = with_form.zip(&named);
        files.extend(named.map(|(format, path)| (format.or(asked_for), (*path).clone())));
        let json = matches.get_flag("json").then_some(Format::Json);
        Ok(Self {
            files,
            stdout: json.or(asked_for.filter(|_| !is_for_files)),
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Outputs {
    fn augment_args(command: clap::Command) -> clap::Command {
        const HEADING: &str = "Output";
        let forms: Vec<String> = Format::ALL
            .iter()
            .map(|format| format.form())
            .map(|form| format!("  {:<18}{}", form.ending, form.words))
            .collect();
        let output = Arg::new("output")
            .short('o')
            .long("output")
            .value_name("FILE")
            .action(ArgAction::Append)
            .value_parser(clap::value_parser!(PathBuf))
            .value_hint(ValueHint::FilePath)
            .help_heading(HEADING)
            .help("Write each report to FILE, in the form that its ending names; may be given several times")
            .long_help(format!(
                "Write each report to FILE, in the form that its ending names; may be given several times.\n\n\
                 {}\n\nAll stacks are included, regardless of --top. Each report replaces the file, but for a recording, \
                 which it is added to. \"-\" is standard output.\n\nExample: -o heap.pb.gz -o heap.html",
                forms.join("\n")
            ));
        let names = Format::ALL.iter().map(|format| format.form().name);
        let format = Arg::new("format")
            .long("format")
            .value_name("FORM")
            .value_parser(PossibleValuesParser::new(names))
            .conflicts_with("json")
            .help_heading(HEADING)
            .help("The form of a file whose ending does not say it, or else of standard output");
        let json = Arg::new("json")
            .long("json")
            .action(ArgAction::SetTrue)
            .help_heading(HEADING)
            .help("Print each report as one JSON object on one line");
        let own_options = Format::with_file().map(|(_, option)| {
            Arg::new(option.name)
                .long(option.name)
                .value_name("FILE")
                .value_parser(output_file())
                .value_hint(ValueHint::FilePath)
                .help_heading(HEADING)
                .help(option.help)
                .long_help(format!("{}.\n\n{}", option.help, option.details))
        });
        command.args([output, format, json]).args(own_options)
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}
