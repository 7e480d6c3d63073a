//! Where a process belongs: container, pod, unit and cgroup, read off the text of `/proc/PID/cgroup`. Pure; no daemon is asked.
//!
//! The names are conventions of their makers: systemd's cgroup tree (`man systemd.slice`), Docker's and libpod's cgroup managers,
//! the kubelet's QoS tree with the CRI's `prefix-id.scope`, and LXC's `lxc.payload.NAME`.

use std::fmt;

/// Hexadecimal digits of a container id.
const ID_DIGITS: usize = 64;

/// Digits of an id that the runtimes' tools print.
const SHORT_ID_DIGITS: usize = 12;

/// Where a process belongs, as its cgroup path tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The innermost container that it runs in.
    pub container: Option<Container>,
    /// UID of the Kubernetes pod around it, with dashes.
    pub pod: Option<String>,
    /// The innermost systemd service or scope around it, or else the innermost slice; within the container, if there is one.
    pub unit: Option<String>,
    /// Path of its cgroup, from the root of the hierarchy; `/` where it is in none.
    pub path: String,
}

/// A container, as its runtime names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Container {
    /// What runs it.
    pub runtime: Runtime,
    /// Its whole id: 64 hexadecimal digits, or a name with LXC and systemd-nspawn.
    pub id: String,
}

/// What runs a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Runtime {
    /// Docker.
    Docker,
    /// containerd, alone or under Kubernetes.
    Containerd,
    /// CRI-O.
    Crio,
    /// Podman, and others on libpod.
    Podman,
    /// LXC, Incus or LXD.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
    /// The path has a container's id and does not tell whose.
    Unknown,
}

impl Runtime {
    /// Its name, in lower case.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Docker => "docker",
            Self::Containerd => "containerd",
            Self::Crio => "cri-o",
            Self::Podman => "podman",
            Self::Lxc => "lxc",
            Self::Nspawn => "nspawn",
            Self::Unknown => "container",
        }
    }
}

impl Container {
    /// Its id as the tools print it: the first 12 digits, or the whole name.
    pub fn short_id(&self) -> &str {
        match is_id(&self.id) {
            true => &self.id[..SHORT_ID_DIGITS],
            false => &self.id,
        }
    }
}

impl fmt::Display for Container {
    /// As `docker:3f2a9c1b7d4e`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.runtime.name(), self.short_id())
    }
}

impl Place {
    /// Reads the text of `/proc/PID/cgroup`. Of several hierarchies the one that knows a container counts, or else
    /// the first that knows anything: v2, then systemd's own, then memory, then the others.
    pub fn of(text: &str) -> Self {
        let mut lines: Vec<Line> = text.lines().filter_map(Line::parse).collect();
        lines.sort_by_key(Line::rank);
        let places = || lines.iter().map(|line| Self::of_path(line.path));
        places()
            .find(|place| place.container.is_some())
            .or_else(|| places().find(|place| place.path != "/"))
            .unwrap_or_else(|| Self::of_path("/"))
    }

    fn of_path(path: &str) -> Self {
        let names: Vec<&str> = names(path).collect();
        let found = (0..names.len())
            .rev()
            .find_map(|index| Some((index, container(&names, index)?)));
        let inside = found.as_ref().map_or(0, |(index, _)| index + 1);
        Self {
            pod: names.iter().rev().find_map(|name| pod(name)),
            unit: unit(&names[inside..]),
            container: found.map(|(_, container)| container),
            path: format!("/{}", names.join("/")),
        }
    }

    /// A label for tables: the container, or else the unit, or else the last part of the cgroup's path.
    pub fn label(&self) -> String {
        match (&self.container, &self.unit) {
            (Some(container), _) => container.to_string(),
            (None, Some(unit)) => unit.clone(),
            (None, None) => match self.path.rsplit_once('/') {
                Some((_, last)) if !last.is_empty() => last.to_owned(),
                _ => "/".to_owned(),
            },
        }
    }
}

/// Whether the process of that `/proc/PID/cgroup` is in `cgroup` or below it, in any hierarchy.
pub fn is_within(text: &str, cgroup: &str) -> bool {
    let wanted: Vec<&str> = names(cgroup).collect();
    let lines = text.lines().filter_map(Line::parse);
    lines
        .map(|line| names(line.path))
        .any(|mut names| wanted.iter().all(|name| names.next() == Some(name)))
}

/// A line of `/proc/PID/cgroup`: `0::/path`, `4:memory:/path` or `1:name=systemd:/path`.
struct Line<'a> {
    controllers: &'a str,
    path: &'a str,
}

impl<'a> Line<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let mut parts = line.splitn(3, ':');
        parts.next()?.parse::<u32>().ok()?;
        let controllers = parts.next()?;
        // Said of a cgroup that was removed while somebody was still in it.
        let path = parts.next()?.trim_end_matches(" (deleted)");
        Some(Self { controllers, path })
    }

    /// Which hierarchy is asked first.
    fn rank(&self) -> u8 {
        match self.controllers {
            "" => 0,
            "name=systemd" => 1,
            "memory" => 2,
            _ => 3,
        }
    }
}

/// The parts of a path. Seen from another cgroup namespace it begins with "..", as often as that is deep: what comes
/// after is what counts.
fn names(path: &str) -> impl Iterator<Item = &str> {
    path.split('/')
        .filter(|name| !name.is_empty() && *name != "..")
}

fn container(names: &[&str], index: usize) -> Option<Container> {
    let name = names[index];
    let above = &names[..index];
    let (runtime, id) = by_prefix(name)
        .or_else(|| by_bare_id(name, above))
        .or_else(|| lxc(name, above))
        .or_else(|| nspawn(name, names.get(index + 1).copied()))?;
    (!id.is_empty()).then(|| Container {
        runtime,
        id: id.to_owned(),
    })
}

/// `docker-<id>.scope` and its like. A monitor (`crio-conmon-<id>.scope`) is outside of its container: what follows its
/// prefix is no id.
fn by_prefix(name: &str) -> Option<(Runtime, &str)> {
    const PREFIXES: [(&str, Runtime); 7] = [
        ("docker-", Runtime::Docker),
        ("cri-containerd-", Runtime::Containerd),
        ("cri-containerd:", Runtime::Containerd),
        ("nerdctl-", Runtime::Containerd),
        ("crio-", Runtime::Crio),
        ("libpod-", Runtime::Podman),
        ("libpod-payload-", Runtime::Podman),
    ];
    let name = name.strip_suffix(".scope").unwrap_or(name);
    // containerd that was told of a systemd cgroup, but makes it itself: "<slice>:cri-containerd:<id>".
    let name = match name.split_once(".slice:") {
        Some((_, rest)) => rest,
        None => name,
    };
    PREFIXES.iter().find_map(|(prefix, runtime)| {
        let id = name.strip_prefix(prefix)?;
        is_id(id).then_some((*runtime, id))
    })
}

/// An id alone: the nearest folder above that a runtime made tells whose.
fn by_bare_id<'a>(name: &'a str, above: &[&str]) -> Option<(Runtime, &'a str)> {
    let runtime = |folder: &&str| match *folder {
        "docker" | "moby" => Some(Runtime::Docker),
        "default" | "k8s.io" => Some(Runtime::Containerd),
        "libpod_parent" => Some(Runtime::Podman),
        folder if folder.starts_with("kubepods") => Some(Runtime::Unknown),
        _ => None,
    };
    let nearest = || above.iter().rev().find_map(runtime);
    is_id(name).then(|| (nearest().unwrap_or(Runtime::Unknown), name))
}

/// `lxc.payload.NAME`; of old `lxc/NAME` and `lxc.payload/NAME`.
fn lxc<'a>(name: &'a str, above: &[&str]) -> Option<(Runtime, &'a str)> {
    let named = name.strip_prefix("lxc.payload.");
    let below = matches!(above, ["lxc" | "lxc.payload"]).then_some(name);
    Some((Runtime::Lxc, named.or(below)?))
}

/// `systemd-nspawn@NAME.service`, but for the part that supervises it.
fn nspawn<'a>(name: &'a str, next: Option<&str>) -> Option<(Runtime, &'a str)> {
    let machine = name
        .strip_prefix("systemd-nspawn@")?
        .strip_suffix(".service")?;
    (next != Some("supervisor")).then_some((Runtime::Nspawn, machine))
}

fn is_id(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == ID_DIGITS && text.bytes().all(is_digit)
}

/// The pod's UID: `pod<uid>` below `kubepods`, or `kubepods-burstable-pod<uid with underscores>.slice`.
fn pod(name: &str) -> Option<String> {
    let name = name.split(':').next()?;
    let uid = match name.strip_suffix(".slice") {
        Some(slice) if slice.starts_with("kubepods") => slice.rsplit_once("-pod")?.1,
        Some(_) => return None,
        None => name.strip_prefix("pod")?,
    };
    let digits = uid.bytes().filter(u8::is_ascii_hexdigit).count();
    let marks = uid.bytes().filter(|byte| b"-_".contains(byte)).count();
    // A static pod's is 32 digits without marks.
    let is_uid = digits == 32 && digits + marks == uid.len();
    is_uid.then(|| uid.replace('_', "-"))
}

/// The innermost service or scope, or else the innermost slice.
fn unit(names: &[&str]) -> Option<String> {
    let innermost = |kinds: &[&str]| {
        let is_unit = |name: &&&str| kinds.iter().any(|kind| name.ends_with(kind));
        names.iter().rev().find(is_unit).map(|name| unescaped(name))
    };
    innermost(&[".service", ".scope"]).or_else(|| innermost(&[".slice"]))
}

/// A unit's name with systemd's `\x2d` written out.
fn unescaped(name: &str) -> String {
    let mut plain = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let code = after
            .strip_prefix(b"x")
            .and_then(|digits| std::str::from_utf8(digits.get(..2)?).ok())
            .filter(|_| *first == b'\\')
            .and_then(|digits| u8::from_str_radix(digits, 16).ok());
        plain.push(code.unwrap_or(*first));
        rest = if code.is_some() { &after[3..] } else { after };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

#[cfg(test)]
#[path = "cgroup_tests.rs"]
mod tests;
