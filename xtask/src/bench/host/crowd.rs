//! Many idle processes, some with an allocator file of their own.

use std::{
    fs,
    io::Read as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};
use tempfile::TempDir;

use super::super::victim::{compile, own_source};

/// The allocator that is copied.
const ALLOCATOR: &str = "libjemalloc.so.2";
/// Where distributions have it.
const FOLDERS: [&str; 3] = ["/usr/lib/x86_64-linux-gnu", "/usr/lib64", "/usr/lib"];

/// Idle processes; killed when dropped.
pub struct Crowd {
    children: Vec<Child>,
    /// The copies.
    _folder: TempDir,
}

impl Crowd {
    /// So many processes on the C library's allocator, and so many on a copy of another one each; returns when all are
    /// idle.
    pub fn start(processes: usize, files: usize) -> Result<Self> {
        let program = compile("idle", &own_source("idle")?, &[])?;
        let folder = tempfile::tempdir().context("no temporary folder")?;
        let mut crowd = Self {
            children: Vec::with_capacity(processes + files),
            _folder: folder,
        };
        let allocator = allocator()?;
        for number in 0..files {
            let copy = crowd._folder.path().join(format!("allocator{number}.so"));
            fs::copy(&allocator, &copy)
                .with_context(|| format!("cannot copy {}", allocator.display()))?;
            crowd.add(Command::new(&program).env("LD_PRELOAD", copy))?;
        }
        for _ in 0..processes {
            crowd.add(&mut Command::new(&program))?;
        }
        for child in &mut crowd.children {
            let output = child.stdout.take().context("no output")?;
            // Ends once the process has made its blocks.
            { output }.read_to_end(&mut Vec::new())?;
        }
        Ok(crowd)
    }

    fn add(&mut self, command: &mut Command) -> Result<()> {
        let child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .context("cannot start an idle process")?;
        self.children.push(child);
        Ok(())
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        for child in &mut self.children {
            // One that has ended by itself is what is wanted.
            let _ = child.kill();
        }
        for child in &mut self.children {
            let _ = child.wait();
        }
    }
}

fn allocator() -> Result<PathBuf> {
    FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(ALLOCATOR))
        .find(|path| path.is_file())
        .with_context(|| {
            format!("{ALLOCATOR} is not installed: `cargo xtask test root` installs what is needed")
        })
}
