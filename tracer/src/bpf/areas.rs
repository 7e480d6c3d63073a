//! All code that is mapped on the host, read at one go through a BPF iterator.

use std::io::Read;

use aya::programs::Iter;
use aya::{Btf, Ebpf};
use tracer_common::event::CodeArea;
use tracer_common::record::Record as _;

use super::load::LoadError;

/// Executable file mappings of every process, process by process. Needs `bpf_iter_task_vma` (Linux 5.12).
pub(super) fn read(ebpf: &mut Ebpf) -> Result<Vec<CodeArea>, LoadError> {
    let refused = |error: &dyn std::error::Error| LoadError::refused(error);
    let program: Option<&mut Iter> = ebpf
        .program_mut("code_areas")
        .and_then(|program| program.try_into().ok());
    let program =
        program.ok_or_else(|| LoadError::Refused("the object has no program code_areas".into()))?;
    // Read again where records of new mappings were lost.
    if program.fd().is_err() {
        let btf = Btf::from_sys_fs().map_err(|error| refused(&error))?;
        program
            .load("task_vma", &btf)
            .map_err(|error| refused(&error))?;
    }
    let link = program.attach().map_err(|error| refused(&error))?;
    let link = program.take_link(link).map_err(|error| refused(&error))?;
    let mut file = link.into_file().map_err(|error| refused(&error))?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)
        .map_err(|error| refused(&error))?;
    let records = bytes.chunks(size_of::<CodeArea>());
    Ok(records.filter_map(CodeArea::decode).collect())
}
