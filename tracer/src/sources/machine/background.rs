//! Samples in a thread of their own, so that a pass over all processes holds nothing else up.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

/// What is sampled.
pub trait Sampled: Send + 'static {
    /// Takes one sample; whether there is to be another one.
    fn sample(&mut self) -> bool;

    /// Time between two samples.
    fn period(&self) -> Duration;
}

/// Samples again and again until it is dropped.
pub struct Background<T> {
    state: Arc<Mutex<T>>,
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl<T: Sampled> Background<T> {
    /// Begins to sample.
    ///
    /// # Errors
    /// There is no thread to be had.
    pub fn begin(state: T) -> Result<Self> {
        let state = Arc::new(Mutex::new(state));
        let (stop, stopped) = mpsc::channel::<()>();
        let shared = Arc::clone(&state);
        let sample = move || {
            let mut due = Instant::now();
            loop {
                due = (due + lock(&shared).period()).max(Instant::now());
                let wait = due.saturating_duration_since(Instant::now());
                match stopped.recv_timeout(wait) {
                    Err(RecvTimeoutError::Timeout) => {}
                    Ok(()) | Err(RecvTimeoutError::Disconnected) => return,
                }
                if !lock(&shared).sample() {
                    return;
                }
            }
        };
        let thread = std::thread::Builder::new().name("watch".into());
        let thread = thread.spawn(sample).context("cannot start a thread")?;
        Ok(Self {
            state,
            stop: Some(stop),
            thread: Some(thread),
        })
    }

    /// What is known now. No sample is taken while it is held.
    pub fn state(&self) -> MutexGuard<'_, T> {
        lock(&self.state)
    }
}

/// The state; a panic elsewhere leaves figures that are as good as before.
fn lock<T>(state: &Mutex<T>) -> MutexGuard<'_, T> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<T> Drop for Background<T> {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
