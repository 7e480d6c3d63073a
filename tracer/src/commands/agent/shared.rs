//! What the parts of the agent have in common: the newest profiles, the counters, and how to reach the trace.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tokio::time::sleep;

use crate::agent::counters::Counters;
use crate::agent::metrics::Own;
use crate::agent::moment::Moment;
use crate::cli::AgentConfig;
use crate::profile::Profile;

/// Looks that are asked for come after this multiple of what one takes, and after this time at the latest.
const SHARE: f64 = 10.0;
const LONGEST: Duration = Duration::from_secs(5);

/// What is asked of the trace.
pub enum Ask {
    /// Trace these processes from now on.
    Want(BTreeSet<u32>),
    /// Look at the heaps now; the profile, where there is one.
    Look(oneshot::Sender<Option<Seen>>),
    /// Write a report of what is known of these processes.
    Report(Moment),
    /// End.
    End,
}

/// A profile, and which one it is.
#[derive(Clone)]
pub struct Seen {
    /// The profile.
    pub profile: Arc<Profile>,
    /// When it was made.
    pub at: Instant,
    /// Its number: another profile has another one.
    pub number: u64,
}

/// What is known.
#[derive(Default)]
pub struct Known {
    /// The machine.
    pub machine: Option<Seen>,
    /// The traced heaps.
    pub heaps: Option<Seen>,
    /// Their counters.
    pub counters: Counters,
    /// The agent itself.
    pub own: Own,
    /// Processes that somebody wants to see, and until when.
    pub asked: Vec<(u32, Instant)>,
    numbers: u64,
}

/// What the parts of the agent have in common.
pub struct Shared {
    known: Mutex<Known>,
    config: Mutex<Arc<AgentConfig>>,
    trace: Mutex<Option<UnboundedSender<Ask>>>,
    /// Processes that may have probes, as far as memory goes.
    pub room: AtomicUsize,
    /// When the agent began.
    pub begun: Instant,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // A panic elsewhere leaves figures that are as good as before.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shared {
    /// Nothing is known yet.
    pub fn new(config: AgentConfig) -> Arc<Self> {
        let room = config.cost.max_processes as usize;
        Arc::new(Self {
            known: Mutex::new(Known::default()),
            config: Mutex::new(Arc::new(config)),
            trace: Mutex::new(None),
            room: AtomicUsize::new(room),
            begun: Instant::now(),
        })
    }

    /// What is known. It must not be held for long.
    pub fn known(&self) -> MutexGuard<'_, Known> {
        locked(&self.known)
    }

    /// The settings of now.
    pub fn config(&self) -> Arc<AgentConfig> {
        Arc::clone(&locked(&self.config))
    }

    /// Other settings from now on.
    pub fn set_config(&self, config: AgentConfig) {
        let most = config.cost.max_processes as usize;
        self.room.store(most, Ordering::Relaxed);
        *locked(&self.config) = Arc::new(config);
    }

    /// The trace that asks go to; `None` where there is none.
    pub fn set_trace(&self, trace: Option<UnboundedSender<Ask>>) {
        *locked(&self.trace) = trace;
    }

    /// Asks the trace for something; whether there is one.
    pub fn ask(&self, ask: Ask) -> bool {
        let trace = locked(&self.trace).clone();
        trace.is_some_and(|trace| trace.send(ask).is_ok())
    }

    /// Time since the agent began.
    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// A new profile of the heaps.
    pub fn set_heaps(&self, profile: Profile, with_pid: bool) -> Seen {
        let mut known = self.known();
        known.counters.add(&profile, with_pid);
        let seen = known.seen(profile);
        known.heaps = Some(seen.clone());
        seen
    }

    /// A new profile of the machine.
    pub fn set_machine(&self, profile: Profile) {
        let mut known = self.known();
        let seen = known.seen(profile);
        known.machine = Some(seen);
    }

    /// A profile of the heaps that is not older than this; the newest there is where the trace cannot be asked.
    pub async fn heaps(&self, oldest: Duration) -> Option<Seen> {
        let newest = self.known().heaps.clone();
        if newest
            .as_ref()
            .is_some_and(|seen| seen.at.elapsed() <= oldest)
        {
            return newest;
        }
        // Whoever asks again and again waits: looks take at most a part of the time.
        let pause = Duration::from_secs_f64(self.known().own.heap_seconds * SHARE).min(LONGEST);
        let age = newest.as_ref().map_or(pause, |seen| seen.at.elapsed());
        sleep(pause.saturating_sub(age)).await;
        let (answer, answered) = oneshot::channel();
        if !self.ask(Ask::Look(answer)) {
            return newest;
        }
        answered.await.ok().flatten().or(newest)
    }
}

impl Known {
    fn seen(&mut self, profile: Profile) -> Seen {
        self.numbers += 1;
        Seen {
            profile: Arc::new(profile),
            at: Instant::now(),
            number: self.numbers,
        }
    }
}
