//! The probe programs as uprobe_multi programs, which aya 0.14 cannot load.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use aya::Ebpf;
use aya_obj::Object;

use super::OBJECT;
use super::error::{LoadError, verifier_log_wanted};
use super::object::map_fd;
use super::probe::{Method, ProbeProgram, programs_for};
use super::runtimes::{self, PROBE_RUNTIME, SESSION_RUNTIME};
use super::sys::{self, LinkKind};

/// Loads the probe programs a second time, as uprobe_multi programs over the maps that aya has made: aya 0.14 cannot
/// set their attach type.
pub(super) fn load_multi(
    ebpf: &Ebpf,
    method: Method,
) -> Result<Vec<(ProbeProgram, OwnedFd)>, LoadError> {
    let programs = Programs::relocated(ebpf, LinkKind::Multi)?;
    let multi = programs_for(method).filter(|program| program.link_kind() == LinkKind::Multi);
    let mut loaded = multi
        .map(|program| Ok((program, programs.load(program.name())?)))
        .collect::<Result<Vec<_>, LoadError>>()?;
    loaded.extend(programs.of_runtimes(ebpf)?);
    if method == Method::UprobeSession {
        let programs = Programs::relocated(ebpf, LinkKind::Session)?;
        let session = ProbeProgram::AllocSession;
        loaded.push((session, programs.load(session.name())?));
        let at_return = programs.load(ProbeProgram::AllocReturn.name())?;
        sys::put(map_fd(ebpf, "SESSION_RETURN")?, 0, at_return.as_fd())
            .map_err(|error| LoadError::Refused(format!("SESSION_RETURN: {error}")))?;
        programs.of_runtimes(ebpf)?;
    }
    Ok(loaded)
}

/// The object's programs for one kind of link, ready to be loaded. A program runs on in one of its own kind only, so
/// that each kind has arrays of programs of its own.
struct Programs {
    object: Object,
    btf: OwnedFd,
    kind: LinkKind,
}

impl Programs {
    fn relocated(ebpf: &Ebpf, kind: LinkKind) -> Result<Self, LoadError> {
        let refused = |error: &dyn std::error::Error| LoadError::Refused(error.to_string());
        let mut object = Object::parse(&OBJECT).map_err(|error| refused(&error))?;
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
            let of_kind = match (name.as_str(), kind) {
                (PROBE_RUNTIME, LinkKind::Session) => SESSION_RUNTIME,
                (name, _) => name,
            };
            let fd = map_fd(ebpf, of_kind)?.as_raw_fd();
            descriptors.push((name.clone(), fd, map.clone()));
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
        Ok(Self { object, btf, kind })
    }

    fn load(&self, name: &str) -> Result<OwnedFd, LoadError> {
        let gone = || LoadError::missing("program", name);
        let found = self.object.programs.get(name).ok_or_else(gone)?;
        let function = self
            .object
            .functions
            .get(&found.function_key())
            .ok_or_else(gone)?;
        let records = function.func_info.func_info_bytes();
        let functions = sys::FunctionInfo {
            btf: self.btf.as_fd(),
            record_size: function.func_info_rec_size as u32,
            records: &records,
        };
        sys::load_uprobe_multi(
            self.kind,
            name,
            &found.license,
            &function.instructions,
            &functions,
            verifier_log_wanted(),
        )
        .map_err(|error| LoadError::Refused(format!("{name}: {error}")))
    }

    /// Loads the programs that go on with stacks in language runtimes, and puts them where others run on in them.
    fn of_runtimes(&self, ebpf: &Ebpf) -> Result<Vec<(ProbeProgram, OwnedFd)>, LoadError> {
        let array = match self.kind {
            LinkKind::Session => SESSION_RUNTIME,
            LinkKind::Multi => PROBE_RUNTIME,
        };
        let load = |(index, program): (u32, ProbeProgram)| {
            let fd = self.load(program.name())?;
            runtimes::put(ebpf, array, index, fd.as_fd())?;
            Ok((program, fd))
        };
        (0..).zip(ProbeProgram::OF_RUNTIMES).map(load).collect()
    }
}
