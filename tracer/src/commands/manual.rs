//! `memlens completions` and `memlens man`: both are made from the definition of the command line.

use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::{self, CompletionsConfig, ManConfig, Outcome};

/// Runs `memlens completions`.
pub fn completions(config: &CompletionsConfig) -> Result<Outcome> {
    let mut text = Vec::new();
    clap_complete::generate(config.shell, &mut cli::definition(), "memlens", &mut text);
    print(&text)
}

/// Runs `memlens man`.
pub fn man(config: &ManConfig) -> Result<Outcome> {
    let mut all = cli::definition();
    all.build();
    let Some(folder) = &config.to else {
        let page = match &config.command {
            None => page(&all),
            Some(name) => page(all.find_subcommand(name).with_context(|| {
                format!("there is no command {name:?}: 'memlens --help' lists them")
            })?),
        };
        return print(&page?);
    };
    std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    write(folder, &all)?;
    for command in all.get_subcommands() {
        if command.get_name() != "help" {
            write(folder, command)?;
        }
    }
    Ok(Outcome::Done(None))
}

/// Prints to standard output; who has read enough may close it.
fn print(text: &[u8]) -> Result<Outcome> {
    match io::stdout().write_all(text) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write to standard output")
        }
        _ => Ok(Outcome::Done(None)),
    }
}

/// Writes the page of a command into a folder.
fn write(folder: &Path, command: &clap::Command) -> Result<()> {
    let file = folder.join(format!("{}.1", title(command)));
    std::fs::write(&file, page(command)?)
        .with_context(|| format!("cannot write {}", file.display()))
}

/// The name of a command's page: `memlens-leaks`.
fn title(command: &clap::Command) -> String {
    command
        .get_display_name()
        .unwrap_or(command.get_name())
        .to_owned()
}

/// The page of a command.
fn page(command: &clap::Command) -> Result<Vec<u8>> {
    let man = Man::new(command.clone())
        .title(title(command).to_uppercase())
        .source(format!("memlens {}", env!("CARGO_PKG_VERSION")))
        .manual("memlens")
        // None: a page says the same whenever it is made.
        .date("");
    let mut page = Vec::new();
    man.render_title(&mut page)?;
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().any(|arg| !arg.is_hide_set()) {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    examples(command).to_writer(&mut page)?;
    see_also(command).to_writer(&mut page)?;
    Ok(page)
}

/// What stands below the options in the help, with its lines as they are.
fn examples(command: &clap::Command) -> Roff {
    let mut section = Roff::new();
    let help = command.get_after_long_help().or(command.get_after_help());
    let text = help.map(ToString::to_string).unwrap_or_default();
    if text.is_empty() {
        return section;
    }
    section.control("SH", ["EXAMPLES"]).control("nf", []);
    for line in text.lines().filter(|line| *line != "Examples:") {
        section.text([roman(line)]);
    }
    section.control("fi", []);
    section
}

/// The pages around this one.
fn see_also(command: &clap::Command) -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["SEE ALSO"]);
    let pages: Vec<String> = match command.has_subcommands() {
        true => command
            .get_subcommands()
            .filter(|sub| sub.get_name() != "help")
            .map(title)
            .collect(),
        false => vec!["memlens".to_owned()],
    };
    for (at, name) in pages.iter().enumerate() {
        let end = if at + 1 < pages.len() { "(1)," } else { "(1)" };
        section.text([bold(name.clone()), roman(end)]);
    }
    section
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::ValueEnum;
    use clap_complete::Shell;

    /// Each command has a page, which names all its options and keeps the lines of its examples apart.
    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().expect("a folder");
        let to = Some(folder.path().join("man1"));
        man(&ManConfig {
            command: None,
            to: to.clone(),
        })
        .expect("pages");
        let mut all = cli::definition();
        all.build();
        let read = |name: &str| {
            let file = to.as_ref().expect("given").join(format!("{name}.1"));
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{file:?}: {error}"))
        };
        assert!(read("memlens").contains("memlens\\-leaks"));
        for command in all.get_subcommands().filter(|sub| sub.get_name() != "help") {
            let text = read(&title(command));
            for option in command.get_arguments().filter_map(|arg| arg.get_long()) {
                let option = format!("\\-\\-{}", option.replace('-', "\\-"));
                assert!(text.contains(&option), "{}: {option}", command.get_name());
            }
            assert!(
                text.contains(".SH \"SEE ALSO\"") || text.contains(".SH SEE ALSO"),
                "{text}"
            );
        }
        assert!(read("memlens-leaks").contains(".nf\n"));
    }

    #[test]
    fn every_shell_gets_the_commands() {
        for shell in Shell::value_variants() {
            let mut text = Vec::new();
            clap_complete::generate(*shell, &mut cli::definition(), "memlens", &mut text);
            let text = String::from_utf8(text).expect("UTF-8");
            for word in ["leaks", "hunt", "sample-bytes"] {
                assert!(text.contains(word), "{shell}: {word}");
            }
        }
    }

    #[test]
    fn a_page_of_nothing_is_refused() {
        let config = ManConfig {
            command: Some("leeks".into()),
            to: None,
        };
        let error = man(&config).expect_err("no such command");
        assert!(
            error
                .to_string()
                .starts_with("there is no command \"leeks\"")
        );
    }
}
