//! Where a process belongs: container, pod, unit and cgroup, read off the text of `/proc/PID/cgroup`. Pure; no daemon
//! is asked.
//!
//! The names are conventions of their makers: systemd's cgroup tree (`man systemd.slice`), Docker's and libpod's cgroup
//! managers, the kubelet's QoS tree with the CRI's `prefix-id.scope`, and LXC's `lxc.payload.NAME`.

use crate::profile::{Container, Place, Runtime, is_id};

/// Reads where a process belongs from the text of its `/proc/PID/cgroup`. Of several hierarchies the one that knows a
/// container counts, or else the first that knows anything: v2, then systemd's own, then memory, then the others.
pub fn place(text: &str) -> Place {
    let mut lines: Vec<Line> = text.lines().filter_map(Line::parse).collect();
    lines.sort_by_key(Line::rank);
    let places = || lines.iter().map(|line| of_path(line.path));
    places()
        .find(|place| place.container.is_some())
        .or_else(|| places().find(|place| place.cgroup != "/"))
        .unwrap_or_else(|| of_path("/"))
}

fn of_path(path: &str) -> Place {
    let names: Vec<&str> = names(path).collect();
    let found = (0..names.len())
        .rev()
        .find_map(|index| Some((index, container(&names, index)?)));
    let inside = found.as_ref().map_or(0, |(index, _)| index + 1);
    Place {
        pod: names.iter().rev().find_map(|name| pod(name)),
        unit: unit(&names[inside..]),
        container: found.map(|(_, container)| container),
        cgroup: format!("/{}", names.join("/")),
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
