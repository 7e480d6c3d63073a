//! Form and order of the reports.

use std::path::{Path, PathBuf};

use clap::{Arg, ArgAction, ArgMatches, Args, FromArgMatches, ValueHint};

use crate::cli::error::ConfigError;
use crate::cli::parsers::{output_file, parse_top};
use crate::render::{FileOption, Format};

/// Rows shown unless told otherwise.
pub const TOP: usize = 10;

/// Form of the reports.
#[derive(Clone, Debug, PartialEq, Eq, Args)]
#[command(next_help_heading = "Output")]
pub struct Output {
    /// Print each report as one JSON object on one line.
    #[arg(long)]
    pub json: bool,
    /// Files to write with every report.
    #[command(flatten)]
    pub files: Files,
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

impl Output {
    /// One file, and JSON or text on standard output.
    pub fn to_file(format: Format, path: &Path, json: bool) -> Self {
        let files = Files(vec![(format, path.to_owned())]);
        Self {
            json,
            files,
            ..Self::default()
        }
    }
}

impl Default for Output {
    fn default() -> Self {
        Self {
            json: false,
            files: Files::default(),
            top: Some(TOP),
            source: true,
            addresses: false,
        }
    }
}

/// Files to write with every report: an option for each format that has one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Files(Vec<(Format, PathBuf)>);

impl Files {
    /// Format and path of each.
    pub fn iter(&self) -> impl Iterator<Item = (Format, &Path)> {
        self.0
            .iter()
            .map(|(format, path)| (*format, path.as_path()))
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Refuses two outputs to one file.
    pub(in crate::cli) fn check(&self) -> Result<(), ConfigError> {
        let twice = |at: usize| self.0[..at].iter().any(|(_, path)| *path == self.0[at].1);
        match (0..self.0.len()).find(|at| twice(*at)) {
            Some(at) => Err(ConfigError::SameFile(self.0[at].1.clone())),
            None => Ok(()),
        }
    }
}

impl FromArgMatches for Files {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let file = |(format, option): (Format, &'static FileOption)| {
            let path = matches.get_one::<PathBuf>(option.name)?;
            Some((format, path.clone()))
        };
        Ok(Self(Format::with_file().filter_map(file).collect()))
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl Args for Files {
    fn augment_args(command: clap::Command) -> clap::Command {
        command.args(Format::with_file().map(|(_, option)| {
            Arg::new(option.name)
                .long(option.name)
                .value_name("FILE")
                .value_parser(output_file())
                .value_hint(ValueHint::FilePath)
                .help(option.help)
                .long_help(format!("{}.\n\n{}", option.help, option.details))
        }))
    }

    fn augment_args_for_update(command: clap::Command) -> clap::Command {
        Self::augment_args(command)
    }
}
