//! One object's probes: which of its functions are traced, at which instruction, and which are not, and why.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, BTreeSet},
};

use tracer_common::call::{Call, Class};

use super::{
    exits,
    flow::{self, Destination},
    functions::{Known, Lookup, lookup},
    sites::{Needs, Site, choose_site, entry_site},
    symbols::{Function, ObjectSymbols},
};

/// The largest body of a function that only hands on to another one, in bytes.
const LARGEST_WRAPPER: usize = 128;

/// What the user asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PlanOptions {
    /// Take the functions with this prefix and no others.
    pub prefix: Option<String>,
}

/// Which allocator an object holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AllocatorKind {
    /// The GNU C library's.
    Glibc,
    /// musl's.
    Musl,
    /// jemalloc, whatever its prefix.
    Jemalloc,
    /// gperftools' or Google's tcmalloc.
    Tcmalloc,
    /// mimalloc.
    Mimalloc,
    /// None that is known, or none at all.
    Unknown,
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
    /// Where the probe finds the arguments: at the entry's registers, unless they were moved before the site.
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
struct Candidate<'a> {
    /// The best-known name first.
    names: Vec<String>,
    /// The convention of the entry, and what else is known.
    known: Known,
    /// Two of its names have different conventions.
    ambiguous: bool,
    function: &'a Function,
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
            None => match planned(object, image, candidate) {
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

/// The prefixes under which the object defines both `malloc` and `free`. One alone is no allocator: many programs have a
/// local function called `free`.
fn families(object: &ObjectSymbols, prefix: Option<&str>) -> BTreeSet<String> {
    let under = |wanted: &str| -> BTreeSet<String> {
        object
            .functions
            .iter()
            .filter_map(|function| match lookup(&function.name, prefix) {
                Some(Lookup::Known { prefix, base, .. }) if base == wanted => Some(prefix),
                _ => None,
            })
            .collect()
    };
    &under("malloc") & &under("free")
}

/// glibc's dynamic loader: up to 2.30 it exports a `malloc` that only serves until the C library is there.
fn is_loader(object: &ObjectSymbols) -> bool {
    object
        .soname
        .as_deref()
        .is_some_and(|name| name.starts_with("ld-linux"))
}

/// Tells the allocator by what only it defines.
fn allocator(object: &ObjectSymbols, families: &BTreeSet<String>) -> AllocatorKind {
    let has = |names: &[&str]| {
        object
            .functions
            .iter()
            .any(|function| names.contains(&function.name.as_str()))
    };
    let has_family = |prefix: &str| families.contains(prefix);
    let musl = object
        .soname
        .as_deref()
        .is_some_and(|name| name.contains("musl"));
    if has_family("mi_") || has(&["mi_version"]) {
        AllocatorKind::Mimalloc
    } else if has_family("je_")
        || has_family("_rjem_")
        || has(&["mallctl", "je_mallctl", "_rjem_mallctl"])
    {
        AllocatorKind::Jemalloc
    } else if has(&[
        "tc_version",
        "MallocExtension_GetStats",
        "TCMallocInternalMalloc",
    ]) {
        AllocatorKind::Tcmalloc
    } else if musl || has(&["__libc_malloc_impl", "__malloc_donate", "__dls3"]) {
        AllocatorKind::Musl
    } else if has(&["gnu_get_libc_version", "_int_malloc", "__libc_mallopt"]) {
        AllocatorKind::Glibc
    } else {
        AllocatorKind::Unknown
    }
}

/// Names the allocator functions that no convention expresses: as wrappers where they get their memory from a function
/// that is traced, else as left out.
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

/// The traced function that `function` calls to get memory, itself or through at most `depth` others.
fn allocates_through(
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
        if !known.operator && !families.contains(&prefix) {
            continue;
        }
        let candidate = candidates.entry(function.vaddr).or_insert(Candidate {
            names: Vec::new(),
            known,
            ambiguous: false,
            function,
        });
        candidate.ambiguous |= candidate.known.call != known.call;
        candidate.known.throws |= known.throws;
        candidate.known.operator &= known.operator;
        candidate.names.push(function.name.clone());
    }
    for candidate in candidates.values_mut() {
        candidate
            .names
            .sort_by_key(|name| (rank(name), name.len(), Reverse(name.clone())));
    }
    candidates
}

/// Plain names before operators, and those before names with a prefix. Of equally long names the one that sorts last is
/// taken: `_Znwm` before `_Znam`.
fn rank(name: &str) -> u8 {
    match lookup(name, None) {
        Some(Lookup::Known { known, .. }) if known.operator => 1,
        Some(Lookup::Known { prefix, .. }) if prefix.is_empty() => 0,
        _ => 2,
    }
}

/// The function that `candidate` leaves all its work to, if there is one.
///
/// It matters most for functions that release: a second probe would see the block's address again, when the block
/// is gone.
fn wrapped(
    object: &ObjectSymbols,
    image: &[u8],
    candidate: &Candidate<'_>,
    candidates: &BTreeMap<u64, Candidate<'_>>,
    prefix: Option<&str>,
) -> Option<String> {
    let function = candidate.function;
    let code = object.body(image, function.vaddr, function.size)?;
    if code.len() > LARGEST_WRAPPER || function.ifunc {
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
            && flow::returns_only_constants(code)
    };
    (calls_are_enough || jumps_away()).then_some(target)
}

/// Plans one function; `Err` says why it is left out.
fn planned(
    object: &ObjectSymbols,
    image: &[u8],
    candidate: &Candidate<'_>,
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
    let site = choose_site(code, Needs::of(&call)).map_err(|error| error.to_string())?;
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

/// Moves a probe back to the entry where code outside the function jumps between the entry and the site: a cold part
/// that the compiler put elsewhere may start over.
fn avoid_jumps_from_elsewhere(
    object: &ObjectSymbols,
    image: &[u8],
    candidates: &BTreeMap<u64, Candidate<'_>>,
    plan: &mut Plan,
) {
    let mut passed: Vec<(u64, u64, usize)> = plan
        .functions
        .iter()
        .enumerate()
        .filter(|(_, function)| function.site.offset > 0)
        .map(|(index, function)| {
            let last = function.vaddr + u64::from(function.site.offset);
            (function.vaddr + 1, last, index)
        })
        .collect();
    passed.sort_unstable();
    let mut moved = BTreeSet::new();
    for (vaddr, code) in object.code(image) {
        for (from, target) in far_jumps(vaddr, code) {
            let after = passed.partition_point(|(first, _, _)| *first <= target);
            let Some((first, last, index)) = after.checked_sub(1).map(|at| passed[at]) else {
                continue;
            };
            let own = object.body(image, first - 1, size(object, first - 1));
            let own = own.map_or(0, <[u8]>::len) as u64;
            if target <= last && !(first - 1..first - 1 + own).contains(&from) {
                moved.insert((index, from));
            }
        }
    }
    for (index, from) in moved {
        let function = &mut plan.functions[index];
        let code = object.body(image, function.vaddr, size(object, function.vaddr));
        let why = format!("code at {from:#x} jumps to between the entry and the next site");
        let site = entry_site(code.unwrap_or_default(), why);
        if let (Ok(site), Some(candidate)) = (site, candidates.get(&function.vaddr)) {
            function.call = candidate.known.call;
            function.entry = candidate.function.offset;
            function.site = site;
        }
    }
}

fn size(object: &ObjectSymbols, vaddr: u64) -> u64 {
    object.at(vaddr).map_or(0, |function| function.size)
}

/// Everything in `code` that may be a jump with a four-byte distance: where it is and where it leads. Bytes inside other
/// instructions may look like one, which at worst costs speed.
fn far_jumps(vaddr: u64, code: &[u8]) -> impl Iterator<Item = (u64, u64)> {
    (0..code.len()).filter_map(move |at| {
        let opcode = match code[at..] {
            [0xe9, ..] => 1,
            [0x0f, 0x80..=0x8f, ..] => 2,
            _ => return None,
        };
        let end = at + opcode + 4;
        let distance = code.get(at + opcode..end)?.first_chunk::<4>()?;
        let distance = i64::from(i32::from_le_bytes(*distance));
        let target = (vaddr + end as u64).wrapping_add_signed(distance);
        Some((vaddr + at as u64, target))
    })
}
