//! What is in place in each process: removing it, clearing it from forked children, and reading it back.

use std::io::IoSliceMut;
use std::path::{Path, PathBuf};

use nix::sys::uio::{RemoteIoVec, process_vm_readv};
use nix::unistd::Pid;

use super::{AttachError, FileKey, Prober, Site};
use crate::arch::Arch;
use crate::bpf::{Probe, Tracer};
use crate::process::files;
use crate::process::info;
use crate::process::maps::{FileId, Mapping};

/// The byte by which the breakpoint is told that a probe is in a process's memory.
const BREAKPOINT: u8 = Arch::HOST.breakpoint().1;

/// What is in place in one process.
#[derive(Debug, Default)]
pub(super) struct Probed {
    /// When the process was started, in clock ticks since boot: another one may come to have its PID.
    start_time: Option<u64>,
    files: Vec<Placement>,
    /// Addresses of the probed instructions, as far as they are mapped.
    addresses: Vec<Address>,
}

/// The probes of one file in one process.
#[derive(Clone, Debug)]
struct Placement {
    key: FileKey,
    /// The file as the mappings tell it; `None` until it is mapped.
    id: Option<FileId>,
    /// The path that led to the file.
    path: PathBuf,
    probes: Vec<Probe>,
    /// Which instructions; none of a loader's hook, which is of no account.
    sites: Vec<Site>,
}

/// The telling byte of a probed instruction in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Address {
    address: u64,
    original: u8,
}

/// Probes of a process that are no longer in its memory, although nobody has removed them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// How many are gone.
    pub gone: usize,
    /// Of so many.
    pub of: usize,
    /// In place of some there is neither the breakpoint nor the instruction of the file: the code was rewritten.
    pub is_rewritten: bool,
}

impl Probed {
    /// Nothing yet, in this process.
    fn new(pid: u32) -> Self {
        Self {
            start_time: info::vitals(pid).map(|vitals| vitals.start_time),
            ..Self::default()
        }
    }

    /// Whether the process is the one that has the probes.
    fn is_of(&self, pid: u32) -> bool {
        info::vitals(pid).is_some_and(|vitals| Some(vitals.start_time) == self.start_time)
    }

    /// Notes where the instructions lie in these mappings, and which path leads to their files now.
    fn locate(&mut self, pid: u32, maps: &[Mapping]) {
        self.addresses.clear();
        for mapping in maps.iter().filter(|mapping| mapping.execute) {
            let files = self
                .files
                .iter_mut()
                .filter(|file| file.id == Some(mapping.file));
            for site in files.flat_map(|file| {
                // An `exec` maps it elsewhere, and a child has what its parent had.
                if file.path.starts_with("/proc") {
                    file.path = files::link(pid, &(mapping.start..mapping.end));
                }
                &file.sites
            }) {
                let address = site
                    .offset
                    .checked_sub(mapping.offset)
                    .and_then(|distance| mapping.start.checked_add(distance))
                    .filter(|address| *address < mapping.end);
                self.addresses.extend(address.map(|address| Address {
                    address: address + Arch::HOST.breakpoint().0,
                    original: site.original,
                }));
            }
        }
    }

    /// What is in the place of the probed instructions now; `None` where it cannot be read.
    fn read_back(&self, pid: u32) -> Option<Missing> {
        let mut bytes = vec![0; self.addresses.len()];
        read_bytes(pid, &self.addresses, &mut bytes)?;
        Some(compare(&self.addresses, &bytes))
    }
}

/// How what was read differs from breakpoints.
fn compare(addresses: &[Address], bytes: &[u8]) -> Missing {
    let pairs = || addresses.iter().zip(bytes);
    let gone = |(_, byte): &(&Address, &u8)| **byte != BREAKPOINT;
    Missing {
        gone: pairs().filter(gone).count(),
        of: addresses.len(),
        is_rewritten: pairs()
            .filter(gone)
            .any(|(address, byte)| *byte != address.original),
    }
}

/// Most ranges of one call (uio.h, `UIO_MAXIOV`).
const RANGES_AT_ONCE: usize = 1024;

/// Reads one byte at each address.
fn read_bytes(pid: u32, addresses: &[Address], bytes: &mut [u8]) -> Option<()> {
    let pid = Pid::from_raw(i32::try_from(pid).ok()?);
    for (addresses, bytes) in addresses
        .chunks(RANGES_AT_ONCE)
        .zip(bytes.chunks_mut(RANGES_AT_ONCE))
    {
        let remote: Vec<RemoteIoVec> = addresses
            .iter()
            .map(|address| RemoteIoVec {
                base: address.address as usize,
                len: 1,
            })
            .collect();
        let wanted = bytes.len();
        let read = process_vm_readv(pid, &mut [IoSliceMut::new(bytes)], &remote).ok()?;
        if read != wanted {
            return None;
        }
    }
    Some(())
}

impl Prober {
    /// Places probes on a file in a process, unless they are there; whether they were not.
    pub(super) fn place_probes(
        &mut self,
        tracer: &mut Tracer,
        pid: u32,
        (key, id): (FileKey, Option<FileId>),
        path: &Path,
        probes: &[Probe],
        sites: &[Site],
    ) -> Result<bool, AttachError> {
        let probed = self.probed.entry(pid).or_insert_with(|| Probed::new(pid));
        if let Some(known) = probed.files.iter_mut().find(|file| file.key == key) {
            known.id = known.id.or(id);
            return Ok(false);
        }
        let (links, ebpf) = tracer.links();
        match links.attach(ebpf, pid, path, probes) {
            Ok(attached) => self.attached += attached,
            Err(error) => {
                // A refusal because the process has just ended is told as such.
                info::read(pid)?;
                return Err(error.into());
            }
        }
        probed.files.push(Placement {
            key,
            id,
            path: path.to_owned(),
            probes: probes.to_vec(),
            sites: sites.to_vec(),
        });
        Ok(true)
    }

    /// Places in a process what another one has, whose child it is.
    ///
    /// # Errors
    /// What the kernel refuses; the child may have ended.
    pub fn place_like(
        &mut self,
        tracer: &mut Tracer,
        parent: u32,
        child: u32,
    ) -> Result<(), AttachError> {
        let Some(probed) = self.probed.get(&parent) else {
            return Ok(());
        };
        let mut copy = Probed::new(child);
        let mut outcome = Ok(());
        let (links, ebpf) = tracer.links();
        for file in &probed.files {
            match links.attach(ebpf, child, &file.path, &file.probes) {
                Ok(_) => copy.files.push(file.clone()),
                Err(error) => outcome = Err(error),
            }
        }
        copy.addresses = probed.addresses.clone();
        self.probed.insert(child, copy);
        Ok(outcome?)
    }

    /// Whether a process has nothing to be probed in this file, or has its probes.
    pub fn passes(&self, pid: u32, id: FileId) -> bool {
        self.passed.contains(&id) || self.holds(pid, id)
    }

    /// Whether the process has probes in this file, or could have got them.
    pub(super) fn holds(&self, pid: u32, id: FileId) -> bool {
        let probed = self.probed.get(&pid);
        probed.is_some_and(|probed| probed.files.iter().any(|file| file.id == Some(id)))
    }

    /// Notes where the probes lie in a process with these mappings.
    pub(super) fn locate(&mut self, pid: u32, maps: &[Mapping]) {
        if let Some(probed) = self.probed.get_mut(&pid) {
            probed.locate(pid, maps);
        }
    }

    /// Whether a process has probes on an allocator.
    pub fn has_probes(&self, pid: u32) -> bool {
        let probed = self.probed.get(&pid);
        probed.is_some_and(|probed| probed.files.iter().any(|file| !file.sites.is_empty()))
    }

    /// Processes that have probes.
    pub fn probed(&self) -> impl Iterator<Item = u32> {
        self.probed.keys().copied()
    }

    /// Removes the probes of one process; other tracers keep theirs. It costs nothing from then on.
    pub fn leave(&mut self, tracer: &mut Tracer, pid: u32) {
        if self.probed.remove(&pid).is_some() {
            tracer.links().0.detach_from(pid);
        }
    }

    /// Takes the breakpoints out of the copies of a process's memory that its forked children have.
    pub fn clear_copies(&self, tracer: &mut Tracer, pid: u32) {
        let Some(probed) = self.probed.get(&pid) else {
            return;
        };
        for file in &probed.files {
            let (links, ebpf) = tracer.links();
            // If it is refused, the process has ended, and the end of its own probes does the same.
            let _ = links.clear_copies(ebpf, pid, &file.path, &file.probes);
        }
    }

    /// Whether the probes of a process are still in its memory; `None` if they are, or if it has ended.
    /// `maps` reads its mappings, with the identities of files that the probes were placed by.
    pub fn missing(
        &mut self,
        pid: u32,
        maps: impl FnOnce() -> Option<Vec<Mapping>>,
    ) -> Option<Missing> {
        let probed = self.probed.get_mut(&pid)?;
        let is_whole = |missing: &Missing| missing.gone == 0;
        if probed.read_back(pid).as_ref().is_some_and(is_whole) {
            return None;
        }
        // A library was unmapped, or the program replaced: what counts is what is mapped now.
        probed.locate(pid, &maps()?);
        let missing = probed.read_back(pid)?;
        (!is_whole(&missing) && probed.is_of(pid)).then_some(missing)
    }

    /// Places the probes of a process again, in the files that it has them in.
    ///
    /// # Errors
    /// What the kernel refuses; the process may have ended.
    pub fn place_again(&mut self, tracer: &mut Tracer, pid: u32) -> Result<(), AttachError> {
        let Some(probed) = self.probed.get(&pid) else {
            return Ok(());
        };
        let (links, ebpf) = tracer.links();
        let old = links.take(pid);
        let mut outcome = Ok(());
        for file in &probed.files {
            let placed = links.attach(ebpf, pid, &file.path, &file.probes);
            outcome = outcome.and(placed.map(drop));
        }
        links.close_apart(old);
        Ok(outcome?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::maps;

    fn key() -> FileKey {
        FileKey {
            device: 1,
            inode: 2,
        }
    }

    /// A probe's address follows from its offset and the mapping that shows it.
    #[test]
    fn sites_lie_in_their_mappings() {
        let line = |text: &str| maps::parse_line(text.as_bytes()).expect("a line of maps");
        let maps = [
            line("1000-3000 r--p 00000000 fe:00 7 /lib/libc.so"),
            line("3000-5000 r-xp 00002000 fe:00 7 /lib/libc.so"),
            line("8000-9000 r-xp 00000000 fe:00 8 /bin/other"),
        ];
        let sites = [(0x100, 1), (0x2000, 2), (0x3fff, 3), (0x4000, 4)];
        let mut probed = Probed::default();
        probed.files.push(Placement {
            key: key(),
            id: Some(maps[0].file),
            path: PathBuf::new(),
            probes: Vec::new(),
            sites: sites
                .map(|(offset, original)| Site { offset, original })
                .to_vec(),
        });
        probed.locate(1, &maps);
        let found: Vec<(u64, u8)> = probed
            .addresses
            .iter()
            .map(|site| (site.address, site.original))
            .collect();
        assert_eq!(found, [(0x3000, 2), (0x4fff, 3)]);
    }

    #[test]
    fn what_was_read_is_compared() {
        let at = |original| Address {
            address: 0x1000,
            original,
        };
        let addresses = [at(0x41), at(0x55), at(0x90)];
        let missing = |bytes: [u8; 3]| compare(&addresses, &bytes);
        let of = |gone, is_rewritten| Missing {
            gone,
            of: 3,
            is_rewritten,
        };
        assert_eq!(missing([BREAKPOINT; 3]), of(0, false));
        assert_eq!(missing([0x41, BREAKPOINT, 0x90]), of(2, false));
        assert_eq!(missing([BREAKPOINT, 0x56, 0x90]), of(2, true));
    }

    /// In this very process.
    #[test]
    fn bytes_are_read_back() {
        let code = [0x90, BREAKPOINT];
        let at = |index: usize| Address {
            address: &raw const code[index] as u64,
            original: 0x90,
        };
        let probed = Probed {
            addresses: vec![at(0), at(1)],
            ..Probed::default()
        };
        let missing = probed
            .read_back(std::process::id())
            .expect("our own memory");
        assert_eq!((missing.gone, missing.of), (1, 2));
        assert_eq!(probed.read_back(0x7fff_fffe), None);
    }
}
