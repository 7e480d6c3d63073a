//! The probe programs as uprobe_multi programs, which aya 0.14 cannot load.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::Ebpf;
use aya_obj::Object;

use super::OBJECT;
use super::error::{LoadError, verifier_log_wanted};
use super::object::map_fd;
use super::probe::{Method, ProbeProgram, programs_for};
use super::sys::{self, LinkKind};

/// Loads the probe programs a second time, as uprobe_multi programs over the maps that aya has made: aya 0.14 cannot
/// set their attach type.
pub(super) fn load_multi(
    ebpf: &Ebpf,
    method: Method,
) -> Result<Vec<(ProbeProgram, OwnedFd)>, LoadError> {
    let refused = |error: &dyn std::error::Error| LoadError::Refused(error.to_string());
    let mut object = Object::parse(OBJECT).map_err(|error| refused(&error))?;
    let features = aya::features()
        .btf()
        .ok_or_else(|| LoadError::Refused("the kernel has no BTF support".into()))?;
    let btf = object
        .fixup_and_sanitize_btf(features)
        .map_err(|error| refused(&error))?;
    let btf = btf
        .ok_or_else(|| LoadError::Refused("the object has no BTF".into()))?
        .to_bytes();
    let btf = sys::load_btf(&btf)
        .map_err(|error| LoadError::Refused(format!("type information: {error}")))?;

    let mut descriptors = Vec::new();
    for (name, map) in &object.maps {
        descriptors.push((name.clone(), map_fd(ebpf, name)?.as_raw_fd(), map.clone()));
    }
    let text = object
        .functions
        .keys()
        .map(|(section, _)| *section)
        .collect();
    let maps = descriptors
        .iter()
        .map(|(name, fd, map)| (name.as_str(), *fd, map));
    object
        .relocate_maps(maps, &text)
        .map_err(|error| refused(&error))?;
    object
        .relocate_calls(&text)
        .map_err(|error| refused(&error))?;
    object.sanitize_functions(aya::features());

    let load = |program: ProbeProgram, kind: LinkKind| {
        let name = program.name();
        let gone = || LoadError::missing("program", name);
        let found = object.programs.get(name).ok_or_else(gone)?;
        let function = object
            .functions
            .get(&found.function_key())
            .ok_or_else(gone)?;
        let records = function.func_info.func_info_bytes();
        let functions = sys::FunctionInfo {
            btf: btf.as_fd(),
            record_size: function.func_info_rec_size as u32,
            records: &records,
        };
        sys::load_uprobe_multi(
            kind,
            name,
            &found.license,
            &function.instructions,
            &functions,
            verifier_log_wanted(),
        )
        .map_err(|error| LoadError::Refused(format!("{name}: {error}")))
    };
    if method == Method::UprobeSession {
        // A program runs on in one of its own kind only.
        let at_return = load(ProbeProgram::AllocReturn, LinkKind::Session)?;
        sys::put(map_fd(ebpf, "SESSION_RETURN")?, 0, at_return.as_fd())
            .map_err(|error| LoadError::Refused(format!("SESSION_RETURN: {error}")))?;
    }
    programs_for(method)
        .map(|program| Ok((program, load(program, program.link_kind())?)))
        .collect()
}
