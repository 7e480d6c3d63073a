//! Functions that leave their work to another allocator function, and so need no probe.

use std::collections::BTreeMap;

use tracer_common::call::Class;

use super::{
    flow::{self, Destination},
    functions::{Lookup, lookup},
    plan::Candidate,
    symbols::{Function, ObjectSymbols},
};

/// The largest body of a function that only hands on to another one, in bytes.
const LARGEST_WRAPPER: usize = 128;

/// The function that `candidate` leaves all its work to, if there is one.
///
/// It matters most for functions that release: a second probe would see the block's address again,
/// when the block is gone.
pub(super) fn wrapped(
    object: &ObjectSymbols,
    image: &[u8],
    candidate: &Candidate<'_>,
    candidates: &BTreeMap<u64, Candidate<'_>>,
    prefix: Option<&str>,
) -> Option<String> {
    let function = candidate.function;
    let code = object.body(image, function.vaddr, function.size)?;
    if code.len() > LARGEST_WRAPPER
        || function.ifunc
        || object.arch.instructions().stores_a_register(code)
    {
        return None;
    }
    let class = candidate.known.call.class;
    // It rounds the size up before it hands on, and what is counted is what the program asked for.
    let rounds = candidate.names[0].ends_with("pvalloc");
    let serves = |destination: &Destination| match destination {
        Destination::Local(vaddr) if *vaddr == function.vaddr => None,
        Destination::Local(vaddr) => candidates
            .get(vaddr)
            .filter(|target| target.known.call.class == class)
            .map(|target| target.names[0].clone()),
        Destination::Import(name) => match lookup(name, prefix)? {
            Lookup::Known { known, .. } if known.call.class == class => Some(name.clone()),
            _ => None,
        },
    };
    let exits = flow::exits(object, image, function.vaddr, code);
    let target = exits.iter().find_map(|exit| serves(&exit.destination))?;
    if rounds && !target.ends_with("pvalloc") {
        return None;
    }
    let calls_are_enough =
        class == Class::Free || candidate.known.throws || candidate.known.operator;
    let jumps_away = || {
        let mut jumps = exits.iter().filter(|exit| !exit.call).peekable();
        jumps.peek().is_some()
            && jumps.all(|exit| serves(&exit.destination).is_some())
            && object.arch.instructions().returns_only_constants(code)
    };
    (calls_are_enough || jumps_away()).then_some(target)
}

/// The traced function that `function` calls to get memory, itself or through at most `depth` others.
pub(super) fn allocates_through(
    object: &ObjectSymbols,
    image: &[u8],
    function: &Function,
    candidates: &BTreeMap<u64, Candidate<'_>>,
    depth: u32,
) -> Option<String> {
    let code = object.body(image, function.vaddr, function.size)?;
    let exits = flow::exits(object, image, function.vaddr, code);
    let reached = exits.iter().filter_map(|exit| match exit.destination {
        Destination::Local(vaddr) => Some(vaddr),
        Destination::Import(_) => None,
    });
    let direct = reached.clone().find_map(|vaddr| {
        let candidate = candidates.get(&vaddr)?;
        let allocates = candidate.known.call.class != Class::Free && !candidate.function.ifunc;
        allocates.then(|| candidate.names[0].clone())
    });
    direct.or_else(|| {
        let through = |vaddr| {
            let next = object.at(vaddr)?;
            allocates_through(object, image, next, candidates, depth.checked_sub(1)?)
        };
        (depth > 0 && exits.len() == 1).then(|| reached.clone().find_map(through))?
    })
}
