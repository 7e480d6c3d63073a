//! Cgroups made for one test, in whatever hierarchies the machine has.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::child::until;
use crate::need;

/// Where cgroups are mounted.
const MOUNT: &str = "/sys/fs/cgroup";
/// Hierarchies of a machine with v1 that are used: v2 beside it, systemd's own, and one of a controller that limits
/// nobody unasked.
const BESIDE_V1: [&str; 3] = ["unified", "systemd", "pids"];

/// A cgroup below the one that the test itself is in; removed when it is dropped: whoever is in it must have ended by
/// then.
#[derive(Debug)]
pub struct Cgroup {
    root: PathBuf,
    path: String,
    /// Folders that were made, outermost first.
    made: Vec<PathBuf>,
}

/// The roots of the hierarchies: one with v2 alone, several with v1.
pub fn hierarchies() -> Result<Vec<PathBuf>> {
    let mount = Path::new(MOUNT);
    let roots = if mount.join("cgroup.controllers").exists() {
        vec![mount.to_owned()]
    } else {
        BESIDE_V1
            .iter()
            .map(|name| mount.join(name))
            .filter(|root| root.join("cgroup.procs").exists())
            .collect()
    };
    ensure!(
        !roots.is_empty(),
        "no cgroup hierarchy is mounted under {MOUNT}; mount one (as root): mount -t cgroup2 none {MOUNT}"
    );
    Ok(roots)
}

/// Numbers that no other test has.
fn unique() -> (u64, u64) {
    static MADE: AtomicU64 = AtomicU64::new(0);
    let number = MADE.fetch_add(1, Ordering::Relaxed);
    (u64::from(std::process::id()), number)
}

/// The id of a container: 64 hexadecimal digits, the first twelve of which tell it from others.
pub fn container_id() -> String {
    let (process, number) = unique();
    format!("{process:08x}{number:04x}{:052x}", 0xfeed)
}

impl Cgroup {
    /// A cgroup of a name of its own.
    pub fn new() -> Result<Self> {
        let (process, number) = unique();
        Self::at(&format!("/memlens-test-{process}-{number}"))
    }

    /// A cgroup with this path below the test's own, in the first hierarchy.
    pub fn at(path: &str) -> Result<Self> {
        let root = hierarchies()?.swap_remove(0);
        Self::within(&root, path)
    }

    /// A cgroup with this path below the test's own, in a hierarchy.
    pub fn within(root: &Path, path: &str) -> Result<Self> {
        Self::make(root, &own_path(root)?, path)
    }

    /// A cgroup of a name of its own below the root of the hierarchy that has a controller.
    pub fn of_controller(controller: &str) -> Result<Self> {
        need::root()?;
        let v1 = Path::new(MOUNT).join(controller);
        let root = match v1.join("cgroup.procs").exists() {
            true => v1,
            false => PathBuf::from(MOUNT),
        };
        let delegation = root.join("cgroup.subtree_control");
        if delegation.exists() {
            std::fs::write(&delegation, format!("+{controller}")).with_context(|| {
                format!("{} takes no controller {controller}", delegation.display())
            })?;
        }
        let (process, number) = unique();
        Self::make(&root, "/", &format!("/memlens-test-{process}-{number}"))
    }

    /// A cgroup with this path below this one.
    pub fn below(&self, path: &str) -> Result<Self> {
        Self::make(&self.root, &self.path, path)
    }

    fn make(root: &Path, own: &str, path: &str) -> Result<Self> {
        let mut folder = root.join(own.trim_start_matches('/'));
        let mut cgroup = Self {
            root: root.to_owned(),
            path: format!("{}{path}", own.trim_end_matches('/')),
            made: Vec::new(),
        };
        for name in path.split('/').filter(|name| !name.is_empty()) {
            folder.push(name);
            if !folder.is_dir() {
                std::fs::create_dir(&folder)
                    .with_context(|| format!("cannot make the cgroup {}", folder.display()))?;
                cgroup.made.push(folder.clone());
            }
        }
        Ok(cgroup)
    }

    /// Its path from the hierarchy's root.
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Its folder.
    pub fn folder(&self) -> PathBuf {
        self.root.join(self.path.trim_start_matches('/'))
    }

    /// Writes one of its files.
    pub fn write(&self, file: &str, text: &str) -> Result<()> {
        let file = self.folder().join(file);
        std::fs::write(&file, text)
            .with_context(|| format!("cannot write {text} to {}", file.display()))
    }

    /// Moves the test itself into it, with all that it starts from now on, until what this returns is dropped.
    pub fn join(&self) -> Result<Joined> {
        let home = own_path(&self.root)?;
        let home = self.root.join(home.trim_start_matches('/'));
        move_here(&self.folder())?;
        Ok(Joined { home })
    }

    /// Lets a command start in it.
    pub fn enter(&self, mut command: Command) -> Result<Command> {
        let file = self.folder().join("cgroup.procs");
        let file = CString::new(file.as_os_str().as_bytes()).context("a path without NUL")?;
        // SAFETY: between fork and exec only open, write and close are called, which are safe there; the path was made
        // before.
        unsafe {
            command.pre_exec(move || {
                let procs = libc::open(file.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
                // 0 is whoever writes.
                let written = libc::write(procs, b"0".as_ptr().cast(), 1);
                let error = std::io::Error::last_os_error();
                libc::close(procs);
                if written == 1 { Ok(()) } else { Err(error) }
            });
        }
        Ok(command)
    }
}

/// A cgroup whose memory can be limited, in the hierarchy that has the controller.
#[derive(Debug)]
pub struct LimitedMemory {
    cgroup: Cgroup,
    limit: &'static str,
    usage: &'static str,
}

impl LimitedMemory {
    /// A cgroup of a name of its own, without a limit.
    pub fn new() -> Result<Self> {
        let cgroup = Cgroup::of_controller("memory")?;
        let is_v1 = cgroup.folder().join("memory.limit_in_bytes").exists();
        let (limit, usage) = match is_v1 {
            true => ("memory.limit_in_bytes", "memory.usage_in_bytes"),
            false => ("memory.max", "memory.current"),
        };
        Ok(Self {
            cgroup,
            limit,
            usage,
        })
    }

    /// The cgroup itself.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Its path from the hierarchy's root.
    pub fn path(&self) -> &str {
        self.cgroup.path()
    }

    /// Lets a command start in it.
    pub fn enter(&self, command: Command) -> Result<Command> {
        self.cgroup.enter(command)
    }

    /// Limits it to so many bytes.
    pub fn limit_to(&self, bytes: u64) -> Result<()> {
        self.write_limit(&bytes.to_string())
    }

    /// Limits it to what is in use now and so many bytes more.
    pub fn limit_to_usage_and(&self, more: u64) -> Result<()> {
        let file = self.cgroup.folder().join(self.usage);
        let usage = std::fs::read_to_string(&file)
            .with_context(|| format!("cannot read {}", file.display()))?;
        let usage: u64 = usage.trim().parse().context("the usage is a number")?;
        self.limit_to(usage + more)
    }

    /// Takes the limit away.
    pub fn lift(&self) -> Result<()> {
        self.write_limit(if self.limit == "memory.max" {
            "max"
        } else {
            "-1"
        })
    }

    fn write_limit(&self, text: &str) -> Result<()> {
        self.cgroup.write(self.limit, text)
    }
}

/// The test's stay in a cgroup.
#[derive(Debug)]
pub struct Joined {
    home: PathBuf,
}

impl Drop for Joined {
    fn drop(&mut self) {
        if let Err(error) = move_here(&self.home) {
            println!("the test stays in its cgroup: {error:#}");
        }
    }
}

/// The cgroup that a test runs in, with all that it starts. A trace of it goes the way of a trace of the whole host,
/// and is not at the mercy of what else runs there.
#[derive(Debug)]
pub struct Stage {
    // In the order in which they are to be dropped.
    _joined: Joined,
    cgroup: Cgroup,
}

impl Stage {
    /// Moves the test into a cgroup of its own. Make it first, so that it is dropped last.
    pub fn enter() -> Result<Self> {
        need::root()?;
        let cgroup = Cgroup::new()?;
        Ok(Self {
            _joined: cgroup.join()?,
            cgroup,
        })
    }

    /// The cgroup's path from the hierarchy's root.
    pub fn path(&self) -> &str {
        self.cgroup.path()
    }
}

/// Moves this process.
fn move_here(folder: &Path) -> Result<()> {
    let procs = folder.join("cgroup.procs");
    std::fs::write(&procs, "0").with_context(|| format!("cannot write {}", procs.display()))
}

/// Path of the cgroup that this process is in, in a hierarchy.
fn own_path(root: &Path) -> Result<String> {
    let text = std::fs::read_to_string("/proc/self/cgroup").context("cannot read own cgroup")?;
    let name = root
        .file_name()
        .and_then(|name| name.to_str())
        .unwrap_or("");
    let is_ours = |controllers: &str| match name {
        "systemd" => controllers == "name=systemd",
        "pids" => controllers.split(',').any(|controller| controller == name),
        _ => controllers.is_empty(),
    };
    text.lines()
        .filter_map(|line| line.split_once(':')?.1.split_once(':'))
        .find(|(controllers, _)| is_ours(controllers))
        .map(|(_, path)| path.to_owned())
        .with_context(|| format!("own cgroup in {} is not known: {text}", root.display()))
}

/// Removes a cgroup that we made with all below it, which others of the test's made: those may have been dropped in any
/// order.
fn remove_tree(folder: &Path) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            remove_tree(&entry.path())?;
        }
    }
    std::fs::remove_dir(folder)
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        let mut made = self.made.iter().rev();
        if let Some(innermost) = made.next() {
            // A process that has just ended leaves its cgroup a moment later.
            let gone = until("the cgroup is empty", Duration::from_secs(3), || {
                Ok(remove_tree(innermost).ok())
            });
            if let Err(error) = gone {
                println!("{} stays: {error}", innermost.display());
            }
        }
        for outer in made {
            // Stays if there is another cgroup in it.
            let _ = std::fs::remove_dir(outer);
        }
    }
}
