//! The emulated machine: QEMU without KVM, and virtiofsd, which gives it the host's files.

use std::{
    fs,
    io::{BufRead as _, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::kernel::Fetched;
use crate::run;

/// The emulator.
const QEMU: &str = "qemu-system-x86_64";

/// Memory of the guest: BPF maps for a default trace, several victims, and the guest's own /tmp.
const MEMORY_MIB: u32 = 2048;
const CPUS: u32 = 2;

/// How long virtiofsd may take until it listens.
const START: Duration = Duration::from_secs(10);

/// A machine that is about to boot.
pub struct Machine<'a> {
    /// The kernel to boot.
    pub kernel: &'a Fetched,
    /// The processor to emulate, in QEMU's words.
    pub processor: &'a str,
    /// Its initramfs.
    pub initramfs: &'a Path,
    /// Where the kernel's messages go.
    pub console: &'a Path,
    /// The folder that the guest may write to, as the share "victims".
    pub victims: &'a Path,
    /// When it is switched off if it still runs.
    pub limit: Duration,
}

/// How the machine ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It switched itself off, or the emulator ended.
    Off,
    /// It ran longer than it may.
    Late,
}

impl Machine<'_> {
    /// Runs the machine to its end and hands over each line that its job prints.
    pub fn run(&self, mut line: impl FnMut(&str) -> Result<()>) -> Result<End> {
        let sockets = tempfile::tempdir()?;
        // Read-only in the guest by how it is mounted; the victims are a share of their own.
        let host = Share::start("host", Path::new("/"), "always", sockets.path())?;
        let victims = Share::start("victims", self.victims, "auto", sockets.path())?;
        let start = Instant::now();
        let mut qemu = Running(
            self.qemu(&[&host, &victims])
                .stdin(Stdio::null())
                .stdout(Stdio::piped())
                .spawn()
                .with_context(|| format!("cannot run {QEMU}"))?,
        );
        let output = qemu.0.stdout.take().context("QEMU has no pipe")?;
        let (send, lines) = mpsc::channel();
        let reader = std::thread::spawn(move || {
            for bytes in BufReader::new(output).split(b'\n').map_while(Result::ok) {
                let text = String::from_utf8_lossy(&bytes).trim_end().to_owned();
                if send.send(text).is_err() {
                    break;
                }
            }
        });
        let end = loop {
            match lines.recv_timeout(self.limit.saturating_sub(start.elapsed())) {
                Ok(text) => line(&text)?,
                Err(RecvTimeoutError::Disconnected) => break End::Off,
                Err(RecvTimeoutError::Timeout) => break End::Late,
            }
        };
        // Ends the emulator, and with it the pipe that the reader waits for.
        drop(qemu);
        let _ = reader.join();
        Ok(end)
    }

    fn qemu(&self, shares: &[&Share]) -> Command {
        let mut qemu = Command::new(QEMU);
        // Software emulation: KVM is missing where machines are virtual themselves.
        qemu.args(["-accel", "tcg,thread=multi", "-cpu", self.processor])
            .args(["-smp", &CPUS.to_string()])
            .args(["-m", &MEMORY_MIB.to_string()])
            // virtiofsd reads and writes the guest's memory.
            .arg("-object")
            .arg(format!(
                "memory-backend-memfd,id=memory,size={MEMORY_MIB}M,share=on"
            ))
            .args(["-numa", "node,memdev=memory"])
            .args(["-nodefaults", "-display", "none", "-no-reboot"])
            .arg("-serial")
            .arg(format!("file:{}", self.console.display()))
            .args(["-serial", "stdio"])
            .arg("-kernel")
            .arg(&self.kernel.image)
            .arg("-initrd")
            .arg(self.initramfs)
            .args(["-append", "console=ttyS0 panic=-1 quiet"]);
        for share in shares {
            let name = share.name;
            qemu.arg("-chardev")
                .arg(format!("socket,id={name},path={}", share.socket.display()))
                .arg("-device")
                .arg(format!("vhost-user-fs-pci,chardev={name},tag={name}"));
        }
        qemu
    }
}

/// A folder of the host that the guest can mount; served until this goes.
struct Share {
    name: &'static str,
    socket: PathBuf,
    _server: Running,
}

impl Share {
    fn start(name: &'static str, folder: &Path, cache: &str, sockets: &Path) -> Result<Self> {
        let program = virtiofsd().context(
            "virtiofsd is not installed: it comes with Debian's qemu-system-common or virtiofsd",
        )?;
        let socket = sockets.join(name);
        let log = fs::File::create(sockets.join(format!("{name}.log")))?;
        let mut server = Running(
            Command::new(&program)
                .arg(format!("--socket-path={}", socket.display()))
                .args(["-o", &format!("source={}", folder.display())])
                .args(["-o", &format!("cache={cache}")])
                // Mounts below the folder keep their own device number in the guest, since inode numbers repeat.
                .args(["-o", "announce_submounts", "-o", "sandbox=chroot"])
                .stdin(Stdio::null())
                .stdout(log.try_clone()?)
                .stderr(log)
                .spawn()
                .with_context(|| format!("cannot run {}", program.display()))?,
        );
        let start = Instant::now();
        while !socket.exists() {
            if let Some(status) = server.0.try_wait()? {
                let said = fs::read_to_string(sockets.join(format!("{name}.log")))?;
                let last = said.lines().last().unwrap_or("no message");
                bail!("{} failed ({status}): {last}", program.display());
            }
            if start.elapsed() > START {
                bail!("{} does not listen after {START:?}", program.display());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(Self {
            name,
            socket,
            _server: server,
        })
    }
}

/// Where distributions put virtiofsd: with QEMU up to 7.2, then as a program of its own, rarely in `PATH`.
pub fn virtiofsd() -> Option<PathBuf> {
    if run::in_path("virtiofsd") {
        return Some("virtiofsd".into());
    }
    ["/usr/libexec/virtiofsd", "/usr/lib/qemu/virtiofsd"]
        .map(PathBuf::from)
        .into_iter()
        .find(|path| path.is_file())
}

/// A child that does not outlive its owner.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // What fails here has ended before.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
