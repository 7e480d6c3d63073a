//! Finds the machine's memory cgroups and reads them: version 1, version 2, or version 1 beside 2 (hybrid).

use std::fs;
use std::path::{Path, PathBuf};

use super::cgroup_files::{self, Bounds, Usage, Version};
use super::pressure;
use super::root::Root;
use crate::preflight::mounted;
use crate::profile::machine::Pressure;

/// Groups that are followed at most; a machine with more has its largest problem elsewhere.
const MOST: usize = 4_096;
/// Levels that are followed below the root of the hierarchy.
const DEEPEST: usize = 24;

/// One cgroup at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupSample {
    /// Path from the root of the hierarchy, as in `/proc/PID/cgroup`; `/` is the root.
    pub path: String,
    /// What it uses.
    pub usage: Usage,
}

/// The memory cgroups of this machine.
#[derive(Debug)]
pub struct Cgroups {
    hierarchy: Option<Hierarchy>,
    /// Paths from the root of the hierarchy.
    paths: Vec<String>,
}

/// Where the memory controller is mounted.
#[derive(Debug)]
struct Hierarchy {
    version: Version,
    folder: PathBuf,
}

impl Cgroups {
    /// Finds the hierarchy and the groups in it.
    pub fn find(root: &Root) -> Self {
        let mounts = root.text("proc/self/mounts").unwrap_or_default();
        let mut cgroups = Self {
            hierarchy: hierarchy(root, &mounts),
            paths: Vec::new(),
        };
        cgroups.refresh();
        cgroups
    }

    /// Whether there is a memory controller to read.
    pub fn are_there(&self) -> bool {
        self.hierarchy.is_some()
    }

    /// Looks for groups that were made since.
    pub fn refresh(&mut self) {
        self.paths.clear();
        if let Some(hierarchy) = &self.hierarchy {
            collect(&hierarchy.folder, "", DEEPEST, &mut self.paths);
        }
    }

    /// What each group uses now. Those that are gone are left out.
    pub fn sample(&self) -> Vec<CgroupSample> {
        let Some(hierarchy) = &self.hierarchy else {
            return Vec::new();
        };
        let sample = |path: &String| {
            let usage = hierarchy.usage(path)?;
            let path = if path.is_empty() { "/" } else { path };
            Some(CgroupSample {
                path: path.to_owned(),
                usage,
            })
        };
        self.paths.iter().filter_map(sample).collect()
    }

    /// The limits of one group, and what came of them.
    pub fn bounds(&self, path: &str) -> Bounds {
        let Some(hierarchy) = &self.hierarchy else {
            return Bounds::default();
        };
        let version = hierarchy.version;
        let text = |file| hierarchy.text(path, file);
        Bounds {
            max: text(version.max_file()).and_then(|text| cgroup_files::limit(&text)),
            high: text("memory.high").and_then(|text| cgroup_files::limit(&text)),
            oom_kills: text(version.events_file()).and_then(|text| cgroup_files::oom_kills(&text)),
        }
    }

    /// Bytes that are left to a group below the nearest of the limits that hold for it: its own and those of the groups
    /// around it. `None` where there is no limit.
    pub fn left(root: &Root, path: &str) -> Option<u64> {
        let mounts = root.text("proc/self/mounts")?;
        let hierarchy = hierarchy(root, &mounts)?;
        let max_file = hierarchy.version.max_file();
        let around = std::iter::successors(Some(path), |path| {
            path.rsplit_once('/').map(|(around, _)| around)
        });
        let left = around.filter(|path| !path.is_empty()).filter_map(|path| {
            let max = cgroup_files::limit(&hierarchy.text(path, max_file)?)?;
            Some(max.saturating_sub(hierarchy.usage(path)?.kept))
        });
        left.min()
    }

    /// How long the tasks of one group waited for memory; `None` where the kernel does not tell.
    pub fn pressure(&self, path: &str) -> Option<Pressure> {
        let text = self.hierarchy.as_ref()?.text(path, "memory.pressure")?;
        pressure::parse(text.as_bytes())
    }
}

impl Hierarchy {
    fn text(&self, path: &str, file: &str) -> Option<String> {
        let folder = self.folder.join(path.trim_start_matches('/'));
        fs::read_to_string(folder.join(file)).ok()
    }

    fn usage(&self, path: &str) -> Option<Usage> {
        let current = self.text(path, self.version.current_file())?;
        let stat = self.text(path, "memory.stat")?;
        let mut usage = cgroup_files::usage(self.version, &current, &stat)?;
        if self.version == Version::V2 {
            let swap = self.text(path, "memory.swap.current");
            usage.swap = swap.and_then(|text| text.trim().parse().ok());
        }
        Some(usage)
    }
}

/// The hierarchy that has the memory controller: a controller is in one hierarchy only (cgroups(7)).
fn hierarchy(root: &Root, mounts: &str) -> Option<Hierarchy> {
    mounted(mounts).find_map(|(kind, path, options)| {
        let folder = root.path(&path);
        let version = match kind {
            "cgroup" if options.split(',').any(|option| option == "memory") => Version::V1,
            "cgroup2" if has_memory_controller(&folder) => Version::V2,
            _ => return None,
        };
        Some(Hierarchy { version, folder })
    })
}

fn has_memory_controller(folder: &Path) -> bool {
    let controllers = fs::read_to_string(folder.join("cgroup.controllers")).unwrap_or_default();
    controllers.split_whitespace().any(|name| name == "memory")
}

/// Adds the group in `folder` and those below. `path` is that of the group, without a slash at the root.
fn collect(folder: &Path, path: &str, levels: usize, paths: &mut Vec<String>) {
    if paths.len() >= MOST {
        return;
    }
    paths.push(path.to_owned());
    let Ok(entries) = fs::read_dir(folder) else {
        return;
    };
    if levels == 0 {
        return;
    }
    let mut below: Vec<String> = entries
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect();
    below.sort_unstable();
    for name in below {
        collect(
            &folder.join(&name),
            &format!("{path}/{name}"),
            levels - 1,
            paths,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::machine::root::tests::Tree;

    const STAT: &str = "anon 900\ninactive_file 80\nactive_file 20\nslab_reclaimable 0\n";

    fn find(tree: &Tree) -> Cgroups {
        Cgroups::find(&tree.root())
    }

    #[test]
    fn version_two_is_walked_and_its_root_has_no_figures() {
        let tree = Tree::new()
            .with("proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw,nsdelegate 0 0\n")
            .with("sys/fs/cgroup/cgroup.controllers", "cpu io memory pids\n")
            .with("sys/fs/cgroup/a.slice/memory.current", "1000\n")
            .with("sys/fs/cgroup/a.slice/memory.stat", STAT)
            .with("sys/fs/cgroup/a.slice/memory.max", "max\n")
            .with("sys/fs/cgroup/a.slice/b.service/memory.current", "500\n")
            .with("sys/fs/cgroup/a.slice/b.service/memory.stat", STAT)
            .with("sys/fs/cgroup/a.slice/b.service/memory.swap.current", "7\n")
            .with("sys/fs/cgroup/a.slice/b.service/memory.max", "4096\n")
            .with("sys/fs/cgroup/a.slice/b.service/memory.high", "2048\n")
            .with("sys/fs/cgroup/a.slice/b.service/memory.events", "oom 1\noom_kill 3\n")
            .with(
                "sys/fs/cgroup/a.slice/b.service/memory.pressure",
                "some avg10=1.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            );
        let groups = find(&tree);
        let sampled = groups.sample();
        let seen: Vec<(&str, u64, Option<u64>)> = sampled
            .iter()
            .map(|group| (group.path.as_str(), group.usage.kept, group.usage.swap))
            .collect();
        assert_eq!(
            seen,
            [
                ("/a.slice", 900, None),
                ("/a.slice/b.service", 400, Some(7))
            ]
        );
        let bounds = Bounds {
            max: Some(4096),
            high: Some(2048),
            oom_kills: Some(3),
        };
        assert_eq!(groups.bounds("/a.slice/b.service"), bounds);
        assert_eq!(groups.bounds("/a.slice"), Bounds::default());
        assert!(
            groups
                .pressure("/a.slice/b.service")
                .is_some_and(|p| p.some.avg10 == 1.0)
        );
        assert_eq!(groups.pressure("/a.slice"), None);
    }

    /// Hybrid: version 2 is there, for systemd's book-keeping, and the memory controller is in version 1.
    #[test]
    fn hybrid_machines_are_read_through_version_one() {
        let stat = "total_inactive_file 100\ntotal_active_file 0\ntotal_swap 0\n";
        let tree = Tree::new()
            .with(
                "proc/self/mounts",
                "cgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n\
                 cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\n\
                 cgroup /sys/fs/cgroup/memory cgroup rw,relatime,memory 0 0\n",
            )
            .with("sys/fs/cgroup/unified/cgroup.controllers", "\n")
            .with("sys/fs/cgroup/memory/memory.usage_in_bytes", "5000\n")
            .with("sys/fs/cgroup/memory/memory.stat", stat)
            .with(
                "sys/fs/cgroup/memory/docker/0123/memory.usage_in_bytes",
                "300\n",
            )
            .with("sys/fs/cgroup/memory/docker/0123/memory.stat", stat)
            .with(
                "sys/fs/cgroup/memory/docker/0123/memory.limit_in_bytes",
                "1000\n",
            )
            .with(
                "sys/fs/cgroup/memory/docker/0123/memory.oom_control",
                "under_oom 0\noom_kill 1\n",
            );
        let groups = find(&tree);
        let paths: Vec<String> = groups
            .sample()
            .into_iter()
            .map(|group| group.path)
            .collect();
        assert_eq!(paths, ["/", "/docker/0123"]);
        let bounds = groups.bounds("/docker/0123");
        assert_eq!((bounds.max, bounds.oom_kills), (Some(1000), Some(1)));
    }

    #[test]
    fn the_nearest_limit_may_be_that_of_a_group_around() {
        let usage = |tree: Tree, path: &str, max: &str| {
            tree.with(&format!("sys/fs/cgroup/{path}/memory.current"), "1000\n")
                .with(&format!("sys/fs/cgroup/{path}/memory.stat"), STAT)
                .with(&format!("sys/fs/cgroup/{path}/memory.max"), max)
        };
        let tree = Tree::new()
            .with(
                "proc/self/mounts",
                "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n",
            )
            .with("sys/fs/cgroup/cgroup.controllers", "memory\n");
        let tree = usage(
            usage(usage(tree, "a", "5000\n"), "a/b", "9000\n"),
            "c",
            "max\n",
        );
        let left = |path: &str| Cgroups::left(&tree.root(), path);
        assert_eq!(left("/a/b"), Some(4100));
        assert_eq!(
            (left("/c"), left("/"), left("/gone/too")),
            (None, None, None)
        );
    }

    #[test]
    fn groups_come_and_go() {
        let tree = Tree::new()
            .with(
                "proc/self/mounts",
                "cgroup2 /sys/fs/cgroup cgroup2 rw 0 0\n",
            )
            .with("sys/fs/cgroup/cgroup.controllers", "memory\n")
            .with("sys/fs/cgroup/old/memory.current", "1\n")
            .with("sys/fs/cgroup/old/memory.stat", STAT)
            .with("sys/fs/cgroup/half/memory.current", "1\n");
        let mut groups = find(&tree);
        assert_eq!(groups.sample().len(), 1);
        let tree = tree
            .with("sys/fs/cgroup/new/memory.current", "1\n")
            .with("sys/fs/cgroup/new/memory.stat", STAT);
        tree.remove("sys/fs/cgroup/old");
        assert_eq!(groups.sample(), []);
        groups.refresh();
        assert_eq!(groups.sample()[0].path, "/new");
    }

    #[test]
    fn without_a_controller_there_are_no_groups() {
        for mounts in [
            "",
            "cgroup2 /nowhere cgroup2 rw 0 0\n",
            "tmpfs /sys/fs/cgroup tmpfs rw 0 0\n",
        ] {
            let groups = find(&Tree::new().with("proc/self/mounts", mounts));
            assert!(!groups.are_there() && groups.sample().is_empty());
        }
    }
}
