//! The examples of docs/json.md, run on the report of a victim: each prints what the document says.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, ensure};
use memlens_tests::{Program, need, paths, trace};

/// Runs the query on standard input and prints its rows.
const DUCKDB: &str = "import duckdb, sys
for row in duckdb.sql(sys.stdin.read()).fetchall(): print(*row, sep='|')";

/// The fenced blocks of a document, with their languages.
fn blocks(document: &str) -> Vec<(String, String)> {
    let mut blocks = Vec::new();
    let mut lines = document.lines();
    while let Some(line) = lines.next() {
        if let Some(language) = line.strip_prefix("```") {
            let text: Vec<&str> = lines.by_ref().take_while(|line| *line != "```").collect();
            blocks.push((language.to_owned(), text.join("\n")));
        }
    }
    blocks
}

/// What a program prints when it gets this text, in this folder.
fn printed(mut command: Command, text: &str, folder: &Path) -> Result<String> {
    command.current_dir(folder);
    command.stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut input = child.stdin.take().context("no input")?;
    input.write_all(text.as_bytes())?;
    drop(input);
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{}: {text}", output.status);
    Ok(String::from_utf8(output.stdout)?.trim_end().to_owned())
}

#[test]
fn each_prints_what_the_document_says() -> Result<()> {
    need::program("jq")?;
    let folder = tempfile::tempdir()?;
    let report = trace(Program::new("leak_each").command(&["malloc"])?, &[])?.report;
    std::fs::write(folder.path().join("report.json"), report.json.to_string())?;
    let document = std::fs::read_to_string(paths::workspace().join("docs/json.md"))?;
    let blocks = blocks(&document);
    let mut run = 0;
    for pair in blocks.windows(2) {
        let [(language, text), (_, expected)] = pair else {
            continue;
        };
        let command = match language.as_str() {
            "sh" => Command::new("sh"),
            "sql" => {
                let mut python = Command::new(need::duckdb()?);
                python.args(["-c", DUCKDB]);
                python
            }
            _ => continue,
        };
        let found = printed(command, text, folder.path())?;
        ensure!(
            found == *expected,
            "{text}\nprinted\n{found}\nnot\n{expected}"
        );
        run += 1;
    }
    ensure!(run >= 4, "only {run} examples");
    Ok(())
}
