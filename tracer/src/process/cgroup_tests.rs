//! Cgroup texts as the runtimes make them, and odd ones.

use proptest::prelude::*;

use super::*;

const ID: &str = "3f2a9c1b7d4e5f60718293a4b5c6d7e8f90a1b2c3d4e5f60718293a4b5c6d7e8";

/// A text with `ID` in place of `<id>`.
fn text(text: &str) -> String {
    text.replace("<id>", ID)
}

fn placed(cgroup: &str) -> Place {
    place(&text(cgroup))
}

#[test]
fn containers_are_known_by_their_paths() {
    let cases = [
        // Docker: systemd's cgroup driver, its own, v1, hybrid.
        ("0::/system.slice/docker-<id>.scope", "docker:3f2a9c1b7d4e"),
        ("0::/docker/<id>", "docker:3f2a9c1b7d4e"),
        (
            "12:pids:/docker/<id>\n4:memory:/docker/<id>\n1:name=systemd:/docker/<id>\n",
            "docker:3f2a9c1b7d4e",
        ),
        (
            "4:memory:/docker/<id>\n1:name=systemd:/docker/<id>\n0::/system.slice/containerd.service\n",
            "docker:3f2a9c1b7d4e",
        ),
        ("0::/docker/<id>/init.scope", "docker:3f2a9c1b7d4e"),
        // Kubernetes: containerd and CRI-O by systemd, containerd in a slice's name, the kubelet's own driver.
        (
            "0::/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod2f1d5a0c_7c1b_4b36_9a55_0d8e6f3b2a11.slice/cri-containerd-<id>.scope",
            "containerd:3f2a9c1b7d4e",
        ),
        (
            "0::/system.slice/containerd.service/kubepods-burstable-pod2f1d5a0c_7c1b_4b36_9a55_0d8e6f3b2a11.slice:cri-containerd:<id>",
            "containerd:3f2a9c1b7d4e",
        ),
        (
            "0::/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod2f1d5a0c_7c1b_4b36_9a55_0d8e6f3b2a11.slice/crio-<id>.scope/container",
            "cri-o:3f2a9c1b7d4e",
        ),
        (
            "11:memory:/kubepods/burstable/pod2f1d5a0c-7c1b-4b36-9a55-0d8e6f3b2a11/<id>",
            "container:3f2a9c1b7d4e",
        ),
        // A node in a container: the innermost counts.
        (
            "0::/docker/0000000000000000000000000000000000000000000000000000000000000000/kubelet/kubepods/besteffort/pod2f1d5a0c-7c1b-4b36-9a55-0d8e6f3b2a11/<id>",
            "container:3f2a9c1b7d4e",
        ),
        ("0::/default/<id>", "containerd:3f2a9c1b7d4e"),
        (
            "0::/system.slice/nerdctl-<id>.scope",
            "containerd:3f2a9c1b7d4e",
        ),
        // Podman: as root, rootless, split below a service, its own driver.
        (
            "0::/machine.slice/libpod-<id>.scope/container",
            "podman:3f2a9c1b7d4e",
        ),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-<id>.scope/container",
            "podman:3f2a9c1b7d4e",
        ),
        (
            "0::/system.slice/web.service/libpod-payload-<id>",
            "podman:3f2a9c1b7d4e",
        ),
        ("0::/libpod_parent/libpod-<id>", "podman:3f2a9c1b7d4e"),
        // LXC and its kin.
        (
            "0::/lxc.payload.web-1/system.slice/nginx.service",
            "lxc:web-1",
        ),
        ("9:memory:/lxc/101/ns\n", "lxc:101"),
        (
            "0::/machine.slice/systemd-nspawn@deb.service/payload",
            "nspawn:deb",
        ),
        ("0::/ecs/0123/<id>", "container:3f2a9c1b7d4e"),
    ];
    for (cgroup, label) in cases {
        let place = placed(cgroup);
        assert_eq!(place.label(), label, "{cgroup}");
        assert!(place.container.is_some());
    }
}

#[test]
fn units_stand_for_what_is_in_no_container() {
    let cases = [
        ("0::/system.slice/nginx.service", "nginx.service"),
        (
            "0::/system.slice/system-getty.slice/getty@tty1.service",
            "getty@tty1.service",
        ),
        (
            "0::/user.slice/user-1000.slice/session-3.scope",
            "session-3.scope",
        ),
        (
            "0::/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome\\x2dterminal-42.scope",
            "app-gnome-terminal-42.scope",
        ),
        ("0::/user.slice/user-1000.slice", "user-1000.slice"),
        ("0::/init.scope", "init.scope"),
        ("0::/system.slice/nginx.service/workers", "nginx.service"),
        (
            "1:name=systemd:/system.slice/sshd.service\n0::/system.slice/sshd.service\n",
            "sshd.service",
        ),
        // The monitors of containers are outside of them.
        ("0::/lxc.monitor.web-1", "lxc.monitor.web-1"),
        (
            "0::/machine.slice/systemd-nspawn@deb.service/supervisor",
            "systemd-nspawn@deb.service",
        ),
        ("0::/batch/job-17", "job-17"),
        ("0::/", "/"),
        ("", "/"),
        // The hierarchy that knows something, as where only one controller is used.
        (
            "9:name=systemd:/\n4:memory:/api/worker\n1:cpu:/\n0::/\n",
            "worker",
        ),
        // Seen from another cgroup namespace, and after its removal.
        ("0::/../../system.slice/cron.service", "cron.service"),
        ("0::/../..", "/"),
        ("0::/system.slice/old.service (deleted)", "old.service"),
        // No text that the kernel writes.
        ("nonsense\n::\n0:\nx:y:/z\n", "/"),
        ("0::/odd\\x2\\xzz.service", "odd\\x2\\xzz.service"),
    ];
    for (cgroup, label) in cases {
        let place = super::place(cgroup);
        assert_eq!(place.label(), label, "{cgroup}");
        assert_eq!(place.container, None, "{cgroup}");
    }
    for monitor in ["libpod-conmon-<id>.scope", "crio-conmon-<id>.scope"] {
        assert_eq!(
            placed(&format!("0::/machine.slice/{monitor}")).container,
            None
        );
    }
}

#[test]
fn a_pod_and_a_unit_within_a_container_are_told_as_well() {
    let pod = Some("2f1d5a0c-7c1b-4b36-9a55-0d8e6f3b2a11".to_owned());
    let slice = "kubepods-burstable-pod2f1d5a0c_7c1b_4b36_9a55_0d8e6f3b2a11.slice";
    for cgroup in [
        format!("0::/kubepods.slice/kubepods-burstable.slice/{slice}/cri-containerd-<id>.scope"),
        format!("0::/system.slice/containerd.service/{slice}:cri-containerd:<id>"),
        "0::/kubepods/burstable/pod2f1d5a0c-7c1b-4b36-9a55-0d8e6f3b2a11/<id>".to_owned(),
    ] {
        assert_eq!(placed(&cgroup).pod, pod, "{cgroup}");
    }
    let place = super::place("0::/lxc.payload.web/system.slice/nginx.service");
    assert_eq!(place.unit.as_deref(), Some("nginx.service"));
    assert_eq!(place.cgroup, "/lxc.payload.web/system.slice/nginx.service");
    assert_eq!(place.pod, None);
    let static_pod = "0::/kubepods/pod00112233445566778899aabbccddeeff/x";
    let uid = Some("00112233445566778899aabbccddeeff".to_owned());
    assert_eq!(super::place(static_pod).pod, uid);
    assert_eq!(super::place("0::/podman/podcast").pod, None);
}

#[test]
fn a_cgroup_holds_what_is_below_it_in_any_hierarchy() {
    let text = "4:memory:/docker/ab/x\n1:name=systemd:/\n0::/system.slice/nginx.service\n";
    for cgroup in [
        "/",
        "/docker",
        "/docker/ab",
        "/system.slice",
        "/system.slice/nginx.service",
    ] {
        assert!(is_within(text, cgroup), "{cgroup}");
    }
    for cgroup in ["/dock", "/docker/ab/x/y", "/system.slice/nginx", "/x"] {
        assert!(!is_within(text, cgroup), "{cgroup}");
    }
    assert!(is_within("0::/../../batch/job", "/batch"));
}

proptest! {
    /// Whatever a cgroup is called, there is a place with a label, and the place is within its own path.
    #[test]
    fn any_text_gives_a_place(
        parts in prop::collection::vec("\\PC{0,12}|docker-|libpod-|[a-f0-9]{64}|.slice|:|\\\\x2d|pod|[.]scope|[.][.]", 0..12),
        slashes in any::<u16>(),
    ) {
        let mut path = String::new();
        for (n, part) in parts.iter().enumerate() {
            let slash = if slashes >> n & 1 == 1 { "/" } else { "" };
            path += &format!("{slash}{part}");
        }
        let text = format!("0::/{path}");
        let place = super::place(&text);
        prop_assert!(!place.label().is_empty());
        prop_assert!(place.cgroup.starts_with('/'));
        prop_assert!(is_within(&text, &place.cgroup), "{text:?} {place:?}");
        prop_assert!(is_within(&text, "/"));
    }
}
