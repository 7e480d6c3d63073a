//! A container without a container runtime: own mount and PID namespaces, own root with an own C library, and a cgroup
//! named as docker names it.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};
use tempfile::TempDir;

use crate::cgroup::{Cgroup, container_id};
use crate::need;
use crate::program::Program;
use crate::victim::Victim;

/// Where the x86-64 ABI has the dynamic loader of glibc.
const LOADER: &str = "/lib64/ld-linux-x86-64.so.2";
/// The victim's name inside, and so the process's.
const PROGRAM: &str = "contained";

/// What a container's root holds: a victim, its C library and loader, all copies.
#[derive(Debug)]
pub struct Image {
    folder: TempDir,
}

/// A container's root, in its own mount namespace made of an image, and its cgroup.
#[derive(Debug)]
pub struct Container {
    /// Before the cgroup's removal nothing need be undone here: mounts go with their namespace.
    folder: TempDir,
    cgroup: Cgroup,
    id: String,
    /// The image is seen through overlayfs.
    overlay: Option<PathBuf>,
    root: PathBuf,
}

impl Image {
    /// An image that runs this victim.
    pub fn new(victim: &Program) -> Result<Self> {
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let image = Self { folder };
        let libc = need::library("libc.so.6")?;
        image.copy(&victim.build()?, Path::new("/").join(PROGRAM).as_path())?;
        image.copy(Path::new(LOADER), Path::new(LOADER))?;
        image.copy(&libc, &libc)?;
        for name in ["proc", "dev", "tmp"] {
            let path = image.folder.path().join(name);
            std::fs::create_dir(&path)
                .with_context(|| format!("cannot make the folder {}", path.display()))?;
        }
        Ok(image)
    }

    /// Where its files lie.
    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    fn copy(&self, from: &Path, to: &Path) -> Result<()> {
        let to = self.folder.path().join(to.strip_prefix("/")?);
        let parent = to.parent().context("a file lies in some folder")?;
        std::fs::create_dir_all(parent)
            .and_then(|()| std::fs::copy(from, &to))
            .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
        Ok(())
    }
}

impl Container {
    /// A container on the image's own files.
    pub fn on(image: &Image) -> Result<Self> {
        Self::with(image, None)
    }

    /// A container on an overlay above the image: several share its files, and `stat` shows each other numbers for
    /// them.
    pub fn over(image: &Image) -> Result<Self> {
        Self::with(image, Some(image.path().to_owned()))
    }

    fn with(image: &Image, overlay: Option<PathBuf>) -> Result<Self> {
        let id = container_id();
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let root = match overlay {
            Some(_) => folder.path().join("merged"),
            None => image.path().to_owned(),
        };
        for name in ["merged", "upper", "work"] {
            std::fs::create_dir(folder.path().join(name))
                .context("cannot make the folders of an overlay")?;
        }
        Ok(Self {
            cgroup: Cgroup::at(&format!("/docker/{id}"))?,
            folder,
            id,
            overlay,
            root,
        })
    }

    /// Its id, 64 digits.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Its name as reports have it.
    pub fn name(&self) -> String {
        format!("docker:{}", &self.id[..12])
    }

    /// Its cgroup.
    pub fn cgroup(&self) -> &Cgroup {
        &self.cgroup
    }

    /// Its root, in its own mount namespace.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A command that runs the victim in it, the first of its PID namespace, after a command of the shell in its root.
    fn command(&self, before: &str, args: &[&str]) -> Result<Command> {
        let overlay = match &self.overlay {
            None => String::new(),
            Some(lower) => format!(
                "mount -t overlay -o lowerdir={},upperdir={},workdir={} overlay {} && ",
                lower.display(),
                self.folder.path().join("upper").display(),
                self.folder.path().join("work").display(),
                self.root.display()
            ),
        };
        let script = format!(
            "{overlay}cd {0} && {before} && mount -t proc proc proc && exec chroot . /{PROGRAM} \"$@\"",
            self.root.display()
        );
        // Not a shell that starts programs by vfork: what the child of one releases in its parent's memory, before it
        // replaces its program, is missed by a trace of the parent.
        let mut command = Command::new(need::program("unshare")?);
        command
            .args(["--mount", "--propagation", "private", "--pid"])
            .args(["--fork", "--kill-child", "bash", "-c", &script, "bash"])
            .args(args);
        self.cgroup.enter(command)
    }

    /// Runs the victim in it; the process, and its PID outside.
    pub fn start(&self, args: &[&str]) -> Result<(Victim, u32)> {
        self.start_after("true", args)
    }

    /// The same after a command of the shell, in its root.
    pub fn start_after(&self, before: &str, args: &[&str]) -> Result<(Victim, u32)> {
        let victim = Victim::start(self.command(before, args)?)?;
        ensure!(victim.pid() == 1, "PID {} inside, not 1", victim.pid());
        let children = victim.children()?;
        ensure!(children.len() == 1, "children of unshare: {children:?}");
        Ok((victim, children[0]))
    }
}
