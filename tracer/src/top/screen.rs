//! The terminal: taken over for the view, and left as it was found, whatever happens.

use std::fs::File;
use std::io::{self, Stdout, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, Once, PoisonError};

use anyhow::{Context, Result};
use crossterm::cursor::{Hide, Show};
use crossterm::event::{DisableMouseCapture, EnableMouseCapture};
use crossterm::terminal::{
    BeginSynchronizedUpdate, EndSynchronizedUpdate, EnterAlternateScreen, LeaveAlternateScreen,
    disable_raw_mode, enable_raw_mode,
};
use crossterm::{execute, queue};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, dup2_stderr};
use ratatui::backend::CrosstermBackend;
use ratatui::{Frame, Terminal};

use crate::engine::Interrupt;

/// Whether the terminal is ours.
static IS_TAKEN: AtomicBool = AtomicBool::new(false);
/// Standard error as it was.
static STDERR: Mutex<Option<OwnedFd>> = Mutex::new(None);

/// The terminal's other screen. When it is dropped, or the program panics or exits, the terminal is as it was.
pub struct Screen {
    terminal: Terminal<CrosstermBackend<Stdout>>,
    errors: Option<Errors>,
}

impl Screen {
    /// Takes the terminal over: keys come one by one, the shell's own screen is kept, and what is written to standard
    /// error does not disturb the picture.
    ///
    /// # Errors
    /// Why the terminal cannot be taken over.
    pub fn enter() -> Result<Self> {
        give_back_at_the_end();
        let terminal = Terminal::new(CrosstermBackend::new(io::stdout()))
            .context("cannot set up the terminal")?;
        let errors = Errors::redirect();
        // From here on the drop restores it, also if the next step fails.
        let screen = Self { terminal, errors };
        take()?;
        Ok(screen)
    }

    /// Shows a picture. Only what has changed is written, and nothing flickers.
    ///
    /// # Errors
    /// Those of the terminal.
    pub fn draw(&mut self, picture: impl FnOnce(&mut Frame<'_>)) -> io::Result<()> {
        queue!(io::stdout(), BeginSynchronizedUpdate)?;
        self.terminal.draw(picture)?;
        execute!(io::stdout(), EndSynchronizedUpdate)
    }

    /// The next picture is drawn whole.
    ///
    /// # Errors
    /// Those of the terminal.
    pub fn forget(&mut self) -> io::Result<()> {
        self.terminal.clear()
    }

    /// Whether the terminal was given back meanwhile: something has panicked.
    pub fn is_lost(&self) -> bool {
        !IS_TAKEN.load(Ordering::SeqCst)
    }

    /// Lines that were written to standard error since the last call.
    pub fn errors(&mut self) -> Vec<String> {
        self.errors.as_mut().map_or_else(Vec::new, Errors::lines)
    }

    /// Gives the terminal back, stops the whole job as Ctrl-Z does, and takes it over again when that goes on.
    ///
    /// # Errors
    /// Why the terminal cannot be taken over again.
    pub fn suspend(&mut self) -> Result<()> {
        give_back();
        // The calling thread stops before the call returns. Without a shell that could go on with the job the kernel
        // stops nothing, and the picture comes back at once.
        kill(Pid::from_raw(0), Signal::SIGTSTP).context("cannot stop")?;
        if let Some(errors) = &self.errors {
            errors.take_over();
        }
        take()?;
        self.forget().context("cannot set up the terminal")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        give_back();
    }
}

fn take() -> Result<()> {
    IS_TAKEN.store(true, Ordering::SeqCst);
    enable_raw_mode().context("cannot set up the terminal")?;
    execute!(io::stdout(), EnterAlternateScreen, EnableMouseCapture, Hide)
        .context("cannot set up the terminal")
}

/// Gives the terminal back, once.
fn give_back() {
    if IS_TAKEN.swap(false, Ordering::SeqCst) {
        // The terminal may be gone; then there is nothing to restore.
        let _ = execute!(
            io::stdout(),
            EndSynchronizedUpdate,
            DisableMouseCapture,
            Show,
            LeaveAlternateScreen
        );
        let _ = disable_raw_mode();
    }
    let mut stderr = STDERR.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(before) = stderr.take() {
        let _ = dup2_stderr(&before);
    }
}

/// Gives the terminal back also where the program ends by a panic, or at once because it was asked to twice.
fn give_back_at_the_end() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            give_back();
            before(panic);
        }));
        Interrupt::before_leaving(give_back);
    });
}

/// What is written to standard error while the terminal is ours. A file takes as much as comes, so that nobody waits.
struct Errors {
    file: File,
    /// What was read of a line that has not ended yet.
    rest: String,
}

impl Errors {
    /// Lets standard error go to a file, where it is the terminal.
    fn redirect() -> Option<Self> {
        use std::io::IsTerminal;
        if !io::stderr().is_terminal() {
            return None;
        }
        let file = tempfile::Builder::new().append(true).tempfile().ok()?;
        let errors = Self {
            // Without its name.
            file: file.into_file(),
            rest: String::new(),
        };
        redirect_to(&errors.file).then_some(errors)
    }

    /// The same again, after standard error was given back.
    fn take_over(&self) {
        redirect_to(&self.file);
    }

    fn lines(&mut self) -> Vec<String> {
        let mut bytes = vec![0; 64 << 10];
        let read = self.file.read_at(&mut bytes, 0).unwrap_or(0);
        if read == 0 {
            return Vec::new();
        }
        // What was written between the two calls is lost; nothing that counts is said only here.
        let _ = self.file.set_len(0);
        self.rest.push_str(&String::from_utf8_lossy(&bytes[..read]));
        let mut lines: Vec<String> = self.rest.split('\n').map(str::to_owned).collect();
        self.rest = lines.pop().unwrap_or_default();
        lines
    }
}

/// Whether standard error goes to the file now.
fn redirect_to(file: &File) -> bool {
    let Ok(before) = io::stderr().as_fd().try_clone_to_owned() else {
        return false;
    };
    let _ = io::stderr().flush();
    if dup2_stderr(file).is_err() {
        return false;
    }
    *STDERR.lock().unwrap_or_else(PoisonError::into_inner) = Some(before);
    true
}
