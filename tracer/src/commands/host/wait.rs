//! Waiting for the next sample, for Ctrl-C, and on a terminal for keys.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use tokio::runtime::Runtime;

use crate::engine::Interrupt;

/// How long a key may wait before a signal is noticed.
const SLICE: Duration = Duration::from_millis(100);

/// Why a wait is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// The time has come.
    Due,
    /// The user wants the end.
    Interrupted,
    /// A key asks for something.
    Key(Key),
}

/// What a key asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Key {
    /// The other order of the rows.
    Order,
    /// The next figure.
    Of,
    /// The same picture again: the terminal has another size, or the picture is held or let go.
    Redraw,
}

/// Waits by the clock and for signals.
pub struct Clock {
    runtime: Runtime,
    interrupt: Interrupt,
}

impl Clock {
    /// A clock that signals may interrupt.
    pub fn new(interrupt: Interrupt) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .build();
        Ok(Self {
            runtime: runtime.context("cannot set up timers")?,
            interrupt,
        })
    }

    /// Waits until `due`, or until the user wants the end.
    pub fn wait(&mut self, due: Instant) -> Wake {
        let interrupt = &mut self.interrupt;
        let waited = self
            .runtime
            .block_on(async { tokio::time::timeout_at(due.into(), interrupt.wait()).await });
        match waited {
            Ok(()) => Wake::Interrupted,
            Err(_) => Wake::Due,
        }
    }

    /// Waits until `due`, a signal or a key. `hold` is turned by the space bar.
    pub fn wait_for_keys(&mut self, due: Instant, hold: &mut bool) -> Result<Wake> {
        loop {
            if self.interrupt.is_set() {
                return Ok(Wake::Interrupted);
            }
            let left = due.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(Wake::Due);
            }
            if !event::poll(left.min(SLICE)).context("cannot read the terminal")? {
                continue;
            }
            match meaning(&event::read().context("cannot read the terminal")?) {
                Some(Meant::End) => return Ok(Wake::Interrupted),
                Some(Meant::Hold) => {
                    *hold = !*hold;
                    return Ok(Wake::Key(Key::Redraw));
                }
                Some(Meant::Key(key)) => return Ok(Wake::Key(key)),
                None => {}
            }
        }
    }
}

/// What an event of the terminal means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Meant {
    End,
    Hold,
    Key(Key),
}

fn meaning(event: &Event) -> Option<Meant> {
    let key = match event {
        Event::Resize(..) => return Some(Meant::Key(Key::Redraw)),
        Event::Key(key) if key.kind != KeyEventKind::Release => key,
        _ => return None,
    };
    match key {
        KeyEvent {
            code: KeyCode::Char('c'),
            modifiers: KeyModifiers::CONTROL,
            ..
        } => Some(Meant::End),
        // A zero is read as Ctrl and the space bar. It need not be of the user: an end of file that comes before the
        // terminal is raw is one (kernel, drivers/tty/n_tty.c).
        KeyEvent { modifiers, .. } if modifiers.contains(KeyModifiers::CONTROL) => None,
        KeyEvent { code, .. } => match code {
            KeyCode::Char('q') | KeyCode::Esc => Some(Meant::End),
            KeyCode::Char(' ') => Some(Meant::Hold),
            KeyCode::Char('s') => Some(Meant::Key(Key::Order)),
            KeyCode::Char('o') => Some(Meant::Key(Key::Of)),
            _ => None,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(code: KeyCode, modifiers: KeyModifiers) -> Option<Meant> {
        meaning(&Event::Key(KeyEvent::new(code, modifiers)))
    }

    #[test]
    fn keys_have_their_meaning() {
        let plain = |letter| key(KeyCode::Char(letter), KeyModifiers::NONE);
        assert_eq!(plain('q'), Some(Meant::End));
        assert_eq!(plain('c'), None);
        assert_eq!(key(KeyCode::Char(' '), KeyModifiers::CONTROL), None);
        assert_eq!(
            key(KeyCode::Char('c'), KeyModifiers::CONTROL),
            Some(Meant::End)
        );
        assert_eq!(plain('s'), Some(Meant::Key(Key::Order)));
        assert_eq!(plain('o'), Some(Meant::Key(Key::Of)));
        assert_eq!(plain(' '), Some(Meant::Hold));
        assert_eq!(
            meaning(&Event::Resize(80, 24)),
            Some(Meant::Key(Key::Redraw))
        );
        assert_eq!(meaning(&Event::FocusGained), None);
    }

    #[test]
    fn a_wait_ends_when_it_is_due() {
        let start = Instant::now();
        let mut clock = Clock::new(Interrupt::never()).expect("timers");
        assert_eq!(clock.wait(start + Duration::from_millis(30)), Wake::Due);
        assert!(start.elapsed() >= Duration::from_millis(30));
    }
}
