//! A terminal of its own, in tmux: keys go in, and what stands on the screen comes out.

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};

use crate::child::until;
use crate::need;

/// How long something may take to stand on the screen.
const LIMIT: Duration = Duration::from_secs(30);
/// Time between two looks at the screen.
const BETWEEN: Duration = Duration::from_millis(50);
/// What the shell says when it waits for a line.
const PROMPT: &str = "shell>";

/// A shell in a terminal. Both are gone when it is dropped.
pub struct Screen {
    tmux: PathBuf,
    /// The server's own socket: no other tmux is touched.
    socket: String,
}

impl Screen {
    /// A shell in a terminal of so many columns and lines.
    pub fn start(columns: u16, lines: u16) -> Result<Self> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let screen = Self {
            tmux: need::program("tmux")?,
            socket: format!("memlens-test-{}-{number}", std::process::id()),
        };
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let shell = format!("PS1='{PROMPT} ' exec bash --norc --noprofile");
        let mut command = screen.command();
        command
            .args(["-f", "/dev/null", "new-session", "-d", "-s", "test"])
            .args(["-x", &columns, "-y", &lines, &shell])
            .env("LC_ALL", "C.UTF-8")
            .env_remove("NO_COLOR");
        run(&mut command)?;
        screen.wait_for(PROMPT)?;
        Ok(screen)
    }

    fn command(&self) -> Command {
        let mut command = Command::new(&self.tmux);
        command.args(["-L", &self.socket]);
        command
    }

    /// Presses keys, as tmux names them: `Enter`, `C-z`, `q`.
    pub fn press(&self, keys: &[&str]) -> Result<()> {
        run(self.command().args(["send-keys", "-t", "test"]).args(keys))?;
        Ok(())
    }

    /// Types a line for the shell, or for who reads it.
    pub fn enter(&self, line: &str) -> Result<()> {
        run(self.command().args(["send-keys", "-t", "test", "-l", line]))?;
        self.press(&["Enter"])
    }

    /// Gives the terminal another size.
    pub fn resize(&self, columns: u16, lines: u16) -> Result<()> {
        let (columns, lines) = (columns.to_string(), lines.to_string());
        let size = ["resize-window", "-t", "test", "-x", &columns, "-y", &lines];
        run(self.command().args(size))?;
        Ok(())
    }

    /// Takes the terminal away from what runs in it.
    pub fn close(&self) -> Result<()> {
        run(self.command().arg("kill-server"))?;
        Ok(())
    }

    /// What stands on the screen.
    pub fn text(&self) -> Result<String> {
        run(self.command().args(["capture-pane", "-p", "-t", "test"]))
    }

    /// Waits until a text stands on the screen; all that does then.
    pub fn wait_for(&self, text: &str) -> Result<String> {
        self.wait_until(text, |screen| screen.contains(text))
    }

    /// Waits until the screen is as it should be.
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&str) -> bool) -> Result<String> {
        let mut last = String::new();
        let found = until(what, LIMIT, || {
            // A look takes a process of its own.
            std::thread::sleep(BETWEEN);
            last = self.text()?;
            Ok(is_so(&last).then_some(()))
        });
        match found {
            Ok(()) => Ok(last),
            Err(error) => bail!("{error:#}:\n{last}"),
        }
    }

    /// Waits until the shell waits for a line again; what stands on the screen then.
    pub fn wait_for_shell(&self) -> Result<String> {
        let is_at_the_end = |text: &str| text.trim_end().ends_with(PROMPT);
        self.wait_until("the shell", is_at_the_end)
    }

    /// How the terminal is set up, as stty tells.
    pub fn modes(&self) -> Result<String> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("modes");
        self.enter(&format!("clear; stty -a > {}; echo set", file.display()))?;
        self.wait_until("stty", |text| text.lines().any(|line| line == "set"))?;
        let modes = std::fs::read_to_string(&file)?;
        ensure!(modes.contains("icanon"), "{modes}");
        // The size is not a mode.
        Ok(modes.lines().skip(1).collect())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        if let Ok(text) = self.text() {
            // Shown by the test runner only where the test fails.
            println!("--- screen\n{text}\n---");
        }
        let _ = self.close();
    }
}

fn run(command: &mut Command) -> Result<String> {
    let output = command.output().context("cannot run tmux")?;
    ensure!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
