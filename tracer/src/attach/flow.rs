//! Where jumps and calls lead: into this object, or through the loader's slots into another one.

use std::ops::Range;

use super::symbols::ObjectSymbols;

/// Where a branch leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Destination {
    /// To an address in this object.
    Local(u64),
    /// To a function of that name in another object.
    Import(String),
}

/// A direct jump or call out of a function's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exit {
    /// Where it leads.
    pub destination: Destination,
    /// A call, which comes back; else a jump, which does not.
    pub call: bool,
}

/// A jump or call as an instruction says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Branch {
    /// A call, which comes back.
    pub call: bool,
    /// Where it leads.
    pub target: Target,
}

/// What an instruction says of where it leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// A fixed address.
    Address(u64),
    /// What the memory slot at this address holds.
    Slot(u64),
}

/// Longest linkage stub, in bytes.
const STUB: u64 = 32;

/// Where a branch to `target` ends up: a linkage stub is followed to what its slot names.
pub fn destination(object: &ObjectSymbols, image: &[u8], target: u64) -> Destination {
    let stub = object.bytes(image, target, STUB).unwrap_or_default();
    object
        .arch
        .instructions()
        .slot_of_stub(target, stub)
        .and_then(|slot| imported(object, slot))
        .unwrap_or(Destination::Local(target))
}

/// The direct jumps and calls that leave the body `code` of the function at `vaddr`.
pub fn exits(object: &ObjectSymbols, image: &[u8], vaddr: u64, code: &[u8]) -> Vec<Exit> {
    let inside = vaddr..vaddr + code.len() as u64;
    let mut exits = Vec::new();
    for Branch { call, target } in object.arch.instructions().branches(vaddr, code) {
        let destination = match target {
            Target::Address(target) => {
                let stays = !call && inside.contains(&target);
                (!stays && target != 0).then(|| destination(object, image, target))
            }
            Target::Slot(slot) => imported(object, slot),
        };
        exits.extend(destination.map(|destination| Exit { destination, call }));
    }
    exits
}

/// A jump from outside a function into the part of it that a probe would pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JumpInto {
    /// The jump's address.
    pub from: u64,
    /// The range that it leads into.
    pub range: Range<u64>,
}

/// The jumps that lead into one of `ranges`, each of which starts one byte after a function's
/// entry, from outside that function.
pub fn jumps_into(
    object: &ObjectSymbols,
    image: &[u8],
    mut ranges: Vec<Range<u64>>,
) -> Vec<JumpInto> {
    ranges.sort_unstable_by_key(|range| range.start);
    let mut found = Vec::new();
    for (vaddr, code) in object.code(image) {
        let instructions = object.arch.instructions();
        instructions.far_jumps(vaddr, code, &mut |from, target| {
            let after = ranges.partition_point(|range| range.start <= target);
            let range = after.checked_sub(1).and_then(|at| ranges.get(at));
            let Some(range) = range.filter(|range| range.contains(&target)) else {
                return;
            };
            let function = object.at(range.start - 1);
            let size = function.map_or(0, |function| function.size);
            let inside = range.start - 1..range.start - 1 + size;
            if !inside.contains(&from) && is_instruction(object, image, from) {
                found.push(JumpInto {
                    from,
                    range: range.clone(),
                });
            }
        });
    }
    found
}

/// Whether an instruction starts at `vaddr`, when the code around it is read from its start.
fn is_instruction(object: &ObjectSymbols, image: &[u8], vaddr: u64) -> bool {
    let Some((start, code)) = object.piece(image, vaddr) else {
        return true;
    };
    object.arch.instructions().starts_at(start, code, vaddr)
}

/// The function that the loader puts into `slot`; this object's own one, where it defines that name.
fn imported(object: &ObjectSymbols, slot: u64) -> Option<Destination> {
    let name = object.imports.get(&slot)?;
    Some(match object.function(name) {
        Some(own) => Destination::Local(own.vaddr),
        None => Destination::Import(name.clone()),
    })
}
