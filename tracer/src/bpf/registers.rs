//! The registers of a process's threads, read through a BPF iterator: nothing of the process is stopped or changed.

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::LazyLock;

use aya::programs::Iter;
use aya::{Btf, Ebpf, EbpfLoader};
use tracer_common::record::Record as _;
use tracer_common::registers::{RegisterConfig, ThreadRegisters};

use super::error::LoadError;
use super::packed::Object;
use super::{btf, object, sys};
use crate::arch::Arch;

/// The BPF object, built and committed by `cargo xtask ebpf`.
static OBJECT: LazyLock<Object> = object_file!("registers");

/// Reads the registers of the threads of one process.
pub struct RegisterReader {
    /// Keeps the program.
    ebpf: Ebpf,
    link: OwnedFd,
}

impl RegisterReader {
    /// Loads the program for a process, by its PID in our PID namespace.
    ///
    /// # Errors
    /// Why there is none: `bpf_task_pt_regs` came with Linux 5.15, the restriction to one process with 6.1.
    pub fn new(pid: u32) -> Result<Self, LoadError> {
        let data = std::fs::read("/sys/kernel/btf/vmlinux").unwrap_or_default();
        let types = btf::Btf::parse(&data);
        let config = types.and_then(|types| {
            let thread = types.member_offset("task_struct", "thread")?;
            Some(RegisterConfig {
                task_pid: types.member_offset("task_struct", "pid")?,
                task_thread_pointer: thread
                    + types.member_offset("thread_struct", Arch::HOST.thread_pointer_member())?,
            })
        });
        let config = config
            .ok_or_else(|| LoadError::Refused("the kernel has no type information".to_owned()))?;
        let mut ebpf = EbpfLoader::new()
            .override_global("CONFIG", &config, true)
            .load(&OBJECT)?;
        let program: &mut Iter = object::program(&mut ebpf, "thread_registers")?;
        program.load("task", &Btf::from_sys_fs()?)?;
        let link = sys::link_iterator(program.fd()?.as_fd(), pid)
            .map_err(|error| LoadError::refused(&error))?;
        Ok(Self { ebpf, link })
    }

    /// Instructions that the verifier has walked through for the program, by its name.
    pub fn verified_instructions(&self) -> impl Iterator<Item = (String, u32)> {
        object::verified_instructions(&self.ebpf)
    }

    /// The registers of all threads now.
    ///
    /// # Errors
    /// What the kernel says; there are none of a process that is gone.
    pub fn read(&self) -> std::io::Result<Vec<ThreadRegisters>> {
        let mut bytes = Vec::new();
        std::fs::File::from(sys::iterator(self.link.as_fd())?).read_to_end(&mut bytes)?;
        let records = bytes.chunks(size_of::<ThreadRegisters>());
        Ok(records.filter_map(ThreadRegisters::decode).collect())
    }
}
