//! Names from files elsewhere than where the trace was: by build id, from a folder of debug files or from a debuginfod
//! server.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;

use super::module::build_id;
use super::names::Names;
use crate::profile::{Frame, Profile, Stack};

/// The client of debuginfod, of elfutils: it keeps a cache, and knows proxies and TLS.
const CLIENT: &str = "debuginfod-find";
/// Where it is told of servers.
const URLS: &str = "DEBUGINFOD_URLS";

/// Where names are looked for.
#[derive(Debug, Default)]
pub struct Elsewhere {
    folders: Vec<PathBuf>,
    debuginfod: bool,
    names: Option<Names>,
    files: HashMap<Arc<str>, Option<PathBuf>>,
    failures: Vec<String>,
}

impl Elsewhere {
    /// In folders, and on servers where those are to be asked.
    pub fn new(folders: &[PathBuf], debuginfod: bool) -> Self {
        Self {
            folders: folders.to_vec(),
            debuginfod,
            ..Self::default()
        }
    }

    /// What went wrong, each in one line; each is told once.
    pub fn failures(&mut self) -> Vec<String> {
        std::mem::take(&mut self.failures)
    }

    /// The profile with names and lines for frames that have none, as far as files with their build ids are found.
    pub fn name(&mut self, mut profile: Profile) -> Profile {
        if self.folders.is_empty() && !self.debuginfod {
            return profile;
        }
        let mut wanted: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for (index, frame) in (0..).zip(&profile.frames) {
            if let Some(module) = frame.module.filter(|_| is_wanting(frame)) {
                wanted.entry(module).or_default().push(index);
            }
        }
        let mut found: HashMap<u32, Vec<u32>> = HashMap::new();
        for (module, frames) in wanted {
            let module = profile.modules.get(module as usize);
            let Some(id) = module.and_then(|module| module.build_id.clone()) else {
                continue;
            };
            if let Some(file) = self.file(&id) {
                self.name_frames(&mut profile, &file, &frames, &mut found);
            }
        }
        let replaced = |frame: &u32| match found.get(frame) {
            Some(frames) => frames.clone(),
            None => vec![*frame],
        };
        profile.stacks = profile
            .stacks
            .iter()
            .map(|stack| Stack {
                frames: stack.frames.iter().flat_map(replaced).collect(),
                cut: stack.cut,
            })
            .collect();
        profile
    }

    /// Adds the frames that a file has for others, and notes by which ones those are to be replaced.
    fn name_frames(
        &mut self,
        profile: &mut Profile,
        file: &Path,
        frames: &[u32],
        found: &mut HashMap<u32, Vec<u32>>,
    ) {
        // Nearly all are return addresses: the byte before one is part of the call.
        let address = |frame: &u32| profile.frames[*frame as usize].module_offset.unwrap_or(0);
        let addresses: Vec<u64> = frames
            .iter()
            .map(|frame| address(frame).saturating_sub(1))
            .collect();
        let names = self.names.get_or_insert_with(Names::new);
        let named = names.at_addresses(file, &addresses);
        for (index, name) in frames.iter().zip(named) {
            let Ok(name) = name else {
                continue;
            };
            let old = profile.frames[*index as usize].clone();
            let mut new = Vec::new();
            let last = name.layers.len() - 1;
            for (place, layer) in name.layers.iter().enumerate() {
                let is_inlined = place < last;
                new.push(u32::try_from(profile.frames.len()).unwrap_or(u32::MAX));
                profile.frames.push(Frame {
                    symbol: Some(layer.symbol.as_str().into()),
                    missing: None,
                    offset: (!is_inlined).then_some(name.offset + 1),
                    file: layer
                        .file
                        .as_ref()
                        .map(|file| file.to_string_lossy().into()),
                    line: layer.line,
                    inlined: is_inlined,
                    ..old.clone()
                });
            }
            found.insert(*index, new);
        }
    }

    /// The file with the names of a build.
    fn file(&mut self, id: &Arc<str>) -> Option<PathBuf> {
        if let Some(known) = self.files.get(id) {
            return known.clone();
        }
        let is_id = id.len() > 2 && id.bytes().all(|byte| byte.is_ascii_hexdigit());
        let file = match is_id {
            true => self.in_folders(id).or_else(|| self.on_servers(id)),
            false => None,
        };
        self.files.insert(Arc::clone(id), file.clone());
        file
    }

    /// As gdb has them: `.build-id/ab/cdef.debug` in a debug folder; or any file beside that has the build id.
    fn in_folders(&mut self, id: &str) -> Option<PathBuf> {
        let (first, rest) = id.split_at(2);
        for folder in &self.folders {
            let name = format!("{first}/{rest}.debug");
            let known = [folder.join(".build-id").join(&name), folder.join(&name)];
            if let Some(file) = known.into_iter().find(|file| file.is_file()) {
                return Some(file);
            }
            let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
            let mut files = entries
                .map(|entry| entry.path())
                .filter(|path| path.is_file());
            if let Some(file) = files.find(|path| build_id(path).as_deref() == Some(id)) {
                return Some(file);
            }
        }
        None
    }

    /// Asks the servers of `DEBUGINFOD_URLS`, by elfutils' client.
    fn on_servers(&mut self, id: &str) -> Option<PathBuf> {
        if !self.debuginfod {
            return None;
        }
        if std::env::var_os(URLS).is_none_or(|urls| urls.is_empty()) {
            self.fail(format!(
                "--debuginfod needs servers: set {URLS}, as for gdb"
            ));
            return None;
        }
        let mut command = Command::new(CLIENT);
        let asked = command
            .args(["debuginfo", id])
            .stdin(Stdio::null())
            .output();
        match asked {
            Ok(output) if output.status.success() => {
                let path = String::from_utf8_lossy(&output.stdout).trim().to_owned();
                Some(PathBuf::from(path))
            }
            // No server has it: the frames stay as they are, and say that they have no symbols.
            Ok(_) => None,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.fail(format!(
                    "--debuginfod needs {CLIENT}: install the package debuginfod, or elfutils"
                ));
                None
            }
            Err(error) => {
                self.fail(format!("cannot run {CLIENT}: {error}"));
                None
            }
        }
    }

    /// Notes what went wrong, and asks no more.
    fn fail(&mut self, why: String) {
        self.debuginfod = false;
        self.failures.push(why);
    }
}

/// Whether a file elsewhere may know more of a frame.
fn is_wanting(frame: &Frame) -> bool {
    let is_known = frame.symbol.is_some() && frame.file.is_some();
    !is_known && !frame.inlined && frame.module_offset.is_some()
}
