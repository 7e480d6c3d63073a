//! Where a process belongs: container, pod, unit and cgroup. `process::cgroup` reads it.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Hexadecimal digits of a container id.
const ID_DIGITS: usize = 64;

/// Digits of an id that the runtimes' tools print.
const SHORT_ID_DIGITS: usize = 12;

/// Where a process belongs, as its cgroup path tells.
#[derive(
    Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(default)]
pub struct Place {
    /// The innermost container that it runs in.
    pub container: Option<Container>,
    /// UID of the Kubernetes pod around it, with dashes.
    pub pod: Option<String>,
    /// The innermost systemd service or scope around it, or else the innermost slice; within the container, if there is
    /// one.
    pub unit: Option<String>,
    /// Path of its cgroup, from the root of the hierarchy; `/` where it is in none, empty where it is not known.
    pub cgroup: String,
}

/// A container, as its runtime names it.
#[derive(
    Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
pub struct Container {
    /// What runs it.
    pub runtime: Runtime,
    /// Its whole id: 64 hexadecimal digits, or a name with LXC and systemd-nspawn.
    pub id: String,
}

/// What runs a container.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "lowercase")]
pub enum Runtime {
    /// Docker.
    Docker,
    /// containerd, alone or under Kubernetes.
    Containerd,
    /// CRI-O.
    #[serde(rename = "cri-o")]
    Crio,
    /// Podman, and others on libpod.
    Podman,
    /// LXC, Incus or LXD.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
    /// The path has a container's id and does not tell whose.
    #[serde(rename = "container")]
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
    /// A label for tables: the container, or else the unit, or else the last part of the cgroup's path.
    pub fn label(&self) -> String {
        match (&self.container, &self.unit) {
            (Some(container), _) => container.to_string(),
            (None, Some(unit)) => unit.clone(),
            (None, None) => match self.cgroup.rsplit_once('/') {
                Some((_, last)) if !last.is_empty() => last.to_owned(),
                _ => "/".to_owned(),
            },
        }
    }
}

/// Whether a name is a container's id.
pub(crate) fn is_id(text: &str) -> bool {
    let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    text.len() == ID_DIGITS && text.bytes().all(is_digit)
}
