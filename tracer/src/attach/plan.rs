//! One object's probes: which of its functions are traced, at which instruction, and which are not, and why.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use tracer_common::call::Call;

use super::{
    allocator::{AllocatorKind, allocator, families, is_loader},
    exits, flow,
    functions::{Known, Lookup, lookup},
    sites::{Needs, Site},
    symbols::{Function, ObjectSymbols},
    wrappers::{allocates_through, wrapped},
};

/// What the user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Take the functions with this prefix and no others.
    pub prefix: Option<String>,
    /// The return address of a release is read too, so that its caller can be told.
    pub callers_of_frees: bool,
}

/// How the end of a call is seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// Not at all: the call only releases.
    None,
    /// A return probe: the kernel replaces the return address.
    Trampoline,
    /// Probes on these `ret` instructions (file offsets), since the function may throw.
    RetInstructions(Vec<u64>),
}

/// A function to trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedFunction {
    /// Its best-known name.
    pub name: String,
    /// Its other names.
    pub aliases: Vec<String>,
    /// Where the probe finds the arguments: at the entry's registers, unless they were moved before
    /// the site.
    pub call: Call,
    /// Its address as linked.
    pub vaddr: u64,
    /// The file offset of the probe.
    pub entry: u64,
    /// The instruction that the probe sits on.
    pub site: Site,
    /// How its end is seen.
    pub ending: Ending,
}

/// A function that needs no probe, since all it does is done by one that has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wrapper {
    /// Its best-known name.
    pub name: String,
    /// The function that does the work.
    pub target: String,
}

/// A function that is not traced although it allocates or releases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// Its name.
    pub name: String,
    /// Why, as a clause.
    pub why: String,
}

/// The probes of one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The allocator that it holds.
    pub allocator: AllocatorKind,
    /// What to trace, by address.
    pub functions: Vec<PlannedFunction>,
    /// What needs no probe of its own.
    pub wrappers: Vec<Wrapper>,
    /// What cannot be traced.
    pub left_out: Vec<LeftOut>,
}

/// Functions of one address.
pub(super) struct Candidate<'a> {
    /// The best-known name first.
    pub(super) names: Vec<String>,
    /// The convention of the entry, and what else is known.
    pub(super) known: Known,
    /// Two of its names have different conventions.
    ambiguous: bool,
    /// One of its names is an operator, or belongs to one of the object's allocators.
    wanted: bool,
    pub(super) function: &'a Function,
}

/// Plans the probes of the object whose file is `image`.
pub fn plan(object: &ObjectSymbols, image: &[u8], options: &PlanOptions) -> Plan {
    let mut plan = Plan {
        allocator: AllocatorKind::Unknown,
        functions: Vec::new(),
        wrappers: Vec::new(),
        left_out: Vec::new(),
    };
    let prefix = options.prefix.as_deref();
    let families = families(object, prefix);
    if families.is_empty() || is_loader(object) {
        return plan;
    }
    plan.allocator = allocator(object, &families);
    let candidates = candidates(object, prefix, &families);
    name_unsupported(object, image, prefix, &families, &candidates, &mut plan);
    for candidate in candidates.values() {
        let name = candidate.names[0].clone();
        match wrapped(object, image, candidate, &candidates, prefix) {
            Some(target) => plan.wrappers.push(Wrapper { name, target }),
            None => match planned(object, image, candidate, options) {
                Ok(function) => plan.functions.push(function),
                Err(why) => plan.left_out.push(LeftOut { name, why }),
            },
        }
    }
    drop_vain_wrappers(&mut plan);
    avoid_jumps_from_elsewhere(object, image, &candidates, &mut plan);
    plan
}

/// A wrapper of a function that is itself left out is not traced either.
fn drop_vain_wrappers(plan: &mut Plan) {
    loop {
        let left_out = &plan.left_out;
        let is_vain = |wrapper: &Wrapper| left_out.iter().any(|left| left.name == wrapper.target);
        let Some(at) = plan.wrappers.iter().position(is_vain) else {
            return;
        };
        let wrapper = plan.wrappers.remove(at);
        plan.left_out.push(LeftOut {
            name: wrapper.name,
            why: format!("leaves its work to {}, which is not traced", wrapper.target),
        });
    }
}

/// Names the allocator functions that no convention expresses: as wrappers where they get their
/// memory from a function that is traced, else as left out.
fn name_unsupported(
    object: &ObjectSymbols,
    image: &[u8],
    prefix: Option<&str>,
    families: &BTreeSet<String>,
    candidates: &BTreeMap<u64, Candidate<'_>>,
    plan: &mut Plan,
) {
    for function in &object.functions {
        let why = match lookup(&function.name, prefix) {
            Some(Lookup::Unsupported { prefix, why }) if families.contains(&prefix) => why,
            _ => continue,
        };
        let name = function.name.clone();
        match allocates_through(object, image, function, candidates, 3) {
            Some(target) => plan.wrappers.push(Wrapper { name, target }),
            None => plan.left_out.push(LeftOut {
                name,
                why: why.to_owned(),
            }),
        }
    }
}

/// The allocator functions of the object, by address.
fn candidates<'a>(
    object: &'a ObjectSymbols,
    prefix: Option<&str>,
    families: &BTreeSet<String>,
) -> BTreeMap<u64, Candidate<'a>> {
    let mut candidates = BTreeMap::<u64, Candidate<'a>>::new();
    for function in &object.functions {
        let Some(Lookup::Known { prefix, known, .. }) = lookup(&function.name, prefix) else {
            continue;
        };
        let candidate = candidates.entry(function.vaddr).or_insert(Candidate {
            names: Vec::new(),
            known,
            ambiguous: false,
            wanted: false,
            function,
        });
        // A name of a family that the object has only in part counts as a second name alone.
        candidate.wanted |= known.operator || families.contains(&prefix);
        candidate.ambiguous |= candidate.known.call != known.call;
        candidate.known.throws |= known.throws;
        candidate.known.operator &= known.operator;
        candidate.names.push(function.name.clone());
    }
    candidates.retain(|_, candidate| candidate.wanted);
    for candidate in candidates.values_mut() {
        candidate
            .names
            .sort_by_key(|name| (rank(name), name.len(), Reverse(name.clone())));
    }
    candidates
}

/// Plain names before operators, and those before names with a prefix. Of equally long names the
/// one that sorts last is taken: `_Znwm` before `_Znam`.
fn rank(name: &str) -> u8 {
    match lookup(name, None) {
        Some(Lookup::Known { known, .. }) if known.operator => 1,
        Some(Lookup::Known { prefix, .. }) if prefix.is_empty() => 0,
        _ => 2,
    }
}

/// Plans one function; `Err` says why it is left out.
fn planned(
    object: &ObjectSymbols,
    image: &[u8],
    candidate: &Candidate<'_>,
    options: &PlanOptions,
) -> Result<PlannedFunction, String> {
    let function = candidate.function;
    if function.ifunc {
        return Err(
            "an indirect function: the code that is called is chosen at run time".to_owned(),
        );
    }
    if candidate.ambiguous {
        return Err(format!(
            "one address serves {}, which are called differently",
            candidate.names.join(", ")
        ));
    }
    let call = candidate.known.call;
    let code = object
        .body(image, function.vaddr, function.size)
        .ok_or("the file has no code for it")?;
    let mut needs = Needs::of(&call);
    needs.stack_pointer |= options.callers_of_frees;
    let instructions = object.arch.instructions();
    let site = instructions
        .choose_site(code, needs)
        .map_err(|error| error.to_string())?;
    let ending = if !call.needs_return() {
        Ending::None
    } else if candidate.known.throws {
        Ending::RetInstructions(returns(object, image, function.vaddr)?)
    } else {
        Ending::Trampoline
    };
    Ok(PlannedFunction {
        name: candidate.names[0].clone(),
        aliases: candidate.names[1..].to_vec(),
        call: site.call(&call),
        vaddr: function.vaddr,
        entry: function.offset + u64::from(site.offset),
        site,
        ending,
    })
}

/// The file offsets of a function's returns.
fn returns(object: &ObjectSymbols, image: &[u8], vaddr: u64) -> Result<Vec<u64>, String> {
    let returns = exits::returns(
        object.arch,
        vaddr,
        |vaddr| object.piece(image, vaddr),
        |target| flow::destination(object, image, target),
    );
    let returns = returns.map_err(|error| format!("may throw, and {error}"))?;
    Ok(returns
        .into_iter()
        .filter_map(|vaddr| object.file_offset(vaddr))
        .collect())
}

/// Moves a probe back to the entry where code outside the function jumps between the entry and the
/// site: a cold part that the compiler put elsewhere may start over.
fn avoid_jumps_from_elsewhere(
    object: &ObjectSymbols,
    image: &[u8],
    candidates: &BTreeMap<u64, Candidate<'_>>,
    plan: &mut Plan,
) {
    let passed = plan
        .functions
        .iter()
        .filter(|function| function.site.offset > 0)
        .map(|function| {
            let first = function.vaddr + 1;
            first..first + u64::from(function.site.offset)
        })
        .collect();
    for jump in flow::jumps_into(object, image, passed) {
        let Some(function) = plan
            .functions
            .iter_mut()
            .find(|function| function.vaddr + 1 == jump.range.start)
        else {
            continue;
        };
        let Some(candidate) = candidates.get(&function.vaddr) else {
            continue;
        };
        let code = object.body(image, function.vaddr, candidate.function.size);
        let why = format!(
            "code at {:#x} jumps to between the entry and the next site",
            jump.from
        );
        let instructions = object.arch.instructions();
        if let Ok(site) = instructions.entry_site(code.unwrap_or_default(), why) {
            function.call = candidate.known.call;
            function.entry = candidate.function.offset;
            function.site = site;
        }
    }
}

#[cfg(test)]
mod tests;
