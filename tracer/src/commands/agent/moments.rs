//! What the kernel tells of memory that runs out: kills as they are decided, cgroups that reach their limits, tasks
//! that wait. Nothing is polled.

use std::collections::HashMap;
use std::fs::OpenOptions;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify, WatchDescriptor};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use crate::agent::moment::Moment;
use crate::bpf::OomKills;
use crate::cli::ReportOn;
use crate::engine::readable;
use crate::process::info;
use crate::words::units::duration;

/// Where cgroups of version 2 are mounted, by convention.
const CGROUPS: &str = "/sys/fs/cgroup";
/// What counts a cgroup's events.
const EVENTS: &str = "memory.events";
/// Where the kernel tells how long tasks wait for memory, and takes orders to say so.
const PRESSURE: &str = "/proc/pressure/memory";
/// Time within which waiting is counted. Without CAP_SYS_RESOURCE, which containers often lack, the kernel takes whole
/// multiples of 2 s alone (kernel/sched/psi.c, `psi_trigger_create`).
const WINDOW: Duration = Duration::from_secs(2);
/// Cgroups that are watched at most.
const MOST_CGROUPS: usize = 256;

/// What the kernel tells. What it cannot tell on this machine is left out.
pub struct Moments {
    kills: Vec<AsyncFd<OomKills>>,
    limits: Option<Limits>,
    stall: Option<(AsyncFd<OwnedFd>, Duration)>,
}

/// What is known when memory runs out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    /// A process is about to be killed.
    Killed(u32),
    /// Something else.
    Moment(Moment),
}

impl Moments {
    /// Lets the kernel tell what reports are to be written on. Must be called within the runtime.
    pub fn open(on: &[ReportOn], stall: Duration) -> Self {
        let said = |what: &str, error: &io::Error| {
            tracing::warn!("{what} is not noticed: {error}");
        };
        let kills = match kills() {
            Ok(kills) => kills,
            Err(error) => {
                said("a kill for lack of memory", &error);
                Vec::new()
            }
        };
        let limits = on.contains(&ReportOn::Limit).then(|| {
            let limits = Limits::open();
            limits.map_err(|error| said("a cgroup that reaches its limit", &error))
        });
        let pressure = on.contains(&ReportOn::Stall).then(|| {
            let pressure = pressure(stall);
            pressure.map_err(|error| said("waiting for memory", &error))
        });
        let pressure = pressure.and_then(Result::ok);
        Self {
            kills,
            limits: limits.and_then(Result::ok),
            stall: pressure.map(|trigger| (trigger, stall)),
        }
    }

    /// Watches these cgroups, and no others.
    pub fn watch_cgroups<'a>(&mut self, cgroups: impl Iterator<Item = &'a str>) {
        if let Some(limits) = &mut self.limits {
            limits.watch(cgroups);
        }
    }

    /// Waits until the kernel tells something. Nothing is lost if the wait is given up.
    pub async fn next(&mut self) -> Vec<Told> {
        let Self {
            kills,
            limits,
            stall,
        } = self;
        tokio::select! {
            biased;
            told = any_kill(kills) => told,
            told = any_limit(limits) => told,
            told = any_stall(stall) => told,
        }
    }
}

/// The rings of kills.
fn kills() -> io::Result<Vec<AsyncFd<OomKills>>> {
    if let Err(error) = crate::preflight::ensure_tracefs() {
        tracing::debug!("{error}");
    }
    OomKills::open()?.into_iter().map(readable).collect()
}

async fn any_kill(kills: &mut [AsyncFd<OomKills>]) -> Vec<Told> {
    let ready = std::future::poll_fn(|context| {
        let mut kills = kills.iter_mut();
        let ready = kills.any(|ring| match ring.poll_read_ready(context) {
            std::task::Poll::Ready(Ok(mut guard)) => {
                guard.clear_ready();
                true
            }
            _ => false,
        });
        match ready {
            true => std::task::Poll::Ready(()),
            false => std::task::Poll::Pending,
        }
    });
    ready.await;
    // Several CPUs may have told something by now.
    let mut victims: Vec<_> = kills
        .iter_mut()
        .flat_map(|ring| ring.get_mut().drain())
        .collect();
    victims.sort_by_key(|victim| victim.time_ns);
    let victims = victims.into_iter();
    victims
        .map(|victim| Told::Killed(process_of(victim.id)))
        .collect()
}

/// The process of a thread; of one that is gone already, the same number, as most victims are told by their leader.
fn process_of(id: u32) -> u32 {
    info::read(id).map_or(id, |info| info.pid)
}

async fn any_limit(limits: &mut Option<Limits>) -> Vec<Told> {
    let Some(limits) = limits else {
        return std::future::pending().await;
    };
    limits.next().await
}

async fn any_stall(stall: &mut Option<(AsyncFd<OwnedFd>, Duration)>) -> Vec<Told> {
    let Some((trigger, time)) = stall else {
        return std::future::pending().await;
    };
    match trigger.ready(Interest::PRIORITY).await {
        Ok(mut guard) => guard.clear_ready(),
        Err(_) => return std::future::pending().await,
    }
    vec![Told::Moment(Moment {
        why: ReportOn::Stall,
        pid: None,
        cgroup: None,
        text: format!(
            "written because tasks waited for memory for {} within {}",
            duration(*time),
            duration(WINDOW)
        ),
    })]
}

/// Orders the kernel to say when tasks wait for so long within the window (Documentation/accounting/psi.rst).
fn pressure(stall: Duration) -> io::Result<AsyncFd<OwnedFd>> {
    let mut file = OpenOptions::new().read(true).write(true).open(PRESSURE)?;
    let order = format!("some {} {}\0", stall.as_micros(), WINDOW.as_micros());
    file.write_all(order.as_bytes())?;
    // SAFETY: the descriptor is owned by what is registered, and kept for as long as that lives.
    let registered =
        unsafe { AsyncFd::register_with_interest(OwnedFd::from(file), Interest::PRIORITY) };
    registered.map_err(|error| error.into_parts().1)
}

/// An inotify instance, as the runtime wants it.
struct Files(Inotify);

impl AsRawFd for Files {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_fd().as_raw_fd()
    }
}

/// Cgroups that may reach their limits.
struct Limits {
    inotify: AsyncFd<Files>,
    watched: HashMap<PathBuf, Watched>,
}

struct Watched {
    descriptor: WatchDescriptor,
    cgroup: String,
    reached: u64,
}

impl Limits {
    fn open() -> io::Result<Self> {
        let inotify = Inotify::init(InitFlags::IN_NONBLOCK | InitFlags::IN_CLOEXEC)?;
        Ok(Self {
            inotify: readable(Files(inotify))?,
            watched: HashMap::new(),
        })
    }

    fn watch<'a>(&mut self, cgroups: impl Iterator<Item = &'a str>) {
        let mut wanted: HashMap<PathBuf, String> = HashMap::new();
        for cgroup in cgroups.filter(|cgroup| cgroup.starts_with('/')) {
            let path = Path::new(CGROUPS)
                .join(cgroup.trim_start_matches('/'))
                .join(EVENTS);
            wanted.insert(path, cgroup.to_owned());
        }
        let inotify = &self.inotify.get_ref().0;
        self.watched.retain(|path, watched| {
            let is_wanted = wanted.contains_key(path);
            if !is_wanted {
                // One that is gone is not watched any more anyway.
                let _ = inotify.rm_watch(watched.descriptor);
            }
            is_wanted
        });
        for (path, cgroup) in wanted {
            if self.watched.contains_key(&path) || self.watched.len() >= MOST_CGROUPS {
                continue;
            }
            // The root has none, nor has version 1.
            let Ok(descriptor) = inotify.add_watch(&path, AddWatchFlags::IN_MODIFY) else {
                continue;
            };
            let watched = Watched {
                descriptor,
                cgroup,
                reached: reached(&path),
            };
            self.watched.insert(path, watched);
        }
    }

    async fn next(&mut self) -> Vec<Told> {
        loop {
            match self.inotify.readable_mut().await {
                Ok(mut guard) => {
                    while guard
                        .get_inner()
                        .0
                        .read_events()
                        .is_ok_and(|events| !events.is_empty())
                    {}
                    guard.clear_ready();
                }
                Err(_) => return std::future::pending().await,
            }
            let told: Vec<Told> = self
                .watched
                .iter_mut()
                .filter_map(|(path, watched)| told(path, watched))
                .collect();
            if !told.is_empty() {
                return told;
            }
        }
    }
}

fn told(path: &Path, watched: &mut Watched) -> Option<Told> {
    let now = reached(path);
    let before = std::mem::replace(&mut watched.reached, now);
    (now > before).then(|| {
        Told::Moment(Moment {
            why: ReportOn::Limit,
            pid: None,
            cgroup: Some(watched.cgroup.clone()),
            text: format!(
                "written because cgroup {} has reached its limit",
                watched.cgroup
            ),
        })
    })
}

/// How often a cgroup has reached memory.high or memory.max.
fn reached(path: &Path) -> u64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    reached_in(&text)
}

fn reached_in(text: &str) -> u64 {
    let counts = text.lines().filter_map(|line| line.split_once(' '));
    let reached = counts.filter(|(key, _)| matches!(*key, "high" | "max"));
    reached
        .filter_map(|(_, count)| count.trim().parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_counted() {
        let text = "low 7\nhigh 2\nmax 3\noom 1\noom_kill 1\noom_group_kill 0\n";
        assert_eq!(reached_in(text), 5);
        assert_eq!(reached_in(""), 0);
    }

    #[test]
    fn a_thread_belongs_to_its_process() {
        let own = std::process::id();
        assert_eq!(process_of(own), own);
        // SAFETY: a system call without arguments.
        let thread = std::thread::spawn(|| unsafe { libc::gettid() }.cast_unsigned());
        let gone = thread.join().expect("a thread");
        assert_eq!(process_of(gone), gone);
    }
}
