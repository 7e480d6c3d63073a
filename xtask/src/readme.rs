//! The picture of the README: a real run of `memlens hunt`, as it looks on a terminal.

mod picture;

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};

use crate::{run, test};

/// Where the picture is.
const PICTURE: &str = "docs/hunt.svg";
/// What is typed, but for the path of memlens.
const WORDS: &str = "hunt --for 20s sessions";
/// Columns of the terminal.
const COLUMNS: u32 = 112;

/// Runs what the README shows, as root, and writes its picture.
#[derive(clap::Args)]
pub struct Args {
    /// Compare with the picture that is there, but for times, sizes and what else runs on the machine
    #[arg(long)]
    check: bool,
}

/// Makes the picture, or compares.
pub fn run(args: &Args) -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "a trace needs root: run `sudo -E env PATH=\"$PATH\" cargo xtask readme`"
    );
    let root = run::workspace_root()?;
    let target = run::target_dir()?;
    let printed = hunt(&root, &target, &test::release_program()?)?;
    let file = root.join(PICTURE);
    if !args.check {
        fs::write(&file, picture::of(&format!("memlens {WORDS}"), &printed))?;
        println!("{}", file.display());
        return Ok(());
    }
    let shown = fs::read_to_string(&file).with_context(|| format!("cannot read {PICTURE}"))?;
    let (expected, found) = (
        essence(&picture::text(&shown)),
        essence(&picture::plain(&printed)),
    );
    ensure!(
        expected == found,
        "{PICTURE} shows what memlens does not print any more: run `cargo xtask readme`, and look at it\n{}\nnot\n{}",
        found.join("\n"),
        expected.join("\n")
    );
    ensure!(expected.len() > 5, "{PICTURE} shows no stack");
    println!("{PICTURE} shows what memlens prints");
    Ok(())
}

/// Ends the program that was hunted.
struct Hunted(Child);

impl Drop for Hunted {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// What memlens prints on a terminal about a program that leaks.
fn hunt(root: &Path, target: &Path, memlens: &Path) -> Result<String> {
    let folder = root.join("xtask/readme");
    let out = target.join("readme");
    fs::create_dir_all(&out)?;
    let program = out.join("sessions");
    let map = format!("-ffile-prefix-map={}=/srv", folder.display());
    run::run(
        Command::new("gcc")
            .args(["-g", "-O1", &map, "-o"])
            .args([&program, &folder.join("sessions.c")]),
    )?;
    let _hunted = Hunted(Command::new(&program).stdin(Stdio::null()).spawn()?);
    let typed = format!(
        "stty cols {COLUMNS} rows 50; exec '{}' {WORDS} 2>/dev/null",
        memlens.display()
    );
    run::output(
        Command::new("script")
            .args(["-qec", &typed, "/dev/null"])
            .env("TERM", "xterm")
            .env_remove("NO_COLOR"),
    )
}

/// What another run must print as well: the conclusion, the stack, and that nothing was lost.
fn essence(lines: &[String]) -> Vec<String> {
    let mut kept = Vec::new();
    let mut is_stack = false;
    for line in lines.iter().map(|line| line.trim_end()) {
        let begins = |word: &str| line.starts_with(word);
        is_stack = begins("#1 ") || is_stack && begins("    ");
        if is_stack && begins("    ") {
            kept.push(line.split_whitespace().collect::<Vec<_>>().join(" "));
        } else if begins("found: ") {
            kept.extend(line.split(" (").next().map(str::to_owned));
        } else if begins("verdict: ") {
            kept.extend(line.split(" by ").next().map(str::to_owned));
        } else if begins("complete: ") {
            kept.push(line.to_owned());
        }
    }
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn numbers_may_differ_and_names_may_not() {
        let one = "found: a (1) grows 3 KiB\nverdict: leak: f grows by 1 B\n#1 2 B\n    f   a.c:1 [a]\n\nnext:\n";
        let other = "found: a (7) grows 9 KiB\nverdict: leak: f grows by 8 B\n#1 5 B\n    f  a.c:1 [a]\n\nmore:\n";
        assert_eq!(
            essence(&lines(one)),
            ["found: a", "verdict: leak: f grows", "f a.c:1 [a]"]
        );
        assert_eq!(essence(&lines(one)), essence(&lines(other)));
        assert_ne!(
            essence(&lines(one)),
            essence(&lines(&one.replace("f  ", "g  ")))
        );
    }

    /// The picture that is committed has what is compared.
    #[test]
    fn the_picture_has_a_stack() -> Result<()> {
        let picture = fs::read_to_string(run::workspace_root()?.join(PICTURE))?;
        let kept = essence(&picture::text(&picture));
        assert!(
            kept.iter().any(|line| line.starts_with("open_session ")),
            "{kept:?}"
        );
        Ok(())
    }

    #[test]
    fn the_readme_is_short() -> Result<()> {
        let text = fs::read_to_string(run::workspace_root()?.join("README.md"))?;
        assert!(text.lines().count() <= 120);
        assert!(text.contains(PICTURE));
        Ok(())
    }
}
