//! Which of the host's processes a trace is about: a cgroup, a user, and what is left out.

use std::fmt;
use std::path::Path;

use super::targets::has_name;
use super::{cgroup, users};

/// Where cgroups are mounted, by a convention that all tools rely on.
const MOUNT: &str = "/sys/fs/cgroup";

/// The processes of a trace of the whole host, as asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Scope {
    /// Only processes of this cgroup and those below: its path from the hierarchy's root, such as
    /// `/system.slice/nginx.service`. `None` is all.
    pub cgroup: Option<String>,
    /// Only processes of this user. `None` is all.
    pub user: Option<User>,
    /// Processes that are left out.
    pub exclude: Vec<Exclude>,
}

/// What cannot be in the scope of a trace, because this system has no such thing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ScopeError {
    /// No user of that name.
    #[error(
        "no user is named {0}; give a name of /etc/passwd, or the number that `ps -e -o uid,comm` prints"
    )]
    NoUser(String),
    /// No such cgroup.
    #[error(
        "no cgroup {path} under {MOUNT}{}; give the path that /proc/PID/cgroup has for one of its processes",
        found(.hierarchies)
    )]
    NoCgroup {
        /// The path.
        path: String,
        /// Folders of the hierarchies of cgroup v1 that were looked into.
        hierarchies: Vec<String>,
    },
}

/// Which hierarchies were found, for a message.
fn found(hierarchies: &[String]) -> String {
    match hierarchies {
        [] => String::new(),
        names => format!(", in none of its hierarchies ({})", names.join(", ")),
    }
}

/// What a scope is matched with.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    /// PID.
    pub pid: u32,
    /// Name, at most 15 bytes.
    pub comm: &'a str,
    /// The executable, where it could be read.
    pub exe: Option<&'a Path>,
    /// Real user id.
    pub uid: u32,
    /// The text of its `/proc/PID/cgroup`.
    pub cgroup: &'a str,
}

/// A scope with its names looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    cgroup: Option<String>,
    uid: Option<u32>,
    exclude: Vec<Exclude>,
}

impl Scope {
    /// Whether every process of the host is in it.
    pub fn is_everything(&self) -> bool {
        self.cgroup.is_none() && self.user.is_none() && self.exclude.is_empty()
    }

    /// Which processes these are, in words: "the whole host", "cgroup /system.slice, user root, without java".
    pub fn words(&self) -> String {
        let cgroup = self.cgroup.as_ref().map(|path| format!("cgroup {path}"));
        let user = self.user.as_ref().map(|user| match user {
            User::Id(id) => format!("user {id}"),
            User::Name(name) => format!("user {name}"),
        });
        let mut parts: Vec<String> = [cgroup, user].into_iter().flatten().collect();
        if parts.is_empty() {
            parts.push("the whole host".to_owned());
        }
        if !self.exclude.is_empty() {
            let left_out: Vec<String> = self.exclude.iter().map(Exclude::to_string).collect();
            parts.push(format!("without {}", left_out.join(" and ")));
        }
        parts.join(", ")
    }

    /// The scope with the user looked up and the cgroup found.
    ///
    /// # Errors
    /// [`ScopeError`] where there is no such user, or no such cgroup to trace. One to be left out may be missing.
    pub fn filter(&self) -> Result<Filter, ScopeError> {
        let uid = match &self.user {
            None => None,
            Some(User::Id(id)) => Some(*id),
            Some(User::Name(name)) => {
                let missing = || ScopeError::NoUser(name.clone());
                Some(users::id_of(name).ok_or_else(missing)?)
            }
        };
        let hierarchies = hierarchies(Path::new(MOUNT));
        if let Some(path) = &self.cgroup
            && !exists(Path::new(MOUNT), &hierarchies, path)
        {
            return Err(ScopeError::NoCgroup {
                path: path.clone(),
                hierarchies,
            });
        }
        let below = |path: &String| below_hierarchy(path, &hierarchies).to_owned();
        let exclude = self.exclude.iter().map(|exclude| match exclude {
            Exclude::Cgroup(path) => Exclude::Cgroup(below(path)),
            other => other.clone(),
        });
        Ok(Filter {
            cgroup: self.cgroup.as_ref().map(below),
            uid,
            exclude: exclude.collect(),
        })
    }
}

impl Filter {
    /// Whether the trace is about this process.
    pub fn matches(&self, process: &Candidate<'_>) -> bool {
        let in_cgroup = |path: &String| cgroup::is_within(process.cgroup, path);
        let left_out = |exclude: &Exclude| match exclude {
            Exclude::Pid(pid) => *pid == process.pid,
            Exclude::Name(name) => has_name(process.comm, process.exe, name.as_ref()),
            Exclude::Cgroup(path) => in_cgroup(path),
        };
        self.uid.is_none_or(|uid| uid == process.uid)
            && self.cgroup.as_ref().is_none_or(in_cgroup)
            && !self.exclude.iter().any(left_out)
    }
}

/// The folders of the hierarchies of cgroup v1 and of a hybrid system; none where v2 alone is mounted.
fn hierarchies(mount: &Path) -> Vec<String> {
    if mount.join("cgroup.controllers").exists() {
        return Vec::new();
    }
    let folders = std::fs::read_dir(mount).into_iter().flatten().flatten();
    let mut names: Vec<String> = folders
        .filter(|folder| is_cgroup(&folder.path()))
        .filter_map(|folder| folder.file_name().into_string().ok())
        .collect();
    names.sort_unstable();
    names
}

/// Whether there is such a cgroup, in any hierarchy.
fn exists(mount: &Path, hierarchies: &[String], path: &str) -> bool {
    let relative = path.trim_start_matches('/');
    let roots = hierarchies.iter().map(|name| mount.join(name));
    std::iter::once(mount.to_owned())
        .chain(roots)
        .any(|root| is_cgroup(&root.join(relative)))
}

/// Whether a folder is a cgroup: each has this file, and no other folder (Documentation/admin-guide/cgroup-v2.rst, and
/// cgroup-v1/cgroups.rst).
fn is_cgroup(folder: &Path) -> bool {
    folder.join("cgroup.procs").exists()
}

/// The path without the folder of a v1 hierarchy, which `/proc/PID/cgroup` does not have.
fn below_hierarchy<'a>(path: &'a str, hierarchies: &[String]) -> &'a str {
    let relative = path.trim_start_matches('/');
    let (first, rest) = relative.split_once('/').unwrap_or((relative, ""));
    match hierarchies.iter().any(|name| name == first) {
        true => &path[path.len() - rest.len()..],
        false => path,
    }
}

/// A user, by number or by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum User {
    /// By user id.
    Id(u32),
    /// By name, which the system's list of users knows.
    Name(String),
}

/// Processes that are left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Exclude {
    /// The process of this PID.
    Pid(u32),
    /// Processes of this name, or whose executable's file has it.
    Name(String),
    /// Processes of this cgroup and those below.
    Cgroup(String),
}

impl User {
    /// Reads `NAME` or `UID`; `None` where there is nothing.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        match text.parse() {
            _ if text.is_empty() => None,
            Ok(id) => Some(Self::Id(id)),
            Err(_) => Some(Self::Name(text.to_owned())),
        }
    }
}

impl fmt::Display for Exclude {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pid(pid) => write!(f, "process {pid}"),
            Self::Name(name) => f.write_str(name),
            Self::Cgroup(path) => f.write_str(path),
        }
    }
}

impl Exclude {
    /// Reads `NAME`, `PID` or `CGROUP`: what has a slash is a cgroup, what is a number is a PID. `None` where there is
    /// nothing, or a path that is none.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        if text.contains('/') {
            return cgroup_path(text).map(Self::Cgroup);
        }
        match text.parse() {
            _ if text.is_empty() => None,
            Ok(pid) => Some(Self::Pid(pid)),
            Err(_) => Some(Self::Name(text.to_owned())),
        }
    }
}

/// A cgroup's path from the hierarchy's root, out of what a person has at hand: that path, the folder below
/// `/sys/fs/cgroup`, or a line of `/proc/PID/cgroup`. `None` where it is empty or goes up by "..".
pub fn cgroup_path(text: &str) -> Option<String> {
    let text = text.trim();
    let line = text
        .split_once(':')
        .filter(|(number, _)| !number.is_empty() && number.bytes().all(|b| b.is_ascii_digit()));
    let path = line
        .and_then(|(_, rest)| rest.split_once(':'))
        .map_or(text, |(_, path)| path);
    let path = match path.strip_prefix("/sys/fs/cgroup") {
        Some(below) if below.is_empty() || below.starts_with('/') => below,
        Some(_) | None => path,
    };
    let names: Vec<&str> = path
        .split('/')
        .filter(|name| !name.is_empty() && *name != ".")
        .collect();
    (!text.is_empty() && !names.contains(&"..")).then(|| format!("/{}", names.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_written_in_several_ways() {
        let cases = [
            (
                "/system.slice/nginx.service",
                Some("/system.slice/nginx.service"),
            ),
            (
                "system.slice//nginx.service/",
                Some("/system.slice/nginx.service"),
            ),
            ("/sys/fs/cgroup/system.slice", Some("/system.slice")),
            ("/sys/fs/cgroup", Some("/")),
            ("/sys/fs/cgroupish", Some("/sys/fs/cgroupish")),
            (
                "0::/user.slice/user-1000.slice",
                Some("/user.slice/user-1000.slice"),
            ),
            ("5:cpu,cpuacct:/docker/ab", Some("/docker/ab")),
            ("/a/cri-containerd:xyz", Some("/a/cri-containerd:xyz")),
            ("/", Some("/")),
            ("", None),
            ("/a/../b", None),
        ];
        for (text, path) in cases {
            assert_eq!(cgroup_path(text).as_deref(), path, "{text}");
        }
    }

    fn candidate(comm: &str, pid: u32, uid: u32) -> Candidate<'_> {
        Candidate {
            pid,
            comm,
            exe: Some(Path::new("/usr/lib/jvm/bin/java")),
            uid,
            cgroup: "0::/system.slice/web.service/worker",
        }
    }

    #[test]
    fn a_filter_wants_cgroup_and_user_and_leaves_out() {
        let everything = Scope::default();
        assert!(everything.is_everything());
        assert_eq!(everything.words(), "the whole host");
        assert!(
            everything
                .filter()
                .expect("nothing to look up")
                .matches(&candidate("a", 1, 0))
        );
        let part = Scope {
            cgroup: Some("/system.slice".to_owned()),
            user: Some(User::Id(33)),
            exclude: ["java", "812"]
                .iter()
                .filter_map(|text| Exclude::parse(text))
                .collect(),
        };
        assert_eq!(
            part.words(),
            "cgroup /system.slice, user 33, without java and process 812"
        );
        let filter = |cgroup: Option<&str>, uid, exclude: &str| Filter {
            cgroup: cgroup.map(str::to_owned),
            uid,
            exclude: exclude.split(' ').filter_map(Exclude::parse).collect(),
        };
        let process = candidate("worker", 812, 33);
        assert!(filter(Some("/system.slice"), Some(33), "").matches(&process));
        assert!(!filter(Some("/system.slice"), Some(34), "").matches(&process));
        assert!(!filter(Some("/user.slice"), Some(33), "").matches(&process));
        for exclude in ["812", "worker", "java", "/system.slice/web.service"] {
            assert!(!filter(None, None, exclude).matches(&process), "{exclude}");
        }
        assert!(filter(None, None, "81 work /system.slice/web").matches(&process));
    }

    #[test]
    fn what_the_system_has_not_is_told() {
        let nobody = Scope {
            user: Some(User::Name("no such user".into())),
            ..Scope::default()
        };
        assert_eq!(
            nobody.filter(),
            Err(ScopeError::NoUser("no such user".into()))
        );
        assert_eq!(nobody.words(), "user no such user");
        let nowhere = Scope {
            cgroup: Some("/no/such/cgroup".into()),
            ..Scope::default()
        };
        let refused = nowhere.filter().expect_err("no such cgroup").to_string();
        assert!(
            refused.starts_with("no cgroup /no/such/cgroup under /sys/fs/cgroup"),
            "{refused}"
        );
    }

    #[test]
    fn a_hierarchy_of_version_1_is_no_part_of_the_path() {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::create_dir_all(folder.path().join("memory/docker/ab")).expect("folders");
        std::fs::create_dir_all(folder.path().join("plain/docker/ab")).expect("folders");
        for cgroup in ["memory", "memory/docker", "memory/docker/ab"] {
            std::fs::write(folder.path().join(cgroup).join("cgroup.procs"), "").expect("a file");
        }
        let v1 = hierarchies(folder.path());
        assert_eq!(v1, ["memory"]);
        for path in ["/docker/ab", "/memory/docker/ab", "/"] {
            assert!(exists(folder.path(), &v1, path), "{path}");
        }
        for path in ["/docker/abc", "/plain", "/plain/docker/ab"] {
            assert!(!exists(folder.path(), &v1, path), "{path}");
        }
        assert_eq!(below_hierarchy("/memory/docker/ab", &v1), "docker/ab");
        assert_eq!(below_hierarchy("/docker/ab", &v1), "/docker/ab");
        assert_eq!(below_hierarchy("/memory", &v1), "");
        std::fs::write(folder.path().join("cgroup.controllers"), "memory").expect("a file");
        assert!(hierarchies(folder.path()).is_empty());
    }

    #[test]
    fn what_is_left_out_is_told_by_its_form() {
        assert_eq!(Exclude::parse("812"), Some(Exclude::Pid(812)));
        assert_eq!(Exclude::parse(" java "), Some(Exclude::Name("java".into())));
        let cgroup = Some(Exclude::Cgroup("/user.slice".into()));
        assert_eq!(Exclude::parse("/sys/fs/cgroup/user.slice"), cgroup);
        assert_eq!(Exclude::parse(" "), None);
        assert_eq!(User::parse("33"), Some(User::Id(33)));
        assert_eq!(User::parse("www-data"), Some(User::Name("www-data".into())));
        assert_eq!(User::parse(""), None);
    }
}
