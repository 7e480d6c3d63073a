//! Which of the host's processes a trace is about: a cgroup, a user, and what is left out.

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

impl Scope {
    /// Whether every process of the host is in it.
    pub fn is_everything(&self) -> bool {
        self.cgroup.is_none() && self.user.is_none() && self.exclude.is_empty()
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
