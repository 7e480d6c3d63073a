//! A picture that is refreshed in place: the terminal's other screen, left as it was found.

use std::io::{self, Write};

use anyhow::{Context, Result};
use crossterm::cursor::{Hide, MoveTo, Show};
use crossterm::style::Print;
use crossterm::terminal::{
    BeginSynchronizedUpdate, Clear, ClearType, EndSynchronizedUpdate, EnterAlternateScreen,
    LeaveAlternateScreen, disable_raw_mode, enable_raw_mode, size,
};
use crossterm::{execute, queue};

/// The terminal's other screen. When it is dropped, the terminal is as it was.
pub struct Screen;

impl Screen {
    /// Takes the terminal over: keys come one by one, and the shell's own screen is kept.
    pub fn enter() -> Result<Self> {
        enable_raw_mode().context("cannot set up the terminal")?;
        // From here on the drop restores it, also if the next step fails.
        let screen = Self;
        execute!(io::stdout(), EnterAlternateScreen, Hide).context("cannot set up the terminal")?;
        Ok(screen)
    }

    /// Columns and lines; those of the oldest terminals where it does not tell, or says that it has none.
    pub fn size(&self) -> (usize, usize) {
        let told = size()
            .ok()
            .filter(|(columns, lines)| *columns > 0 && *lines > 0);
        let (columns, lines) = told.unwrap_or((80, 24));
        (usize::from(columns), usize::from(lines))
    }

    /// Shows a text in place of what was there. Lines beyond the height are not shown; nothing flickers.
    pub fn show(&self, text: &str) -> io::Result<()> {
        let (_, height) = self.size();
        let mut out = io::BufWriter::new(io::stdout().lock());
        queue!(out, BeginSynchronizedUpdate, MoveTo(0, 0))?;
        for (index, line) in text.lines().take(height).enumerate() {
            if index > 0 {
                queue!(out, Print("\r\n"))?;
            }
            queue!(out, Print(line), Clear(ClearType::UntilNewLine))?;
        }
        queue!(out, Clear(ClearType::FromCursorDown), EndSynchronizedUpdate)?;
        out.flush()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The terminal may be gone; then there is nothing to restore.
        let _ = execute!(io::stdout(), Show, LeaveAlternateScreen);
        let _ = disable_raw_mode();
    }
}
