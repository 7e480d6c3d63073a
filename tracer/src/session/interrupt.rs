//! Ctrl-C: the first asks for the last report, the second leaves at once.

use std::thread;

use anyhow::{Context, Result};
use nix::sys::signal::{SigSet, Signal};
use tokio::sync::watch;

use crate::cli::EXIT_FAILED;

/// Signals that end a trace.
const SIGNALS: [Signal; 3] = [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP];

/// Tells whether the user wants the trace to end.
#[derive(Clone)]
pub struct Interrupt(watch::Receiver<bool>);

impl Interrupt {
    /// Takes the signals over. Call it before any thread is started: they are blocked in all of them, and waited
    /// for in one, so that the second Ctrl-C works even while the rest of the program is busy.
    pub fn install() -> Result<Self> {
        let mut signals = SigSet::empty();
        for signal in SIGNALS {
            signals.add(signal);
        }
        signals.thread_block().context("cannot block signals")?;
        let (sender, receiver) = watch::channel(false);
        thread::Builder::new()
            .name("signals".into())
            .spawn(move || wait(&signals, &sender))
            .context("cannot start a thread")?;
        Ok(Self(receiver))
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

fn wait(signals: &SigSet, sender: &watch::Sender<bool>) {
    loop {
        let Ok(_) = signals.wait() else { return };
        if sender.send_replace(true) {
            eprintln!(
                "memlens: interrupted twice: left without the last report; all probes are off"
            );
            std::process::exit(i32::from(EXIT_FAILED));
        }
    }
}
