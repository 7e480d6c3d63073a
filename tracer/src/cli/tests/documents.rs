//! Every command line in the documents and in the help is one that memlens takes.

use std::path::{Path, PathBuf};

use super::*;

/// Words that stand for a value.
const STAND_INS: [(&str, &str); 8] = [
    ("PID", "4242"),
    ("N", "3"),
    ("TIME", "5s"),
    ("SECONDS", "5"),
    ("BYTES", "1MiB"),
    ("PERCENT", "5"),
    ("FILE", "a.memlens"),
    ("INTERVAL", "5s"),
];

/// The files with documents for users, and for those who change memlens.
fn documents() -> Vec<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let mut files = vec![root.join("README.md")];
    let mut folders = vec![root.join("docs")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).expect("docs") {
            let path = entry.expect("an entry").path();
            match path.extension().and_then(|ending| ending.to_str()) {
                None if path.is_dir() => folders.push(path),
                Some("md") => files.push(path),
                _ => {}
            }
        }
    }
    files
}

/// The command lines of a document: lines of fenced blocks and `code` that begin with memlens. In prose the target may
/// be left out.
fn command_lines(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut is_fenced = false;
    for line in text.lines() {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
        } else if is_fenced {
            found.extend(command_line_in(line.strip_prefix("$ ").unwrap_or(line)));
        } else {
            let spans = line.split('`').skip(1).step_by(2);
            let lines = spans.filter_map(command_line_in);
            found.extend(lines.map(|line| match refusal(&line) {
                Some(_) if !has_command(&line) => format!("{line} 4242"),
                _ => line,
            }));
        }
    }
    found
}

/// What a line is to start: up to a comment, a pipe or a redirection; none if it has parts that are left open.
fn command_line_in(line: &str) -> Option<String> {
    let rest = line.trim_start().strip_prefix("memlens ")?;
    let ends = ["  ", " #", " >", " 2>", " |", ": "];
    let end = ends.iter().filter_map(|end| rest.find(end)).min();
    let rest = rest[..end.unwrap_or(rest.len())].trim_end();
    let is_open = ["[", "...", "COMMAND", " (", "*"];
    let is_command = rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '-');
    let is_whole = is_command && !is_open.iter().any(|word| rest.contains(word));
    is_whole.then(|| rest.replace('\'', ""))
}

/// Why memlens does not take a command line; it must at least not mistake what is said.
fn refusal(line: &str) -> Option<String> {
    let stands_for = |word: &str| {
        let value = STAND_INS.iter().find(|(stand_in, _)| *stand_in == word);
        value.map_or(word.to_owned(), |(_, value)| (*value).to_owned())
    };
    let words =
        std::iter::once("memlens".to_owned()).chain(line.split_whitespace().map(stands_for));
    let error = parse_from(words).err()?;
    (error.outcome() != Outcome::Done(None)).then(|| error.to_string())
}

#[test]
fn every_command_line_of_the_documents_is_taken() {
    let mut wrong = Vec::new();
    let mut count = 0;
    for file in documents() {
        let text = std::fs::read_to_string(&file).expect("a document");
        for line in command_lines(&text) {
            // A command by its name alone is spoken of, not typed; the other is how a recording begins.
            if has_command(&line) || line.starts_with("recording ") {
                continue;
            }
            count += 1;
            if let Some(why) = refusal(&line) {
                wrong.push(format!("{}: memlens {line}: {why}", file.display()));
            }
        }
    }
    assert!(count > 100, "only {count} command lines");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_example_of_the_help_is_taken() {
    let mut wrong = Vec::new();
    let mut all = definition();
    all.build();
    for command in std::iter::once(&all).chain(all.get_subcommands()) {
        let help = command.get_after_long_help().or(command.get_after_help());
        let text = help.map(ToString::to_string).unwrap_or_default();
        for line in text.lines().filter_map(command_line_in) {
            // Two commands that are named side by side.
            let line = line
                .split(", memlens ")
                .next()
                .unwrap_or_default()
                .to_owned();
            wrong.extend(refusal(&line).map(|why| format!("memlens {line}: {why}")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn command_lines_are_found_in_text() {
    let text = "Use `memlens top`, not `top`.\n```\n$ memlens leaks -p 1  a comment\nmemlens vm > x\n```\n`memlens [X]`";
    assert_eq!(command_lines(text), ["top", "leaks -p 1", "vm"]);
    assert!(refusal("leaks --no-such-option").is_some());
    assert!(refusal("leaks -p PID").is_none());
}
