//! The documents: their links, and the book that is made of them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{run, tools};

/// Checks links and builds the book into target/book.
#[derive(clap::Args)]
pub struct Args {
    /// Check the links alone
    #[arg(long)]
    links: bool,
}

/// Fails on links that lead nowhere, and where the book cannot be built.
pub fn run(args: &Args) -> Result<()> {
    let root = run::workspace_root()?;
    let broken = broken_links(&root)?;
    if !broken.is_empty() {
        bail!("links lead nowhere:\n{}", broken.join("\n"));
    }
    if args.links {
        return Ok(());
    }
    let mdbook = tools::mdbook(&tools::cache_dir(&root))?;
    run::run(Command::new(mdbook).arg("build").current_dir(&root))?;
    println!("{}", root.join("target/book/index.html").display());
    Ok(())
}

/// Links of the documents that lead to no file or to no heading, and pages that the book has not.
fn broken_links(root: &Path) -> Result<Vec<String>> {
    let mut broken = Vec::new();
    let summary = read(&root.join("docs/SUMMARY.md"))?;
    for file in documents(root)? {
        let name = file.strip_prefix(root).unwrap_or(&file).display();
        for link in links(&read(&file)?) {
            if let Some(why) = broken_link(root, &file, &link)? {
                broken.push(format!("{name}: {link}: {why}"));
            }
        }
        let page = file
            .strip_prefix(root.join("docs"))
            .unwrap_or(Path::new(""));
        let is_page = page != Path::new("") && page != Path::new("SUMMARY.md");
        if is_page && !summary.contains(&format!("({})", page.display())) {
            broken.push(format!("{name}: is not in docs/SUMMARY.md"));
        }
    }
    Ok(broken)
}

/// Why a link of a document leads nowhere.
fn broken_link(root: &Path, document: &Path, link: &str) -> Result<Option<String>> {
    if link.contains("://") || link.starts_with("mailto:") {
        return Ok(None);
    }
    let (path, heading) = link.split_once('#').unwrap_or((link, ""));
    let folder = document.parent().context("a file without a folder")?;
    let target = match path {
        "" => document.to_owned(),
        path => folder.join(path),
    };
    let Ok(target) = target.canonicalize() else {
        return Ok(Some("no such file".to_owned()));
    };
    let book = root.join("docs").canonicalize()?;
    if folder.canonicalize()?.starts_with(&book) && !target.starts_with(&book) {
        return Ok(Some("the book ends at docs/".to_owned()));
    }
    let has_heading =
        heading.is_empty() || headings(&read(&target)?).iter().any(|at| at == heading);
    Ok((!has_heading).then(|| "no such heading".to_owned()))
}

/// All Markdown files of the workspace but those of others.
fn documents(root: &Path) -> Result<Vec<PathBuf>> {
    let list = run::output(
        Command::new("git")
            .args([
                "ls-files",
                "--cached",
                "--others",
                "--exclude-standard",
                "*.md",
            ])
            .current_dir(root),
    )?;
    let files = list.lines().map(|line| root.join(line));
    Ok(files.filter(|file| file.is_file()).collect())
}

fn read(file: &Path) -> Result<String> {
    fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))
}

/// The lines outside of fenced blocks.
fn prose(text: &str) -> impl Iterator<Item = &str> {
    let mut is_fenced = false;
    text.lines().filter(move |line| {
        if line.starts_with("```") {
            is_fenced = !is_fenced;
        }
        !is_fenced
    })
}

/// The targets of the links, which may be broken over lines but not within the target.
fn links(text: &str) -> Vec<String> {
    prose(text)
        .flat_map(|line| line.split("](").skip(1))
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target.to_owned())
        .collect()
}

/// What headings are called in links.
fn headings(text: &str) -> Vec<String> {
    let is_kept = |c: &char| c.is_alphanumeric() || matches!(c, '-' | '_' | ' ');
    prose(text)
        .filter(|line| line.starts_with('#'))
        .map(|line| line.trim_start_matches('#').trim())
        .map(|title| {
            let title: String = title.chars().filter(is_kept).collect();
            title.to_lowercase().replace(' ', "-")
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_link_leads_somewhere() -> Result<()> {
        assert_eq!(broken_links(&run::workspace_root()?)?, Vec::<String>::new());
        Ok(())
    }

    #[test]
    fn links_and_headings_are_found() {
        let text = "# A `b` & c\n[x](y.md#z) and [u](v)\n```\n[no](no)\n# no\n```\n";
        assert_eq!(links(text), ["y.md#z", "v"]);
        assert_eq!(headings(text), ["a-b--c"]);
    }

    #[test]
    fn what_leads_nowhere_is_named() -> Result<()> {
        let root = run::workspace_root()?;
        let document = root.join("docs/README.md");
        let why = |link| broken_link(&root, &document, link);
        assert_eq!(why("leaks.md#growth")?, None);
        assert_eq!(why("leaks.md#no-such")?.as_deref(), Some("no such heading"));
        assert_eq!(why("no.md")?.as_deref(), Some("no such file"));
        assert_eq!(
            why("../README.md")?.as_deref(),
            Some("the book ends at docs/")
        );
        Ok(())
    }
}
