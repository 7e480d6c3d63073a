//! Where a process belongs: container, unit and cgroup, read off the text of `/proc/PID/cgroup`. Pure; no daemon is asked.

/// Where a process belongs, as its cgroup path tells.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Place {
    /// The container that it runs in.
    pub container: Option<Container>,
    /// The innermost systemd service, scope or slice around it; for a pod's process the pod.
    pub unit: Option<String>,
    /// Path of its cgroup, from the root of the hierarchy; `/` where it is in none.
    pub path: String,
}

/// A container, as the tools of its runtime name it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Container {
    /// What runs it.
    pub runtime: Runtime,
    /// Its whole id: 64 hexadecimal digits, or a name with lxc.
    pub id: String,
}

/// What runs a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Runtime {
    /// Docker.
    Docker,
    /// containerd, also under Kubernetes.
    Containerd,
    /// CRI-O.
    Crio,
    /// Podman, and others on libpod.
    Podman,
    /// LXC or Incus.
    Lxc,
    /// systemd-nspawn, or another that registers with systemd's machined.
    Machine,
    /// The path has a container's id and does not tell whose.
    Unknown,
}
