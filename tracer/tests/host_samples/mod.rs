//! Machines that were made up, seen pass after pass: their reports come out of the very code that the program runs.

use std::sync::LazyLock;
use std::time::Duration;

use jiff::Timestamp;
use memlens::analysis::advice;
use memlens::profile::machine::{By, Of, Order, Pressure, Stall};
use memlens::profile::{Meta, Place, Profile};
use memlens::sources::machine::View;
use memlens::sources::machine::cgroup_files::{Bounds, Usage};
use memlens::sources::machine::cgroups::CgroupSample;
use memlens::sources::machine::figures::Figures;
use memlens::sources::machine::meminfo::Machine;
use memlens::sources::machine::observe::{Details, Observer, Snapshot};
use memlens::sources::machine::scan::{ProcessKey, ProcessSample};

const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;

/// All of them, by the names of their golden files.
pub fn all() -> Vec<(&'static str, Profile)> {
    static ALL: LazyLock<Vec<(&str, Profile)>> = LazyLock::new(make);
    ALL.clone()
}

fn make() -> Vec<(&'static str, Profile)> {
    vec![
        ("leaking", leaking(By::Process, VIEW)),
        ("by_container", leaking(By::Container, VIEW)),
        (
            "by_swap",
            leaking(
                By::Process,
                View {
                    order: Order::Size,
                    of: Of::Swap,
                    top: Some(3),
                },
            ),
        ),
        ("quiet", quiet()),
        ("nothing", nothing()),
    ]
}

/// The one of that name.
pub fn sample(name: &str) -> Profile {
    let mut all = all();
    let index = all.iter().position(|(other, _)| *other == name);
    all.swap_remove(index.expect("a sample of that name")).1
}

const VIEW: View = View {
    order: Order::Growth,
    of: Of::Total,
    top: Some(6),
};

struct Made;

impl Details for Made {
    fn pss(&mut self, pid: u32, rss: u64) -> Option<u64> {
        (pid != 2210).then_some(rss - rss / 8)
    }
    fn fds(&mut self, _pid: u32) -> Option<u64> {
        None
    }
    fn place(&mut self, pid: u32) -> Option<Place> {
        let path = match pid {
            4242 => {
                "0::/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90123456789abcdef0123456789abcd.scope"
            }
            1 => "0::/init.scope",
            2210 => return None,
            _ => "0::/system.slice/redis-server.service",
        };
        Some(memlens::process::cgroup::place(path))
    }
    fn user(&mut self, uid: u32) -> String {
        match uid {
            0 => "root".into(),
            33 => "www-data".into(),
            other => other.to_string(),
        }
    }
    fn age(&mut self, start: u64) -> Option<Duration> {
        Some(Duration::from_secs(90_000 - start))
    }
    fn bounds(&mut self, cgroup: &str) -> Bounds {
        match cgroup.contains("docker") {
            true => Bounds {
                max: Some(512 * MIB),
                high: Some(500 * MIB),
                oom_kills: Some(2),
            },
            false => Bounds::default(),
        }
    }
    fn pressure(&mut self, cgroup: &str) -> Option<Pressure> {
        let some = Stall {
            avg10: 4.5,
            avg60: 2.25,
            avg300: 0.5,
            total: Duration::from_millis(812),
        };
        cgroup.contains("docker").then_some(Pressure {
            some,
            full: Stall::default(),
        })
    }
}

/// A machine with 16 GiB of which `anonymous` is in processes; the page cache gives way.
fn machine(anonymous: u64, slab: u64) -> Machine {
    let kib = |bytes: u64| bytes / 1024;
    let free = 512 * MIB;
    let cache = 9 * GIB - anonymous - slab;
    let text = format!(
        "MemTotal: {} kB\nMemFree: {} kB\nMemAvailable: {} kB\nBuffers: 204800 kB\nCached: {} kB\nSwapCached: 0 kB\n\
         Active: 0 kB\nInactive: 0 kB\nSwapTotal: 2097148 kB\nSwapFree: 1835004 kB\nDirty: 0 kB\nWriteback: 0 kB\n\
         AnonPages: {} kB\nMapped: 300000 kB\nShmem: 102400 kB\nSlab: {} kB\nSReclaimable: 400000 kB\nSUnreclaim: {} kB\n\
         KernelStack: 16000 kB\nPageTables: 40000 kB\nSecPageTables: 0 kB\nCommitLimit: 10485760 kB\n\
         Committed_AS: {} kB\nVmallocTotal: 34359738367 kB\nVmallocUsed: 60000 kB\nVmallocChunk: 0 kB\nPercpu: 9000 kB\n\
         AnonHugePages: 1048576 kB\nHugePages_Total: 64\nHugePages_Free: 16\nHugePages_Rsvd: 2\nHugepagesize: 2048 kB\n\
         Hugetlb: 131072 kB\n",
        kib(16 * GIB),
        kib(free),
        kib(free + cache),
        kib(cache),
        kib(anonymous),
        400_000 + kib(slab),
        kib(slab),
        kib(anonymous + GIB),
    );
    Machine::parse(text.as_bytes()).expect("as the kernel writes it")
}

fn process(pid: u32, name: &str, uid: u32, place: &str, figures: Figures) -> ProcessSample {
    ProcessSample {
        key: ProcessKey {
            pid,
            start: 100 * u64::from(pid % 800),
        },
        name: name.into(),
        uid,
        place: Some(place.into()),
        figures,
    }
}

fn anonymous(bytes: u64) -> Figures {
    Figures {
        rss: bytes + 12 * MIB,
        anonymous: bytes,
        virtual_size: 4 * bytes + GIB,
        page_tables: bytes / 512,
        threads: 8,
        fds: Some(40),
        ..Figures::default()
    }
}

/// One process leaks, in a container with a limit; the kernel's slab grows too; others rest, jump, come and go.
fn leaking(by: By, view: View) -> Profile {
    let mut observer: Option<Observer> = None;
    for step in 0..=20_u64 {
        let at = step as f64 / 2.0;
        let leak = step * 26 * 1024 * 1024 / 1000;
        let mut leaky = anonymous(300 * MIB + leak);
        leaky.fds = Some(40 + step);
        let mut swapped = anonymous(80 * MIB);
        swapped.swap = 256 * MIB;
        let wobble = [0, 7, 3, 11, 5, 2, 9][step as usize % 7] * MIB;
        let mut processes = vec![
            process(1, "systemd", 0, "init.scope", anonymous(6 * MIB)),
            process(4242, "api", 33, "docker:3f2a9c1b7d4e", leaky),
            process(812, "redis-server", 110, "redis-server.service", swapped),
            process(
                2210,
                "java",
                1000,
                "user-1000.slice",
                anonymous(2 * GIB + wobble),
            ),
            process(
                3001,
                "na\u{ef}ve \u{2603}\nname",
                1000,
                "user-1000.slice",
                anonymous(MIB),
            ),
            process(3002, "bash", 1000, "user-1000.slice", anonymous(MIB)),
            process(3003, "bash", 1000, "user-1000.slice", anonymous(MIB)),
        ];
        processes.push(match step {
            0..=12 => process(900, "cc1", 1000, "user-1000.slice", anonymous(90 * MIB)),
            _ => process(901, "ld", 1000, "user-1000.slice", anonymous(30 * MIB)),
        });
        let kept = 320 * MIB + leak;
        let snapshot = Snapshot {
            at,
            machine: machine(3 * GIB + leak, 300 * MIB + step * MIB / 4),
            pressure: Some(pressure(step)),
            oom_kills: Some(if step > 15 { 4 } else { 3 }),
            took: Duration::from_micros(41_250),
            processes,
            cgroups: vec![
                group("/system.slice", GIB, None),
                group(
                    "/system.slice/docker-3f2a9c1b7d4e5f60718293a4b5c6d7e8f90123456789abcdef0123456789abcd.scope",
                    kept,
                    Some(0),
                ),
                group("/user.slice", 2 * GIB + wobble, Some(256 * MIB)),
                group("/init.scope", 18 * MIB, Some(0)),
            ],
        };
        match &mut observer {
            None => observer = Some(Observer::new(by, None, snapshot)),
            Some(observer) => {
                observer.add(snapshot);
                if step == 10 {
                    observer.settle();
                }
            }
        }
    }
    let mut profile = profile(&observer.expect("passes"), view);
    profile.meta.last = true;
    profile.notes = vec!["the PSS of 1 process may not be read: run as root".into()];
    profile
}

/// What the command makes of what was observed.
fn profile(observer: &Observer, view: View) -> Profile {
    let meta = Meta {
        time: Timestamp::from_second(1_795_000_000).expect("a time"),
        host: "web-1".to_owned(),
        kernel: "6.18.0".to_owned(),
        version: "0.1.0".to_owned(),
        ..Meta::default()
    };
    let mut profile = observer.profile(view, meta, &mut Made);
    advice::add(&mut profile, &|name| ["explain", "leaks"].contains(&name));
    profile
}

fn pressure(step: u64) -> Pressure {
    let stall = |microseconds| Stall {
        avg10: 1.5,
        avg60: 0.75,
        avg300: 0.14,
        total: Duration::from_micros(microseconds),
    };
    Pressure {
        some: stall(900_000 + step * 7_500),
        full: stall(400_000 + step * 1_250),
    }
}

fn group(path: &str, kept: u64, swap: Option<u64>) -> CgroupSample {
    CgroupSample {
        path: path.into(),
        usage: Usage {
            current: kept + kept / 3,
            kept,
            swap,
        },
    }
}

/// Nothing moves; an old kernel in a container tells less.
fn quiet() -> Profile {
    let at = |second: u32| Snapshot {
        at: f64::from(second),
        machine: machine(GIB, 100 * MIB),
        processes: vec![process(
            1,
            "sh",
            0,
            "/",
            Figures {
                fds: None,
                ..anonymous(MIB)
            },
        )],
        ..Snapshot::default()
    };
    let mut observer = Observer::new(By::Process, None, at(0));
    (1..=10).for_each(|second| observer.add(at(second)));
    let mut profile = profile(&observer, VIEW);
    profile.notes = vec![
        "memlens runs in a PID namespace: only its processes are seen, the machine's figures are those of the host".into(),
        "no memory cgroups are mounted: limits of containers are not seen".into(),
    ];
    profile
}

/// One pass, and nobody there.
fn nothing() -> Profile {
    profile(&Observer::new(By::Process, None, Snapshot::default()), VIEW)
}
