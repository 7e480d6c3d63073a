//! Which methods a place in compiled code belongs to: the compiled one and those inlined into it (OpenJDK,
//! src/hotspot/share/code/pcDesc.hpp, scopeDesc.cpp).

use super::code_cache::Blob;
use super::layout::{Layout, Place};
use super::pieces::{Pieces, number, piece};
use super::stream::Stream;

/// Bytes of an entry of the table of places: offset of the place, offset of its scope, two more numbers.
const ENTRY: u64 = 16;
/// Most bytes of the table of one method.
const MOST_TABLE: u64 = 4 << 20;
/// Most methods that are inlined into one another.
const MOST_DEPTH: usize = 64;
/// Bytes of a scope that are read: three numbers of at most five.
const SCOPE_BYTES: u64 = 15;

/// A method at one bytecode.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Address of the method.
    pub method: u64,
    /// The bytecode; none before the first.
    pub bytecode: Option<u32>,
}

/// The methods at a return address, innermost first; `None` if nothing is told of it, or the compiled method is gone.
pub fn at(
    memory: &mut impl Pieces,
    layout: &Layout,
    blob: &Blob,
    address: u64,
) -> Option<Vec<Scope>> {
    let own = memory
        .bytes(&[piece(Some(blob.address), layout.nmethod.bytes)])
        .pop()??;
    let id = layout.nmethod.id;
    if number(&own, id.offset, id.bytes) != blob.id {
        return None;
    }
    let scopes = layout.nmethod.scopes.as_ref()?;
    let place = |place: Place| {
        let base = match place.base {
            Some(base) => number(&own, base, 8)?,
            None => blob.address,
        };
        let offset = match place.offset {
            Some(member) => number(&own, member.offset, member.bytes)?,
            None => 0,
        };
        base.checked_add(offset)
    };
    let (table, end) = (place(scopes.places)?, place(scopes.places_end)?);
    let (data, methods) = (place(scopes.scopes)?, place(scopes.methods)?);
    let bytes = end
        .checked_sub(table)
        .filter(|bytes| *bytes <= MOST_TABLE)?;
    let table = memory
        .bytes(&[piece(Some(table), bytes / ENTRY * ENTRY)])
        .pop()??;
    let mut scope = scope_of(&table, address - blob.code.start)?;
    let mut found = Vec::new();
    while scope != 0 && found.len() < MOST_DEPTH {
        let at = data.checked_add(scope.into())?;
        let bytes = memory.bytes(&[piece(Some(at), SCOPE_BYTES)]).pop()??;
        let mut stream = Stream::new(&bytes, layout.encoding);
        let sender = stream.number()?;
        let method = u64::from(stream.number()?.checked_sub(1)?);
        // One more than the bytecode's; 0 stands for the call itself.
        let bytecode = stream.number()?.checked_sub(1);
        let method = memory.word(methods.checked_add(method * 8)?)?;
        found.push(Scope { method, bytecode });
        // Callers are written before those that they call.
        if sender >= scope {
            break;
        }
        scope = sender;
    }
    (!found.is_empty()).then_some(found)
}

/// Offset of the scope at a place, by the table of places.
fn scope_of(table: &[u8], place: u64) -> Option<u32> {
    table.chunks_exact(ENTRY as usize).find_map(|entry| {
        let offset = number(entry, 0, 4)?;
        (offset == place).then(|| number(entry, 4, 4).map(|scope| scope as u32))?
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_found_by_its_place() {
        let entry = |place: u32, scope: u32| [place, scope, 0, 0].map(u32::to_le_bytes).concat();
        let table = [entry(u32::MAX, 0), entry(16, 7), entry(40, 9)].concat();
        let found = [16, 40, 17].map(|place| scope_of(&table, place));
        assert_eq!(found, [Some(7), Some(9), None]);
    }
}
