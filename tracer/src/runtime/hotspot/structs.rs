//! What a running machine says of its own structures.

use std::collections::HashMap;

use super::file::Symbols;
use super::pieces::{Pieces, number, piece};

/// Most entries of a table: there are some 800.
const MOST_ENTRIES: u64 = 8192;
/// Most bytes of an entry.
const MOST_STRIDE: u64 = 256;
/// Entries that are read at a time.
const AT_ONCE: u64 = 256;
/// Most bytes of a structure.
const MOST_OFFSET: u64 = 1 << 16;
/// Most bytes of a name that is looked for.
const NAME_BYTES: u64 = 64;

/// A member of a structure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Member {
    /// Offset in the structure.
    pub offset: u64,
    /// Address of a static one.
    pub address: u64,
    /// Its bytes, as far as its type is a number or an address.
    pub bytes: u32,
}

/// The structures of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Structs {
    members: HashMap<(String, String), Member>,
    sizes: HashMap<String, u64>,
}

impl Structs {
    /// Reads them; `None` if they are not set up yet, or make no sense.
    pub fn read(memory: &mut impl Pieces, symbols: &Symbols, bias: u64) -> Option<Self> {
        let mut value = |address: u64| memory.word(address.wrapping_add(bias));
        let (structs, stride) = (value(symbols.structs)?, value(symbols.structs_stride)?);
        let mut parts = [0; 6];
        for (part, address) in parts.iter_mut().zip(symbols.members) {
            *part = value(address)?;
        }
        let (types, types_stride) = (value(symbols.types)?, value(symbols.types_stride)?);
        let (type_name, type_size) = (value(symbols.type_name)?, value(symbols.type_size)?);
        let entries = entries(memory, structs, stride, parts[0])?;
        let mut members = HashMap::new();
        let column = |part: usize| -> Vec<u64> {
            let words = entries.iter();
            words
                .map(|entry| number(entry, parts[part], 8).unwrap_or_default())
                .collect()
        };
        let names = memory.texts(&column(0), NAME_BYTES);
        let fields = memory.texts(&column(1), NAME_BYTES);
        let kinds = memory.texts(&column(2), NAME_BYTES);
        let named = names.into_iter().zip(fields).zip(kinds);
        for (entry, ((name, field), kind)) in entries.iter().zip(named) {
            let (Some(name), Some(field)) = (name, field) else {
                continue;
            };
            let member = Member {
                offset: number(entry, parts[4], 8)?,
                address: number(entry, parts[5], 8)?,
                bytes: bytes_of(&kind.unwrap_or_default()),
            };
            members.insert((name, field), member);
        }
        let entries = self::entries(memory, types, types_stride, type_name)?;
        let at: Vec<u64> = entries
            .iter()
            .map(|entry| number(entry, type_name, 8).unwrap_or_default())
            .collect();
        let names = memory.texts(&at, NAME_BYTES).into_iter();
        let sizes = names
            .zip(&entries)
            .filter_map(|(name, entry)| Some((name?, number(entry, type_size, 8)?)));
        Some(Self {
            members,
            sizes: sizes.collect(),
        })
    }

    /// A member by its names, if its offset can be one.
    pub fn member(&self, of: &str, name: &str) -> Option<Member> {
        let known = self.members.get(&(of.to_owned(), name.to_owned()));
        known.copied().filter(|member| member.offset <= MOST_OFFSET)
    }

    /// Bytes of a structure.
    pub fn size(&self, of: &str) -> Option<u64> {
        self.sizes.get(of).copied()
    }

    /// A description that a test has made.
    #[cfg(any(test, fuzzing))]
    pub fn of(members: &[(&str, &str, Member)], sizes: &[(&str, u64)]) -> Self {
        let members = members.iter();
        let sizes = sizes.iter();
        Self {
            members: members
                .map(|(of, name, member)| (((*of).to_owned(), (*name).to_owned()), *member))
                .collect(),
            sizes: sizes
                .map(|(of, bytes)| ((*of).to_owned(), *bytes))
                .collect(),
        }
    }
}

/// The entries of a table, up to the one whose word at `name` is 0.
fn entries(memory: &mut impl Pieces, table: u64, stride: u64, name: u64) -> Option<Vec<Vec<u8>>> {
    if !(8..=MOST_STRIDE).contains(&stride) {
        return None;
    }
    let mut found = Vec::new();
    for first in (0..MOST_ENTRIES).step_by(AT_ONCE as usize) {
        let ranges: Vec<_> = (first..first + AT_ONCE)
            .map(|number| piece(table.checked_add(number * stride), stride))
            .collect();
        for entry in memory.bytes(&ranges) {
            let entry = entry?;
            if number(&entry, name, 8)? == 0 {
                return Some(found);
            }
            found.push(entry);
        }
    }
    None
}

/// Bytes of a number of this type, as it is written in the machine's source.
fn bytes_of(kind: &str) -> u32 {
    match kind.trim_start_matches("volatile ") {
        "bool" | "u1" | "jbyte" | "signed char" | "unsigned char" | "CompLevel" => 1,
        "u2" | "int16_t" | "short" | "unsigned short" => 2,
        "int" | "u4" | "jint" | "juint" | "uint32_t" | "unsigned int" => 4,
        _ => 8,
    }
}
