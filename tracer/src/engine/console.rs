//! What standard error says of slow steps: a spinner on a terminal while they last, and with `-v` how long they took.

use std::io::{self, IsTerminal, Write};
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use tracer_common::diagnostic::{Diagnostic, Level};

use crate::bpf::Events;

/// Steps that are over by then are not shown.
const SHOWN_AFTER: Duration = Duration::from_millis(300);
/// Time between two pictures of the spinner.
const TICK: Duration = Duration::from_millis(150);

/// A slow step. When it is dropped its line is gone from the terminal, before anything else is written.
pub struct Step {
    /// Tells the thread how far the step is; closed at its end.
    messages: Option<Sender<String>>,
    thread: Option<JoinHandle<()>>,
}

impl Step {
    /// Begins a step. The line appears only if the step takes a while.
    pub fn new(what: &str) -> Self {
        if !io::stderr().is_terminal() {
            return Self {
                messages: None,
                thread: None,
            };
        }
        let (sender, receiver) = mpsc::channel();
        let mut message = what.to_owned();
        let spinner = thread::Builder::new().name("spinner".into());
        let thread = spinner.spawn(move || {
            let shown = Instant::now() + SHOWN_AFTER;
            let mut bar = None;
            loop {
                let wait = match &bar {
                    None => shown.saturating_duration_since(Instant::now()),
                    Some(_) => TICK,
                };
                match receiver.recv_timeout(wait) {
                    Ok(next) => message = next,
                    Err(RecvTimeoutError::Timeout) => draw(&mut bar, &message),
                    Err(RecvTimeoutError::Disconnected) => break,
                }
            }
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
        });
        Self {
            messages: Some(sender),
            thread: thread.ok(),
        }
    }

    /// Says how far it is.
    pub fn at(&self, what: String) {
        if let Some(messages) = &self.messages {
            // Without the thread nothing is shown.
            let _ = messages.send(what);
        }
    }
}

impl Drop for Step {
    fn drop(&mut self) {
        self.messages = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// The next picture of the spinner; the first one takes the line for itself.
fn draw(bar: &mut Option<ProgressBar>, message: &str) {
    let bar = bar.get_or_insert_with(|| {
        clear_echo();
        let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
        if let Ok(style) = ProgressStyle::with_template("{spinner} {msg}") {
            bar.set_style(style);
        }
        bar
    });
    if bar.message() != message {
        bar.set_message(message.to_owned());
    }
    bar.tick();
}

/// Clears the line that the cursor is in: after a Ctrl-C the terminal has "^C" in it.
pub fn clear_echo() {
    let mut stderr = io::stderr();
    if stderr.is_terminal() {
        // A terminal that is gone has no line to clear.
        let _ = stderr.write_all(b"\r\x1b[2K");
    }
}

/// What `-v` and `-vv` add on standard error.
#[derive(Clone, Copy, Debug)]
pub struct Log {
    level: u8,
    is_quiet: bool,
    /// Whether lines are events of `tracing`.
    is_traced: bool,
}

impl Log {
    /// `-v` is level 1, `-vv` level 2.
    pub fn new(level: u8) -> Self {
        Self {
            level,
            is_quiet: false,
            is_traced: false,
        }
    }

    /// One whose lines are events of `tracing`, which a subscriber filters and writes.
    pub fn traced(level: u8) -> Self {
        Self {
            is_traced: true,
            ..Self::new(level)
        }
    }

    /// One line, always.
    pub fn line(self, line: impl std::fmt::Display) {
        match self.is_traced {
            true => tracing::info!("{line}"),
            false => eprintln!("memlens: {line}"),
        }
    }

    fn detail(self, line: impl std::fmt::Display) {
        match self.is_traced {
            true => tracing::debug!("{line}"),
            false => eprintln!("memlens: {line}"),
        }
    }

    /// The same, but for what goes well: another says that.
    pub fn quiet(self) -> Self {
        Self {
            is_quiet: true,
            ..self
        }
    }

    /// What goes well: what is traced, and what has ended.
    pub fn say(self, line: impl FnOnce() -> String) {
        if !self.is_quiet {
            self.line(line());
        }
    }

    /// With `-v`, how long `what` took that began at `since`.
    pub fn timing(self, what: &str, since: Instant) {
        if self.level > 0 {
            let took = milliseconds(since);
            self.detail(format_args!("{what} took {took:.1} ms"));
        }
    }

    /// With `-v`, how long a report took, and the memory that memlens itself has by then.
    pub fn report(self, since: Instant) {
        if self.level > 0 {
            let took = milliseconds(since);
            let resident = resident_kib().map_or_else(
                || "unknown".to_owned(),
                |kib| format!("{:.1} MiB", kib as f64 / 1024.0),
            );
            self.detail(format_args!(
                "report took {took:.1} ms, resident {resident}"
            ));
        }
    }

    /// With `-v`, lines about what was set up.
    pub fn details(self, lines: impl FnOnce() -> Vec<String>) {
        if self.level > 0 {
            lines().iter().for_each(|line| self.detail(line));
        }
    }

    /// Level of the programs' messages about what they do not follow: `-vvv` for calls and stacks, `-vvvv` also for
    /// blocks.
    pub fn diagnostics(self) -> u8 {
        match self.level {
            0..=2 => 0,
            3 => Level::Debug as u8,
            _ => Level::Trace as u8,
        }
    }

    /// What the programs have said, at most so many messages.
    pub fn messages(self, messages: &mut Events<Diagnostic>, most: usize) {
        for message in std::iter::from_fn(|| messages.take_next()).take(most) {
            self.detail(message);
        }
    }

    /// With `-vv`, something that happened to a process.
    pub fn event(self, line: impl FnOnce() -> String) {
        if self.level > 1 {
            self.detail(line());
        }
    }
}

fn milliseconds(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1e3
}

/// Resident memory of this process in KiB.
fn resident_kib() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_memory_is_known() {
        assert!(resident_kib().is_some_and(|kib| kib > 100));
    }
}
