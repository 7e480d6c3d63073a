//! Gathers what a trace depends on from the machine: the only part of `preflight` that reads files.

use std::fs;
use std::path::{Path, PathBuf};

use super::kernel::{Feature, Kernel, features_named_in_btf};

/// Inode of the initial PID namespace (`PROC_PID_INIT_INO` in the kernel's `include/linux/proc_ns.h`).
const INITIAL_PID_NAMESPACE: u64 = 0xefff_fffc;
/// Inode of the initial user namespace (`PROC_USER_INIT_INO`, same file).
const INITIAL_USER_NAMESPACE: u64 = 0xefff_fffd;

/// The kernel's own type information.
const BTF: &str = "sys/kernel/btf/vmlinux";

/// What this machine and this process are like. `None` means that it could not be read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Facts {
    /// Name of the architecture, as Rust names it.
    pub arch: String,
    /// Bytes of a page of memory; 0 if that is not known.
    pub page_size: u64,
    /// The running kernel.
    pub kernel: Kernel,
    /// Whether the kernel carries its own type information.
    pub btf: bool,
    /// Effective capabilities, as a mask.
    pub capabilities: u64,
    /// Effective user id.
    pub euid: u32,
    /// Kernel lockdown; `None` also where the kernel does not have it.
    pub lockdown: Option<Lockdown>,
    /// Soft limit of locked memory in bytes.
    pub memlock: Option<Limit>,
    /// `net.core.bpf_jit_enable`; only root may read it.
    pub bpf_jit_enable: Option<u32>,
    /// `kernel.unprivileged_bpf_disabled`.
    pub unprivileged_bpf_disabled: Option<u32>,
    /// `kernel.perf_event_paranoid`.
    pub perf_event_paranoid: Option<i32>,
    /// Where tracefs is mounted.
    pub tracefs: Option<PathBuf>,
    /// Type number of the kernel's uprobe event source.
    pub uprobe_event_type: Option<u32>,
    /// Yama's `ptrace_scope`; `None` where the kernel does not have Yama.
    pub ptrace_scope: Option<u32>,
    /// Whether this process sees PIDs as the kernel numbers them.
    pub initial_pid_namespace: Option<bool>,
    /// Whether this process's capabilities count for the whole machine.
    pub initial_user_namespace: Option<bool>,
    /// Least memory limit of this process's control groups in bytes; `None` where there is none.
    pub cgroup_memory_limit: Option<u64>,
}

/// State of the kernel's lockdown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lockdown {
    /// Off.
    None,
    /// Root must not change the kernel.
    Integrity,
    /// Root must not read the kernel either.
    Confidentiality,
}

/// A resource limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// So many bytes.
    Bytes(u64),
    /// Without limit.
    Unlimited,
}

impl Facts {
    /// Reads everything, from under `root` in place of `/` if one is given.
    ///
    /// Never fails: what cannot be read is `None`, false or zero, which [`check`](super::check) judges.
    pub fn gather(root: Option<&Path>) -> Self {
        let root = Root(root.unwrap_or(Path::new("/")));
        let status = root.text("proc/self/status").unwrap_or_default();
        let mut kernel =
            Kernel::from_release(&root.text("proc/sys/kernel/osrelease").unwrap_or_default());
        let btf = root.path(BTF);
        // Megabytes that say nothing new about a kernel whose version already holds everything.
        if has_older_version_than_some_feature(&kernel) {
            kernel.named = features_named_in_btf(&fs::read(&btf).unwrap_or_default());
        }
        let mounts = root.text("proc/mounts").unwrap_or_default();
        Self {
            arch: std::env::consts::ARCH.to_owned(),
            page_size: procfs::page_size(),
            kernel,
            btf: btf.is_file(),
            capabilities: effective_capabilities(&status).unwrap_or(0),
            euid: effective_user(&status).unwrap_or(u32::MAX),
            lockdown: root
                .text("sys/kernel/security/lockdown")
                .as_deref()
                .and_then(parse_lockdown),
            memlock: root
                .text("proc/self/limits")
                .as_deref()
                .and_then(parse_memlock),
            bpf_jit_enable: root.number("proc/sys/net/core/bpf_jit_enable"),
            unprivileged_bpf_disabled: root.number("proc/sys/kernel/unprivileged_bpf_disabled"),
            perf_event_paranoid: root.number("proc/sys/kernel/perf_event_paranoid"),
            tracefs: find_tracefs(&mounts),
            uprobe_event_type: root.number("sys/bus/event_source/devices/uprobe/type"),
            ptrace_scope: root.number("proc/sys/kernel/yama/ptrace_scope"),
            initial_pid_namespace: root
                .namespace("proc/self/ns/pid")
                .map(|inode| inode == INITIAL_PID_NAMESPACE),
            initial_user_namespace: root
                .namespace("proc/self/ns/user")
                .map(|inode| inode == INITIAL_USER_NAMESPACE),
            cgroup_memory_limit: root.cgroup_memory_limit(&mounts),
        }
    }
}

/// The folder under which everything is looked up.
struct Root<'a>(&'a Path);

impl Root<'_> {
    fn path(&self, inner: impl AsRef<Path>) -> PathBuf {
        let inner = inner.as_ref();
        self.0.join(inner.strip_prefix("/").unwrap_or(inner))
    }

    fn text(&self, inner: impl AsRef<Path>) -> Option<String> {
        fs::read_to_string(self.path(inner)).ok()
    }

    fn number<T: std::str::FromStr>(&self, inner: &str) -> Option<T> {
        self.text(inner)?.trim().parse().ok()
    }

    /// Inode of a namespace, from a link such as `pid:[4026531836]`.
    fn namespace(&self, inner: &str) -> Option<u64> {
        let link = fs::read_link(self.path(inner)).ok()?;
        let (_, inode) = link.to_str()?.split_once(":[")?;
        inode.strip_suffix(']')?.parse().ok()
    }

    /// The least limit on the way from this process's memory cgroup up to the root of its hierarchy.
    fn cgroup_memory_limit(&self, mounts: &str) -> Option<u64> {
        let groups = self.text("proc/self/cgroup")?;
        let limits =
            memory_cgroups(&groups, mounts)
                .into_iter()
                .flat_map(|(mount, group, file)| {
                    let group = PathBuf::from(group);
                    let folders: Vec<PathBuf> = group
                        .ancestors()
                        .map(|part| {
                            mount
                                .join(part.strip_prefix("/").unwrap_or(part))
                                .join(file)
                        })
                        .collect();
                    folders
                });
        limits
            .filter_map(|file| parse_memory_limit(&self.text(file)?))
            .min()
    }
}

fn has_older_version_than_some_feature(kernel: &Kernel) -> bool {
    let version = (kernel.version.0, kernel.version.1);
    Feature::ALL.iter().any(|feature| version < feature.since())
}

fn effective_capabilities(status: &str) -> Option<u64> {
    u64::from_str_radix(field(status, "CapEff:")?, 16).ok()
}

/// The effective id is the second of the four on the `Uid:` line (proc_pid_status(5)).
fn effective_user(status: &str) -> Option<u32> {
    field(status, "Uid:")?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    text.lines()
        .find_map(|line| line.strip_prefix(name))
        .map(str::trim)
}

/// The file lists the states with the present one in brackets: `none [integrity] confidentiality`.
fn parse_lockdown(text: &str) -> Option<Lockdown> {
    let (_, rest) = text.split_once('[')?;
    let (state, _) = rest.split_once(']')?;
    match state {
        "none" => Some(Lockdown::None),
        "integrity" => Some(Lockdown::Integrity),
        "confidentiality" => Some(Lockdown::Confidentiality),
        _ => None,
    }
}

fn parse_memlock(limits: &str) -> Option<Limit> {
    let soft = field(limits, "Max locked memory")?
        .split_whitespace()
        .next()?;
    match soft {
        "unlimited" => Some(Limit::Unlimited),
        bytes => bytes.parse().ok().map(Limit::Bytes),
    }
}

/// Mounted file systems as (type, mount point, options). A space in a path is `\040` (proc_pid_mounts(5)).
pub(crate) fn mounted(mounts: &str) -> impl Iterator<Item = (&str, PathBuf, &str)> {
    mounts.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        let path = words.next()?.replace("\\040", " ");
        Some((words.next()?, PathBuf::from(path), words.next()?))
    })
}

/// Where tracefs is mounted; debugfs, where it is mounted, carries it in `tracing`.
pub(super) fn find_tracefs(mounts: &str) -> Option<PathBuf> {
    let own = mounted(mounts).find(|(kind, ..)| *kind == "tracefs");
    let debugfs = || mounted(mounts).find(|(kind, ..)| *kind == "debugfs");
    own.map(|(_, path, _)| path)
        .or_else(|| debugfs().map(|(_, path, _)| path.join("tracing")))
}

/// This process's memory cgroups as (mount point, group, limit file), version 1 and 2 (cgroups(7)).
fn memory_cgroups<'a>(groups: &'a str, mounts: &str) -> Vec<(PathBuf, &'a str, &'static str)> {
    let is_memory = |options: &str| options.split(',').any(|option| option == "memory");
    let mount_of = |version: &str| {
        mounted(mounts)
            .find(|(kind, _, options)| {
                *kind == version && (version == "cgroup2" || is_memory(options))
            })
            .map(|(_, path, _)| path)
    };
    groups
        .lines()
        .filter_map(|line| {
            let mut parts = line.splitn(3, ':').skip(1);
            let (controllers, group) = (parts.next()?, parts.next()?);
            if controllers.is_empty() {
                Some((mount_of("cgroup2")?, group, "memory.max"))
            } else if is_memory(controllers) {
                Some((mount_of("cgroup")?, group, "memory.limit_in_bytes"))
            } else {
                None
            }
        })
        .collect()
}

/// A limit in bytes; `None` for "max" and for version 1's "no limit", a number near 2^63.
fn parse_memory_limit(text: &str) -> Option<u64> {
    text.trim().parse().ok().filter(|bytes| *bytes < 1 << 62)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    struct Machine(tempfile::TempDir);

    impl Machine {
        fn new() -> Self {
            Self(tempfile::tempdir().expect("a folder can be made"))
        }

        fn with(self, path: &str, text: &str) -> Self {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().expect("has a folder")).expect("is made");
            fs::write(path, text).expect("is written");
            self
        }

        fn linked(self, path: &str, to: &str) -> Self {
            let path = self.0.path().join(path);
            fs::create_dir_all(path.parent().expect("has a folder")).expect("is made");
            symlink(to, path).expect("is linked");
            self
        }

        fn facts(&self) -> Facts {
            Facts::gather(Some(self.0.path()))
        }
    }

    #[test]
    fn a_whole_machine_is_read() {
        let machine = Machine::new()
            .with("proc/sys/kernel/osrelease", "6.1.0-18-amd64\n")
            .with(
                "proc/self/status",
                "Name:\tmemlens\nUid:\t1000\t0\t0\t0\nCapInh:\t0000000000000000\n\
                 CapEff:\t000000c000080000\n",
            )
            .with("sys/kernel/btf/vmlinux", "not really")
            .with(
                "sys/kernel/security/lockdown",
                "none [integrity] confidentiality\n",
            )
            .with(
                "proc/self/limits",
                "Limit                     Soft Limit           Hard Limit           Units\n\
                 Max locked memory         8388608              unlimited            bytes\n",
            )
            .with("proc/sys/net/core/bpf_jit_enable", "1\n")
            .with("proc/sys/kernel/unprivileged_bpf_disabled", "2\n")
            .with("proc/sys/kernel/perf_event_paranoid", "-1\n")
            .with("sys/bus/event_source/devices/uprobe/type", "9\n")
            .with("proc/sys/kernel/yama/ptrace_scope", "1\n")
            .with(
                "proc/mounts",
                "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n\
                 tracefs /sys/kernel/tracing tracefs rw 0 0\n",
            )
            .with("proc/self/cgroup", "0::/system.slice/memlens.service\n")
            .with("sys/fs/cgroup/system.slice/memory.max", "268435456\n")
            .with(
                "sys/fs/cgroup/system.slice/memlens.service/memory.max",
                "max\n",
            )
            .linked("proc/self/ns/pid", "pid:[4026531836]")
            .linked("proc/self/ns/user", "user:[4026532999]");
        let expected = Facts {
            arch: std::env::consts::ARCH.to_owned(),
            page_size: procfs::page_size(),
            kernel: Kernel::from_release("6.1.0-18-amd64"),
            btf: true,
            capabilities: 0xc0_0008_0000,
            euid: 0,
            lockdown: Some(Lockdown::Integrity),
            memlock: Some(Limit::Bytes(8_388_608)),
            bpf_jit_enable: Some(1),
            unprivileged_bpf_disabled: Some(2),
            perf_event_paranoid: Some(-1),
            tracefs: Some(PathBuf::from("/sys/kernel/tracing")),
            uprobe_event_type: Some(9),
            ptrace_scope: Some(1),
            initial_pid_namespace: Some(true),
            initial_user_namespace: Some(false),
            cgroup_memory_limit: Some(268_435_456),
        };
        assert_eq!(machine.facts(), expected);
    }

    /// An empty machine gives nothing away, and no capability by accident.
    #[test]
    fn what_cannot_be_read_is_unknown() {
        let facts = Machine::new().facts();
        let expected = Facts {
            arch: std::env::consts::ARCH.to_owned(),
            page_size: procfs::page_size(),
            euid: u32::MAX,
            ..Facts::default()
        };
        assert_eq!(facts, expected);
    }

    #[test]
    fn limits_of_version_1_groups_are_read_on_the_way_up() {
        let machine = Machine::new()
            .with(
                "proc/mounts",
                "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\n\
                 cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n",
            )
            .with("proc/self/cgroup", "5:cpu:/\n4:memory:/job/17\n0::/\n")
            .with(
                "sys/fs/cgroup/memory/memory.limit_in_bytes",
                "9223372036854771712\n",
            )
            .with(
                "sys/fs/cgroup/memory/job/memory.limit_in_bytes",
                "104857600\n",
            )
            .with(
                "sys/fs/cgroup/memory/job/17/memory.limit_in_bytes",
                "209715200\n",
            );
        assert_eq!(machine.facts().cgroup_memory_limit, Some(104_857_600));
    }

    #[test]
    fn tracefs_is_found_on_its_own_or_in_debugfs() {
        let cases = [
            ("proc /proc proc rw 0 0\n", None),
            (
                "debugfs /sys/kernel/debug debugfs rw 0 0\n",
                Some("/sys/kernel/debug/tracing"),
            ),
            (
                "debugfs /sys/kernel/debug debugfs rw 0 0\nnodev /a\\040b tracefs rw 0 0\n",
                Some("/a b"),
            ),
        ];
        for (mounts, path) in cases {
            assert_eq!(find_tracefs(mounts), path.map(PathBuf::from), "{mounts}");
        }
    }

    #[test]
    fn odd_texts_are_no_facts() {
        assert_eq!(
            parse_lockdown("[none] integrity confidentiality"),
            Some(Lockdown::None)
        );
        assert_eq!(
            parse_lockdown("none integrity [confidentiality]"),
            Some(Lockdown::Confidentiality)
        );
        assert_eq!(parse_lockdown("none integrity"), None);
        assert_eq!(
            parse_memlock("Max locked memory  unlimited unlimited bytes"),
            Some(Limit::Unlimited)
        );
        assert_eq!(parse_memlock("Max open files 3 4 files"), None);
        assert_eq!(parse_memory_limit("max\n"), None);
    }

    /// The machine of the test itself: its kernel and its arch are no secret to anybody.
    #[test]
    fn this_machine_is_read() {
        let facts = Facts::gather(None);
        assert!(facts.kernel.version.0 >= 3, "{}", facts.kernel.release);
        assert_ne!(facts.euid, u32::MAX);
    }
}
