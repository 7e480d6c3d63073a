//! Ctrl-C: the first asks for the last report, the second leaves at once.

use std::sync::OnceLock;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use tokio::sync::watch;

/// Exit code of a run that was ended before its last report.
const EXIT_INTERRUPTED: i32 = 2;

/// Signals that end a trace.
const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, HANGUP];
/// The one that asks for the settings to be read again, where there are such.
const HANGUP: Signal = Signal::SIGHUP;

/// Signals so close to the first count as the same request: `timeout` sends one to its child and one to its group, and
/// a terminal and a script may both pass one on.
const SAME_REQUEST: Duration = Duration::from_millis(300);

/// What is to be done before the program exits at once.
static BEFORE_LEAVING: OnceLock<fn()> = OnceLock::new();

/// Tells whether the user wants the trace to end.
#[derive(Clone)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Takes the signals over. Call it before any thread is started: they are blocked in all of them, and waited
    /// for in one, so that the second Ctrl-C works even while the rest of the program is busy.
    pub fn install() -> Result<Self> {
        Self::take(None)
    }

    /// The same, but for SIGHUP, which calls `reload` in a thread of its own.
    ///
    /// # Errors
    /// What the system said.
    pub fn install_with_reload(reload: impl Fn() + Send + 'static) -> Result<Self> {
        Self::take(Some(Box::new(reload)))
    }

    fn take(reload: Option<Reload>) -> Result<Self> {
        let mut signals = SigSet::empty();
        for signal in SIGNALS {
            signals.add(signal);
        }
        signals.thread_block().context("cannot block signals")?;
        let (sender, receiver) = watch::channel(false);
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || wait(&signals, &sender, reload.as_ref()))
            .context("cannot start a thread")?;
        Ok(Self(receiver))
    }

    /// Has something done before the program exits at once: the first that asks for it. It must not wait for anything.
    pub fn before_leaving(done: fn()) {
        let _ = BEFORE_LEAVING.set(done);
    }

    /// One that is asked for by hand: sending `true` ends the trace, and so does dropping the sender.
    pub fn by_hand() -> (watch::Sender<bool>, Self) {
        let (sender, receiver) = watch::channel(false);
        (sender, Self(receiver))
    }

    /// One that nobody asks for.
    #[cfg(test)]
    pub fn never() -> Self {
        let (sender, receiver) = watch::channel(false);
        // Without a sender the wait would end.
        std::mem::forget(sender);
        Self(receiver)
    }

    /// Whether it was asked for.
    pub fn is_set(&self) -> bool {
        *self.0.borrow()
    }

    /// Waits until it is asked for.
    pub async fn wait(&mut self) {
        // The sender lives as long as the thread, which never ends before the program.
        let _ = self.0.wait_for(|asked| *asked).await;
    }
}

/// What a SIGHUP does where it does not end the trace.
type Reload = Box<dyn Fn() + Send>;

fn wait(signals: &SigSet, sender: &watch::Sender<bool>, reload: Option<&Reload>) {
    let mut requests = Requests::default();
    loop {
        let Ok(signal) = signals.wait() else { return };
        if let (HANGUP, Some(reload)) = (signal, reload) {
            reload();
            continue;
        }
        match requests.add(Instant::now()) {
            StopRequest::End => drop(sender.send_replace(true)),
            StopRequest::Same => {}
            StopRequest::Leave => {
                if let Some(done) = BEFORE_LEAVING.get() {
                    done();
                }
                eprintln!("memlens: interrupted again: exiting now; all probes are removed");
                std::process::exit(EXIT_INTERRUPTED);
            }
        }
    }
}

/// What a signal asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum StopRequest {
    /// The last report.
    End,
    /// Nothing new.
    Same,
    /// To leave without waiting for anything.
    Leave,
}

/// The signals so far.
#[derive(Default)]
struct Requests {
    first: Option<Instant>,
}

impl Requests {
    /// What the signal of this moment asks for.
    fn add(&mut self, now: Instant) -> StopRequest {
        match self.first {
            None => {
                self.first = Some(now);
                StopRequest::End
            }
            Some(first) if now.duration_since(first) < SAME_REQUEST => StopRequest::Same,
            Some(_) => StopRequest::Leave,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_signals_at_once_are_one_wish() {
        let start = Instant::now();
        let after = |ms| start + Duration::from_millis(ms);
        let mut requests = Requests::default();
        assert_eq!(requests.add(start), StopRequest::End);
        assert_eq!(requests.add(after(1)), StopRequest::Same);
        assert_eq!(requests.add(after(299)), StopRequest::Same);
        assert_eq!(requests.add(after(300)), StopRequest::Leave);
        assert_eq!(requests.add(after(5_000)), StopRequest::Leave);
    }
}
