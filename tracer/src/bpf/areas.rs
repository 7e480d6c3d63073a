//! All code that is mapped on the host, read at one go through a BPF iterator.

use std::io::Read;

use aya::programs::Iter;
use aya::{Btf, Ebpf};
use tracer_common::event::CodeArea;
use tracer_common::record::Record as _;

use super::error::LoadError;
use super::object;

/// Executable file mappings of every process, process by process. Needs `bpf_iter_task_vma` (Linux 5.12).
pub(super) fn read(ebpf: &mut Ebpf) -> Result<Vec<CodeArea>, LoadError> {
    let program: &mut Iter = object::program(ebpf, "code_areas")?;
    // Read again where records of new mappings were lost.
    if program.fd().is_err() {
        program.load("task_vma", &Btf::from_sys_fs()?)?;
    }
    let link = program.attach()?;
    let link = program.take_link(link)?;
    let mut bytes = Vec::new();
    link.into_file()
        .map_err(|error| LoadError::refused(&error))?
        .read_to_end(&mut bytes)
        .map_err(|error| LoadError::refused(&error))?;
    let records = bytes.chunks(size_of::<CodeArea>());
    Ok(records.filter_map(CodeArea::decode).collect())
}
