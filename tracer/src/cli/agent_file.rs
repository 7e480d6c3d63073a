//! The settings of `memlens agent` in a TOML file: every key is the name of an option, and its value is read as that of
//! the option. So the file has nothing that the command line has not, and the other way round.

use std::ffi::OsString;

use clap::error::{ContextKind, ContextValue};
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, CommandFactory};
use thiserror::Error;
use toml::de::{DeTable, DeValue};

use super::command::{Cli, Command};
use super::{AgentConfig, CliError, parse_from};

/// The command.
const AGENT: &str = "agent";
/// Options that the command line alone has.
const NOT_IN_FILES: [&str; 5] = ["config", "check", "once", "help", "version"];
/// A name is suggested that is as near as this (1 is the same).
const NEAR: f64 = 0.7;

/// What is wrong with a file, and in which line.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("line {line}: {what}")]
pub struct FileError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

/// A setting of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Setting {
    key: String,
    values: Vec<String>,
    line: usize,
}

/// The settings of a command line, which must be of `memlens agent`, and of a file: what the command line gives comes
/// first.
///
/// # Errors
/// [`FileError`] for what is wrong with the file, and the mistakes of the command line.
pub fn with_file(words: &[OsString], text: &str) -> anyhow::Result<AgentConfig> {
    let settings = settings(text)?;
    let given = given(words)?;
    for setting in &settings {
        check(setting)?;
    }
    let mut all: Vec<OsString> = Vec::new();
    let mut is_added = false;
    for word in words {
        all.push(word.clone());
        if word == AGENT && !is_added {
            is_added = true;
            let new = settings
                .iter()
                .filter(|setting| !given.contains(&setting.key));
            all.extend(new.flat_map(Setting::words).map(OsString::from));
        }
    }
    match parse_from(all)?.command {
        Command::Agent(config) => Ok(*config),
        _ => anyhow::bail!("a file of settings is for memlens agent"),
    }
}

impl Setting {
    /// As the command line has it.
    fn words(&self) -> Vec<String> {
        let word = |value: &String| match value.as_str() {
            "true" if is_switch(&self.key) => format!("--{}", self.key),
            value => format!("--{}={value}", self.key),
        };
        let is_off = |value: &&String| is_switch(&self.key) && value.as_str() == "false";
        let values = self.values.iter().filter(|value| !is_off(value));
        values.map(word).collect()
    }
}

/// The options of the agent, by their long names.
fn options() -> Vec<Arg> {
    let cli = Cli::command();
    let agent = cli.find_subcommand(AGENT);
    let all = agent.into_iter().flat_map(clap::Command::get_arguments);
    all.filter(|option| option.get_long().is_some())
        .cloned()
        .collect()
}

fn option(key: &str) -> Option<Arg> {
    options()
        .into_iter()
        .find(|option| option.get_long() == Some(key))
}

/// Whether an option has no value.
fn is_switch(key: &str) -> bool {
    option(key).is_some_and(|option| matches!(option.get_action(), ArgAction::SetTrue))
}

/// The names of the options that a command line gives.
fn given(words: &[OsString]) -> Result<Vec<String>, CliError> {
    let matches = Cli::command().try_get_matches_from(words)?;
    let Some((AGENT, agent)) = matches.subcommand() else {
        return Ok(Vec::new());
    };
    let is_given = |option: &Arg| {
        let source = agent.try_contains_id(option.get_id().as_str());
        source.is_ok()
            && agent.value_source(option.get_id().as_str()) == Some(ValueSource::CommandLine)
    };
    let given = options().into_iter().filter(is_given);
    Ok(given
        .filter_map(|option| option.get_long().map(str::to_owned))
        .collect())
}

/// Reads the file: keys with text, numbers, true and false, and lists of these.
fn settings(text: &str) -> Result<Vec<Setting>, FileError> {
    let line_at = |at: usize| text[..at.min(text.len())].matches('\n').count() + 1;
    let table = DeTable::parse(text).map_err(|error| FileError {
        line: line_at(error.span().map_or(0, |span| span.start)),
        what: error.message().trim_end().replace('\n', "; "),
    })?;
    let mut settings = Vec::new();
    for (key, value) in table.get_ref() {
        let line = line_at(key.span().start);
        let key = key.get_ref().to_string();
        known(&key).map_err(|what| FileError { line, what })?;
        let values = match value.get_ref() {
            DeValue::Array(values) => values.iter().map(|value| scalar(value.get_ref())).collect(),
            value => scalar(value).map(|value| vec![value]),
        };
        let values = values.ok_or_else(|| FileError {
            line,
            what: format!("{key}: expected text, a number, true or false, or a list of these"),
        })?;
        settings.push(Setting { key, values, line });
    }
    settings.sort_by_key(|setting| setting.line);
    Ok(settings)
}

fn scalar(value: &DeValue<'_>) -> Option<String> {
    match value {
        DeValue::String(text) => Some(text.to_string()),
        DeValue::Integer(number) => Some(number.to_string()),
        DeValue::Float(number) => Some(number.to_string()),
        DeValue::Boolean(is_on) => Some(is_on.to_string()),
        _ => None,
    }
}

/// Refuses what is no option, with the nearest name that is.
fn known(key: &str) -> Result<(), String> {
    if NOT_IN_FILES.contains(&key) {
        return Err(format!("{key} belongs on the command line"));
    }
    if option(key).is_some() {
        return Ok(());
    }
    let nearness = |name: &str| strsim::jaro_winkler(key, name);
    let names = options().into_iter();
    let names = names.filter_map(|option| option.get_long().map(str::to_owned));
    let near = names
        .filter(|name| !NOT_IN_FILES.contains(&name.as_str()) && nearness(name) >= NEAR)
        .max_by(|one, other| nearness(one).total_cmp(&nearness(other)));
    Err(match near {
        Some(near) => format!("unknown key {key}: did you mean {near}?"),
        None => {
            format!("unknown key {key}: 'memlens agent --help' lists the keys, as options")
        }
    })
}

/// Refuses a value that its option refuses.
fn check(setting: &Setting) -> Result<(), FileError> {
    let error = |what: String| FileError {
        line: setting.line,
        what: format!("{}: {what}", setting.key),
    };
    let is_bool = |value: &String| matches!(value.as_str(), "true" | "false");
    match is_switch(&setting.key) {
        true if !setting.values.iter().all(is_bool) || setting.values.len() != 1 => {
            return Err(error("expected true or false".into()));
        }
        true => return Ok(()),
        false => {}
    }
    let line = ["memlens".to_owned(), AGENT.to_owned()];
    let words = line.into_iter().chain(setting.words());
    match Cli::command().try_get_matches_from(words) {
        Ok(_) => Ok(()),
        Err(refused) => Err(error(words_of(&refused))),
    }
}

/// What clap says of a value, in one line.
fn words_of(error: &clap::Error) -> String {
    let text = |kind| match error.get(kind) {
        Some(ContextValue::String(text)) => Some(text.clone()),
        Some(ContextValue::Strings(texts)) => Some(texts.join(", ")),
        _ => None,
    };
    if let Some(cause) = std::error::Error::source(error) {
        return format!(
            "{cause}, and not {:?}",
            text(ContextKind::InvalidValue).unwrap_or_default()
        );
    }
    match (
        text(ContextKind::InvalidValue),
        text(ContextKind::ValidValue),
    ) {
        (Some(typed), Some(valid)) => format!("expected one of {valid}, and not {typed:?}"),
        _ => {
            let all = error.to_string();
            let first = all.lines().next().unwrap_or_default();
            first.trim_start_matches("error: ").to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::{ReportOn, TraceWhat};

    fn read(line: &str, text: &str) -> anyhow::Result<AgentConfig> {
        let words: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        with_file(&words, text)
    }

    fn refused(text: &str) -> String {
        let error = read("memlens agent", text).expect_err(text);
        format!("{error:#}")
    }

    #[test]
    fn a_file_has_what_the_command_line_has() {
        let text = "# comment\ncpu-budget = 0.5\nname = ['nginx', 'redis-server'] # two\nwith-pid = true\n\
                    memory = '64MiB'\ntrace = 'named'\nreport-on = ['oom', 'growth']\nkeep = 7\nnative = false\n";
        let from_file = read("memlens agent", text).expect("a file");
        let line = "memlens agent --cpu-budget 0.5 --name nginx --name redis-server --with-pid --memory 64MiB \
                    --trace named --report-on oom,growth --keep 7";
        let typed = read(line, "").expect("a line");
        assert_eq!(from_file, typed);
        assert_eq!(typed.watch.trace, TraceWhat::Named);
        assert_eq!(typed.write.report_on, [ReportOn::Oom, ReportOn::Growth]);
        assert_eq!(typed.cost.cpu_budget, Some(0.5));
    }

    #[test]
    fn the_file_that_is_shipped_has_every_key_and_its_default() {
        let shipped = include_str!("../../../dist/agent.toml");
        let keys = |text: &str| -> Vec<String> {
            let all = settings(text).expect("a file").into_iter();
            all.map(|setting| setting.key).collect()
        };
        assert!(keys(shipped).is_empty());
        let is_key = |line: &&str| line.starts_with('#') && line.contains(" = ");
        let examples = [
            "name",
            "cgroup",
            "user",
            "exclude",
            "sample-bytes",
            "token-file",
            "otlp",
        ];
        let mut on = String::new();
        let mut defaults = String::new();
        for line in shipped.lines().filter(is_key) {
            let line = line.trim_start_matches('#').to_owned() + "\n";
            on += &line;
            let is_example = examples
                .iter()
                .any(|key| line.starts_with(&format!("{key} =")));
            if !is_example && !line.starts_with("log ") {
                defaults += &line;
            }
        }
        let mut known: Vec<String> = options()
            .into_iter()
            .filter_map(|option| option.get_long().map(str::to_owned))
            .filter(|name| !NOT_IN_FILES.contains(&name.as_str()))
            .collect();
        let mut named = keys(&on);
        known.sort();
        named.sort();
        assert_eq!(named, known);
        read("memlens agent", &on).expect("all of them");
        let plain = read("memlens agent", "").expect("none");
        assert_eq!(read("memlens agent", &defaults).expect("defaults"), plain);
    }

    #[test]
    fn the_command_line_comes_first() {
        let text = "cpu-budget = 0.5\nname = 'nginx'\nkeep = 7\n";
        let config = read("memlens -v agent --name redis --cpu-budget 2", text).expect("both");
        assert_eq!(config.cost.cpu_budget, Some(2.0));
        assert_eq!(
            (config.watch.names, config.write.keep),
            (vec!["redis".into()], 7)
        );
    }

    #[test]
    fn mistakes_name_the_line() {
        assert_eq!(
            refused("\n\ncpu-bugdet = 1\n"),
            "line 3: unknown key cpu-bugdet: did you mean cpu-budget?"
        );
        assert_eq!(
            refused("xyzzy = 1"),
            "line 1: unknown key xyzzy: 'memlens agent --help' lists the keys, as options"
        );
        assert_eq!(
            refused("once = true"),
            "line 1: once belongs on the command line"
        );
        assert_eq!(
            refused("keep = 1\ncpu-budget = 'much'"),
            "line 2: cpu-budget: expected a percentage from 0.1 to 100, or off, and not \"much\""
        );
        assert_eq!(
            refused("trace = 'some'"),
            "line 1: trace: expected one of growing, named, all, none, and not \"some\""
        );
        assert_eq!(
            refused("with-pid = 'yes'"),
            "line 1: with-pid: expected true or false"
        );
        let nested = refused("[section]\nkeep = 1");
        assert!(
            nested.starts_with("line 1: unknown key section"),
            "{nested}"
        );
        let twice = refused("keep = 1\nkeep = 2\n");
        assert!(twice.starts_with("line 2: "), "{twice}");
        let broken = refused("keep = \n");
        assert!(
            broken.starts_with("line 1: ") && !broken.contains('\n'),
            "{broken}"
        );
        let open = refused("listen = '0.0.0.0:9847'");
        assert!(
            open.contains("0.0.0.0:9847") && open.contains("token-file"),
            "{open}"
        );
    }

    proptest! {
        /// Whatever a file has gives settings or one line.
        #[test]
        fn any_file_is_read_or_refused(text in "[a-z\\-\\[\\]='\" 0-9\n#.]{0,80}") {
            if let Err(error) = read("memlens agent", &text) {
                let line = format!("{error:#}");
                prop_assert!(!line.trim_end().contains('\n'), "{}", line);
            }
        }
    }
}
