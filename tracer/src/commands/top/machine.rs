//! Looks at the machine again and again, in a thread of its own.

use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};

use super::Told;
use crate::analysis::advice;
use crate::cli::{TopConfig, has_command};
use crate::engine::meta;
use crate::process::info::own_resident_bytes;
use crate::profile::machine::{By, Of, Order, Pressure};
use crate::profile::{Meta, Place, Profile};
use crate::sources::machine::View;
use crate::sources::machine::cgroup_files::Bounds;
use crate::sources::machine::observe::{Details, Observer};
use crate::sources::machine::root::Root;
use crate::sources::machine::sampler::Sampler;
use crate::sources::machine::scan::Extras;

/// Longest time between two samples, so that a slope has enough of them.
const LONGEST: Duration = Duration::from_secs(1);
/// Passes take at most one part in so many of the time.
const SHARE: u32 = 20;
/// Time between two looks for new cgroups and for processes that were moved.
const REFRESH: Duration = Duration::from_secs(10);
/// Processes that the table has at most: those that grow and the largest.
const MOST: usize = 4_096;
/// Rows of the last report.
const ROWS: usize = 10;

/// The thread that looks.
pub struct Machine {
    stop: Sender<()>,
    thread: JoinHandle<Result<Watch>>,
}

/// What is known of the machine.
struct Watch {
    sampler: Sampler,
    observer: Observer,
    refreshed: Instant,
}

impl Machine {
    /// Begins to look; the first profile is told at once.
    ///
    /// # Errors
    /// What keeps the machine from being looked at.
    pub fn begin(config: &TopConfig, tell: Sender<Told>) -> Result<Self> {
        let mut sampler = Sampler::new(Root::machine(), Extras::default());
        let first = sampler.snapshot()?;
        let mut watch = Watch {
            observer: Observer::new(By::Process, config.window, first),
            sampler,
            refreshed: Instant::now(),
        };
        let interval = config.interval;
        let (stop, stopped) = mpsc::channel::<()>();
        let thread = std::thread::Builder::new().name("machine".into());
        let thread = thread.spawn(move || {
            let wait = |until: Instant| {
                let left = until.saturating_duration_since(Instant::now());
                matches!(stopped.recv_timeout(left), Err(RecvTimeoutError::Timeout))
            };
            let followed = watch.follow(interval, &tell, wait);
            if let Err(error) = &followed {
                let _ = tell.send(Told::Broken(anyhow!("{error:#}")));
            }
            followed.map(|()| watch)
        });
        Ok(Self {
            stop,
            thread: thread.context("cannot start a thread")?,
        })
    }

    /// Ends; the last report.
    ///
    /// # Errors
    /// What kept the machine from being looked at.
    pub fn end(self) -> Result<Profile> {
        drop(self.stop);
        let watch = self.thread.join();
        let mut watch = watch.map_err(|_| anyhow!("a thread has panicked"))??;
        watch.sample()?;
        Ok(watch.last())
    }
}

impl Watch {
    /// Tells a profile at each interval, as long as `wait` says that it goes on.
    fn follow(
        &mut self,
        interval: Duration,
        tell: &Sender<Told>,
        wait: impl Fn(Instant) -> bool,
    ) -> Result<()> {
        let mut due = Instant::now();
        let mut sample_due = due + self.period(interval);
        loop {
            let now = Instant::now();
            if now >= due {
                let told = Told::Machine(Box::new(self.profile()), own_resident_bytes());
                if tell.send(told).is_err() {
                    return Ok(());
                }
                // After a suspension what was missed is not made up for.
                while due <= now {
                    due += interval;
                }
            }
            if !wait(due.min(sample_due)) {
                return Ok(());
            }
            if Instant::now() >= sample_due.min(due) {
                self.sample()?;
                sample_due = Instant::now() + self.period(interval);
            }
        }
    }

    /// Time between two samples.
    fn period(&self, interval: Duration) -> Duration {
        let took = self.sampler.took() * SHARE;
        interval.min(LONGEST).max(took)
    }

    fn sample(&mut self) -> Result<()> {
        let mut snapshot = self.sampler.snapshot()?;
        // As memlens itself is left out, so are its helpers.
        let helpers = own_helpers();
        snapshot
            .processes
            .retain(|process| !helpers.contains(&process.key.pid));
        self.observer.add(snapshot);
        Ok(())
    }

    /// All processes, and no more of each than a pass has read.
    fn profile(&mut self) -> Profile {
        let view = View {
            order: Order::Growth,
            of: Of::Total,
            top: Some(MOST),
        };
        let details = &mut Brief(&mut self.sampler);
        let profile = self.observer.profile(view, meta(), details);
        self.observer.settle();
        if self.refreshed.elapsed() >= REFRESH {
            self.sampler.refresh();
            self.refreshed = Instant::now();
        }
        profile
    }

    /// The last report, as `memlens host` has it.
    fn last(&mut self) -> Profile {
        let view = View {
            order: Order::Growth,
            of: Of::Total,
            top: Some(ROWS),
        };
        let meta = Meta {
            last: true,
            ..meta()
        };
        let mut profile = self.observer.profile(view, meta, &mut self.sampler);
        profile.notes = self.sampler.notes();
        advice::add(&mut profile, &has_command);
        profile
    }
}

/// Children of this process that run the same program: each trace has one, which keeps its links.
fn own_helpers() -> Vec<u32> {
    let own = std::fs::read_link("/proc/self/exe").ok();
    let threads = std::fs::read_dir("/proc/self/task").into_iter().flatten();
    let lists = threads.flatten().filter_map(|thread| {
        // Not there where the kernel has no CONFIG_PROC_CHILDREN.
        std::fs::read_to_string(thread.path().join("children")).ok()
    });
    let children = lists.flat_map(|list| {
        let pids = list.split_whitespace().filter_map(|pid| pid.parse().ok());
        pids.collect::<Vec<u32>>()
    });
    let is_own = |pid: &u32| std::fs::read_link(format!("/proc/{pid}/exe")).ok() == own;
    children.filter(is_own).collect()
}

/// Details of all processes, without those that the kernel takes long for.
struct Brief<'a>(&'a mut Sampler);

impl Details for Brief<'_> {
    fn pss(&mut self, _pid: u32, _rss: u64) -> Option<u64> {
        None
    }

    fn fds(&mut self, _pid: u32) -> Option<u64> {
        None
    }

    fn place(&mut self, pid: u32) -> Option<Place> {
        self.0.place(pid)
    }

    fn user(&mut self, uid: u32) -> String {
        self.0.user(uid)
    }

    fn age(&mut self, _start: u64) -> Option<Duration> {
        None
    }

    fn bounds(&mut self, cgroup: &str) -> Bounds {
        self.0.bounds(cgroup)
    }

    fn pressure(&mut self, _cgroup: &str) -> Option<Pressure> {
        None
    }
}
