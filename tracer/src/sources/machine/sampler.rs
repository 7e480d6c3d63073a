//! Looks at the machine: takes snapshots, reads the details of the rows that are shown, and knows what it could not
//! see.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::cgroup_files::Bounds;
use super::cgroups::Cgroups;
use super::meminfo::Machine;
use super::observe::{Details, Snapshot};
use super::pressure;
use super::root::Root;
use super::scan::{Extras, Scanner, is_denied};
use crate::preflight::mounted;
use crate::process::users::Users;
use crate::profile::Place;
use crate::profile::machine::Pressure;
use crate::words::units::{bytes, counted_processes};

/// The PSS of larger processes is read only where it was asked for: the kernel walks all their pages for it, and
/// holds a lock meanwhile that their `mmap` waits for.
const PSS_UP_TO: u64 = 4 << 30;
/// Inode of the first PID namespace (`PROC_PID_INIT_INO` in the kernel's `proc_ns.h`).
const INITIAL_PID_NAMESPACE: &str = "pid:[4026531836]";

/// Looks at one machine.
pub struct Sampler {
    root: Root,
    begun: Instant,
    scanner: Scanner,
    cgroups: Cgroups,
    users: Users,
    ticks: f64,
    unseen: Unseen,
    /// How long the last pass took.
    took: Duration,
}

/// What could not be seen since the last profile.
#[derive(Debug, Default)]
struct Unseen {
    /// Processes whose PSS may not be read.
    denied: BTreeSet<u32>,
    /// The same, of a pass that read the PSS of all.
    denied_in_pass: usize,
    /// Processes too large for a PSS that was not asked for.
    large: BTreeSet<u32>,
    /// Processes that made no sense.
    unreadable: usize,
}

impl Sampler {
    /// A sampler; `extras` is what every pass reads.
    pub fn new(root: Root, extras: Extras) -> Self {
        Self {
            begun: Instant::now(),
            scanner: Scanner::new(&root, extras),
            cgroups: Cgroups::find(&root),
            users: Users::default(),
            ticks: procfs::ticks_per_second() as f64,
            unseen: Unseen::default(),
            took: Duration::ZERO,
            root,
        }
    }

    /// Takes one snapshot.
    ///
    /// # Errors
    /// One line, where `/proc` is not there or makes no sense.
    pub fn snapshot(&mut self) -> Result<Snapshot> {
        let start = Instant::now();
        let meminfo = self.root.path("proc/meminfo");
        let meminfo = std::fs::read(&meminfo)
            .with_context(|| format!("cannot read {}; is /proc mounted?", meminfo.display()))?;
        let mut pass = self
            .scanner
            .pass()
            .context("cannot list the processes in /proc")?;
        // Processes were read between the two; on a busy machine that may take a while.
        let middle = start.duration_since(self.begun) + start.elapsed() / 2;
        // memlens keeps samples, so it grows at first; it is left out, as in its other commands.
        let own = std::process::id();
        pass.processes.retain(|sample| sample.key.pid != own);
        self.unseen.denied_in_pass = pass.denied;
        self.unseen.unreadable = pass.unreadable;
        let text = |path: &str| self.root.text(path);
        let snapshot = Snapshot {
            at: middle.as_secs_f64(),
            machine: Machine::parse(&meminfo)?,
            pressure: text("proc/pressure/memory")
                .and_then(|text| pressure::parse(text.as_bytes())),
            oom_kills: text("proc/vmstat").and_then(|text| pressure::oom_kills(&text)),
            processes: pass.processes,
            cgroups: self.cgroups.sample(),
            took: start.elapsed(),
        };
        self.took = snapshot.took;
        Ok(snapshot)
    }

    /// Changes what the snapshots to come read.
    pub fn set_extras(&mut self, extras: Extras) {
        self.scanner.set_extras(extras);
    }

    /// How long the last snapshot took.
    pub fn took(&self) -> Duration {
        self.took
    }

    /// Looks for new cgroups and for processes that were moved; to be called with each profile.
    pub fn refresh(&mut self) {
        self.cgroups.refresh();
        self.scanner.forget_places();
        self.unseen = Unseen::default();
    }

    /// What could not be seen since the last profile, a sentence each.
    pub fn notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let denied = self.unseen.denied.len().max(self.unseen.denied_in_pass);
        if denied > 0 {
            let remedy = match nix::unistd::geteuid().is_root() {
                true => "the kernel forbids it even to root here",
                false => "run as root",
            };
            notes.push(format!(
                "the PSS of {} may not be read: {remedy}",
                counted_processes(denied as u64)
            ));
        }
        if !self.unseen.large.is_empty() {
            notes.push(format!(
                "the PSS of {} above {} is left out, since reading it takes the kernel long: --of pss reads all",
                counted_processes(self.unseen.large.len() as u64),
                bytes(PSS_UP_TO)
            ));
        }
        if self.unseen.unreadable > 0 {
            notes.push(format!(
                "{} could not be read and {} left out",
                counted_processes(self.unseen.unreadable as u64),
                if self.unseen.unreadable == 1 {
                    "is"
                } else {
                    "are"
                }
            ));
        }
        notes.extend(self.standing_notes());
        notes
    }

    /// What this memlens cannot see, however often it looks.
    fn standing_notes(&self) -> Vec<String> {
        let mut notes = Vec::new();
        let mounts = self.root.text("proc/self/mounts").unwrap_or_default();
        if hides_processes(&mounts) && !nix::unistd::geteuid().is_root() {
            notes.push(
                "/proc is mounted with hidepid: processes of other users are not seen; run as root"
                    .into(),
            );
        }
        let namespace = std::fs::read_link(self.root.path("proc/self/ns/pid"));
        if namespace.is_ok_and(|link| link.as_os_str() != INITIAL_PID_NAMESPACE) {
            notes.push(
                "memlens runs in a PID namespace: only its processes are seen, the machine's figures are those of the host"
                    .into(),
            );
        }
        if mounted(&mounts).any(|(kind, path, _)| kind == "fuse.lxcfs" && path.ends_with("meminfo"))
        {
            notes.push(
                "the machine's figures are those of this container, as lxcfs shows them".into(),
            );
        }
        if !self.cgroups.are_there() {
            notes.push("no memory cgroups are mounted: limits of containers are not seen".into());
        }
        notes
    }
}

/// Whether `/proc` shows a user only what is theirs (proc(5), `hidepid`).
fn hides_processes(mounts: &str) -> bool {
    let proc = mounted(mounts).filter(|(kind, path, _)| *kind == "proc" && path.ends_with("proc"));
    let hides = |option: &str| {
        let level = option.strip_prefix("hidepid=");
        level.is_some_and(|level| !matches!(level, "0" | "off"))
    };
    proc.last()
        .is_some_and(|(_, _, options)| options.split(',').any(hides))
}

impl Details for Sampler {
    fn pss(&mut self, pid: u32, rss: u64) -> Option<u64> {
        if rss > PSS_UP_TO {
            self.unseen.large.insert(pid);
            return None;
        }
        let pss: io::Result<u64> = self.scanner.pss(pid);
        if pss.as_ref().is_err_and(is_denied) {
            self.unseen.denied.insert(pid);
        }
        pss.ok()
    }

    fn fds(&mut self, pid: u32) -> Option<u64> {
        self.scanner.fds(pid).ok()
    }

    fn place(&mut self, pid: u32) -> Option<Place> {
        self.scanner.place(pid).ok()
    }

    fn user(&mut self, uid: u32) -> String {
        self.users.name(uid).to_owned()
    }

    fn age(&mut self, start: u64) -> Option<Duration> {
        let uptime = self.root.text("proc/uptime")?;
        let uptime: f64 = uptime.split_whitespace().next()?.parse().ok()?;
        Duration::try_from_secs_f64(uptime - start as f64 / self.ticks).ok()
    }

    fn bounds(&mut self, cgroup: &str) -> Bounds {
        self.cgroups.bounds(cgroup)
    }

    fn pressure(&mut self, cgroup: &str) -> Option<Pressure> {
        self.cgroups.pressure(cgroup)
    }
}

#[cfg(test)]
#[path = "sampler_tests.rs"]
mod tests;
