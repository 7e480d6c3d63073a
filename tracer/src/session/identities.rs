//! Files as the kernel knows them, where `/proc` calls them otherwise.

use crate::bpf::{LoadError, Tracer};
use crate::process::identity::Identities;
use crate::process::maps::Mapping;

/// Gives mappings of a process the kernel's identities of their files, after a look at all code on the host where one is
/// not known.
///
/// # Errors
/// [`LoadError`] where that look was not possible: the mappings keep what `/proc` says.
pub fn translate(
    identities: &mut Identities,
    tracer: &mut Tracer,
    pid: u32,
    maps: &mut [Mapping],
) -> Result<(), LoadError> {
    let is_code = |mapping: &&Mapping| mapping.execute && mapping.file.inode != 0;
    let mut code = maps.iter().filter(is_code);
    let looked = match code.any(|mapping| identities.of(pid, mapping).is_none()) {
        true => tracer.code_areas().map(|areas| identities.learn(&areas)),
        false => Ok(()),
    };
    identities.translate(pid, maps);
    looked
}
