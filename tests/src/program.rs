//! Builds victims from source, once for each set of flags, and again when a source is newer.

use std::collections::hash_map::DefaultHasher;
use std::ffi::OsString;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use crate::paths;

/// Flags of every C and C++ victim: as distributions build, without frame pointers; no allocation may be optimized
/// away.
const FLAGS: &[&str] = &[
    "-O1",
    "-g",
    "-fomit-frame-pointer",
    "-fno-builtin",
    "-Wall",
    "-Wextra",
    "-pthread",
];

/// A victim's source and how to build it.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    compiler: Option<&'static str>,
    flags: Vec<OsString>,
    libraries: Vec<OsString>,
    file: Option<String>,
}

impl Program {
    /// The victim whose source is `NAME.c`, `NAME.cpp` or `NAME.rs`, built by the machine's own compiler.
    pub fn new(name: &str) -> Self {
        Self {
            name: name.to_string(),
            compiler: None,
            flags: Vec::new(),
            libraries: Vec::new(),
            file: None,
        }
    }

    /// A shared library from `NAME.c`.
    pub fn library(name: &str) -> Self {
        Self::new(name).flag("-shared").flag("-fPIC")
    }

    /// Builds against musl.
    pub fn musl(mut self) -> Self {
        self.compiler = Some("musl-gcc");
        self
    }

    /// Links everything in.
    pub fn statically(self) -> Self {
        self.flag("-static")
    }

    /// Adds one flag of the compiler.
    pub fn flag(mut self, flag: impl Into<OsString>) -> Self {
        self.flags.push(flag.into());
        self
    }

    /// Adds something to link after the source.
    pub fn link(mut self, library: impl Into<OsString>) -> Self {
        self.libraries.push(library.into());
        self
    }

    /// Gives the built file, and so the process, another name (15 bytes at most show as the process's name).
    pub fn named(mut self, file: &str) -> Self {
        self.file = Some(file.to_string());
        self
    }

    /// A command that runs the built program.
    pub fn command(&self, args: &[&str]) -> Result<Command> {
        let mut command = Command::new(self.build()?);
        command.args(args);
        Ok(command)
    }

    /// Builds if needed; the path of the result.
    pub fn build(&self) -> Result<PathBuf> {
        let source = self.source()?;
        let output = self.output();
        if is_newer(&output, &source)? {
            return Ok(output);
        }
        let folder = output
            .parent()
            .context("a built victim lies in some folder")?;
        std::fs::create_dir_all(folder)
            .with_context(|| format!("cannot make the folder {}", folder.display()))?;
        // Built aside and moved into place, so that tests that run at the same time never run half a file.
        static BUILT: AtomicU32 = AtomicU32::new(0);
        let number = BUILT.fetch_add(1, Ordering::Relaxed);
        let partial = output.with_extension(format!("partial.{}.{number}", std::process::id()));
        let mut compiler = self.compiler_for(&source, &partial);
        let result = compiler
            .output()
            .with_context(|| format!("cannot run {:?}", compiler.get_program()))?;
        ensure!(
            result.status.success(),
            "{compiler:?} failed, {}:\n{}",
            result.status,
            String::from_utf8_lossy(&result.stderr)
        );
        std::fs::rename(&partial, &output)
            .with_context(|| format!("cannot move {} into place", output.display()))?;
        Ok(output)
    }

    fn source(&self) -> Result<PathBuf> {
        ["c", "cpp", "rs"]
            .into_iter()
            .map(|extension| paths::victims().join(format!("{}.{extension}", self.name)))
            .find(|path| path.is_file())
            .with_context(|| format!("no victim is named {}", self.name))
    }

    /// The source and the variant are in the folder's name, so that the process has the victim's name, or another that
    /// the test gave it.
    fn output(&self) -> PathBuf {
        let mut hasher = DefaultHasher::new();
        (
            &self.name,
            &self.compiler,
            &self.flags,
            &self.libraries,
            FLAGS,
        )
            .hash(&mut hasher);
        paths::target()
            .join("victims")
            .join(format!("{:016x}", hasher.finish()))
            .join(self.file.as_ref().unwrap_or(&self.name))
    }

    fn compiler_for(&self, source: &Path, output: &Path) -> Command {
        let kind = source.extension().and_then(|extension| extension.to_str());
        let mut command = match (self.compiler, kind) {
            (Some(compiler), _) => Command::new(compiler),
            (None, Some("rs")) => {
                let mut command =
                    Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
                command.args(["--edition", "2024", "-O", "-g"]);
                command
            }
            (None, Some("cpp")) => Command::new("c++"),
            (None, _) => Command::new("cc"),
        };
        match kind {
            Some("rs") => {}
            Some("cpp") => {
                command.arg("-std=c++17").args(FLAGS);
            }
            _ => {
                command.args(FLAGS);
            }
        }
        command
            .args(&self.flags)
            .arg("-o")
            .arg(output)
            .arg(source)
            .args(&self.libraries);
        command
    }
}

/// Whether a built file is there and newer than its source and the common header.
fn is_newer(built: &Path, source: &Path) -> Result<bool> {
    let time = |path: &Path| -> Result<SystemTime> {
        path.metadata()
            .and_then(|metadata| metadata.modified())
            .with_context(|| format!("cannot read the time of {}", path.display()))
    };
    if !built.exists() {
        return Ok(false);
    }
    let header = paths::victims().join("victim.h");
    let built = time(built)?;
    Ok(built > time(source)? && built > time(&header)?)
}
