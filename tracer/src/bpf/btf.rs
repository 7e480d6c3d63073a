//! Where a member lies in a kernel structure, from the running kernel's type information.
//!
//! BPF programs written in Rust get no CO-RE relocation, so the few offsets that they need are looked up
//! here and handed to them. Format: Documentation/bpf/btf.rst.

const MAGIC: u16 = 0xeb9f;
const KIND_PTR: u32 = 2;
const KIND_STRUCT: u32 = 4;
const KIND_UNION: u32 = 5;
const KIND_ENUM: u32 = 6;
const KIND_TYPEDEF: u32 = 8;
const KIND_VOLATILE: u32 = 9;
const KIND_CONST: u32 = 10;
const KIND_RESTRICT: u32 = 11;
const KIND_FUNC: u32 = 12;
const KIND_FUNC_PROTO: u32 = 13;
const HEADER_LEN: usize = 24;

/// Parsed type information: the type section and the string section.
pub struct Btf<'a> {
    types: &'a [u8],
    strings: &'a [u8],
}

/// One member of a structure.
struct Member {
    name: u32,
    type_id: u32,
    bits: u32,
}

/// One type's header and where its data lies.
struct Type<'a> {
    name: u32,
    kind: u32,
    flagged: bool,
    /// Bytes of a structure, or the type that this one refers to.
    size_or_type: u32,
    members: &'a [u8],
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..at.checked_add(4)?)?;
    Some(u32::from_le_bytes(bytes.try_into().ok()?))
}

impl<'a> Btf<'a> {
    /// Reads the header; `None` if this is not little-endian BTF.
    pub fn parse(data: &'a [u8]) -> Option<Self> {
        if u16::from_le_bytes(data.get(0..2)?.try_into().ok()?) != MAGIC {
            return None;
        }
        let header = (word(data, 4)? as usize).max(HEADER_LEN);
        let section = |at: usize| -> Option<&'a [u8]> {
            let start = header.checked_add(word(data, at)? as usize)?;
            data.get(start..start.checked_add(word(data, at + 4)? as usize)?)
        };
        Some(Self {
            types: section(8)?,
            strings: section(16)?,
        })
    }

    fn name(&self, offset: u32) -> Option<&'a [u8]> {
        self.strings
            .get(offset as usize..)?
            .split(|byte| *byte == 0)
            .next()
    }

    /// All types, numbered from 1.
    fn types(&self) -> impl Iterator<Item = (u32, Type<'a>)> {
        let types = self.types;
        let mut at = 0;
        (1..).map_while(move |id| {
            let info = word(types, at + 4)?;
            let (kind, count) = (info >> 24 & 0x1f, (info & 0xffff) as usize);
            let length = match kind {
                1 | 17 => 4,                                      // int, decl tag
                3 => 12,                                          // array
                KIND_STRUCT | KIND_UNION | 15 | 19 => count * 12, // and data section, enum64
                6 | 13 => count * 8,                              // enum, function prototype
                14 => 4,                                          // variable
                _ => 0,
            };
            let members = types.get(at + 12..at + 12 + length)?;
            let found = Type {
                name: word(types, at)?,
                kind,
                flagged: info >> 31 == 1,
                size_or_type: word(types, at + 8)?,
                members,
            };
            at += 12 + length;
            Some((id, found))
        })
    }

    /// Offset of a member in bytes, looked for in anonymous members too.
    pub fn member_offset(&self, structure: &str, member: &str) -> Option<u32> {
        let (_, found) = self.types().find(|(_, found)| {
            found.kind == KIND_STRUCT && self.name(found.name) == Some(structure.as_bytes())
        })?;
        self.offset_in(&found, member, 0)
    }

    /// Bytes of a structure.
    pub fn structure_size(&self, structure: &str) -> Option<u32> {
        let found = self.named(KIND_STRUCT, structure)?;
        Some(found.size_or_type)
    }

    /// Types of the arguments of a kernel function, as [`Self::arguments`]; `None` if there is no such function.
    pub fn function_arguments(&self, name: &str) -> Option<Vec<String>> {
        self.types_of_arguments(self.named(KIND_FUNC, name)?.size_or_type)
    }

    /// The value of an enumerator, of any enumeration.
    pub fn enumerator(&self, name: &str) -> Option<u32> {
        let enums = self.types().filter(|(_, found)| found.kind == KIND_ENUM);
        enums
            .flat_map(|(_, found)| found.members.chunks_exact(8))
            .find(|entry| word(entry, 0).and_then(|at| self.name(at)) == Some(name.as_bytes()))
            .and_then(|entry| word(entry, 4))
    }

    /// Types of the arguments of the function that a typedef is a pointer to, by name; of a pointer, what it points to.
    pub fn arguments(&self, typedef: &str) -> Option<Vec<String>> {
        let pointer = self.by_id(self.named(KIND_TYPEDEF, typedef)?.size_or_type)?;
        if pointer.kind != KIND_PTR {
            return None;
        }
        self.types_of_arguments(pointer.size_or_type)
    }

    fn types_of_arguments(&self, prototype: u32) -> Option<Vec<String>> {
        let function = self.by_id(prototype)?;
        if function.kind != KIND_FUNC_PROTO {
            return None;
        }
        let types = function.members.chunks_exact(8);
        types
            .map(|entry| Some(self.base_name(word(entry, 4)?)))
            .collect()
    }

    /// The name of a type without pointers and qualifiers; empty where it has none.
    fn base_name(&self, id: u32) -> String {
        let mut id = id;
        for _ in 0..4 {
            let Some(found) = self.by_id(id) else { break };
            if !matches!(
                found.kind,
                KIND_PTR | KIND_VOLATILE | KIND_CONST | KIND_RESTRICT
            ) {
                let name = self.name(found.name).unwrap_or_default();
                return String::from_utf8_lossy(name).into_owned();
            }
            id = found.size_or_type;
        }
        String::new()
    }

    fn named(&self, kind: u32, name: &str) -> Option<Type<'a>> {
        self.types()
            .map(|(_, found)| found)
            .find(|found| found.kind == kind && self.name(found.name) == Some(name.as_bytes()))
    }

    fn by_id(&self, wanted: u32) -> Option<Type<'a>> {
        self.types()
            .find(|(id, _)| *id == wanted)
            .map(|(_, found)| found)
    }

    fn offset_in(&self, structure: &Type<'a>, member: &str, depth: u32) -> Option<u32> {
        for at in (0..structure.members.len()).step_by(12) {
            let entry = Member {
                name: word(structure.members, at)?,
                type_id: word(structure.members, at + 4)?,
                bits: word(structure.members, at + 8)?,
            };
            // With bit fields in the structure the upper byte holds a member's width.
            let bits = if structure.flagged {
                entry.bits & 0xff_ffff
            } else {
                entry.bits
            };
            match self.name(entry.name)? {
                b"" if depth < 4 => {
                    let inner = self.types().find(|(id, _)| *id == entry.type_id);
                    let inner =
                        inner.filter(|(_, inner)| matches!(inner.kind, KIND_STRUCT | KIND_UNION));
                    if let Some(offset) =
                        inner.and_then(|(_, inner)| self.offset_in(&inner, member, depth + 1))
                    {
                        return Some(bits / 8 + offset);
                    }
                }
                name if name == member.as_bytes() => return Some(bits / 8),
                _ => {}
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `struct outer { int a; struct { int b; int c; }; }` by hand.
    fn sample() -> Vec<u8> {
        let strings = b"\0outer\0a\0b\0c\0int\0";
        let mut types = Vec::new();
        let mut put =
            |words: &[u32]| types.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        put(&[13, 1 << 24, 4, 32]); // 1: int
        put(&[0, KIND_STRUCT << 24 | 2, 8, 9, 1, 0, 11, 1, 32]); // 2: anonymous { b, c }
        put(&[1, KIND_STRUCT << 24 | 2, 12, 7, 1, 0, 0, 2, 32]); // 3: outer { a, <2> }
        let mut data = Vec::new();
        data.extend(MAGIC.to_le_bytes());
        data.extend([1, 0]);
        for word in [
            24,
            0,
            types.len() as u32,
            types.len() as u32,
            strings.len() as u32,
        ] {
            data.extend(word.to_le_bytes());
        }
        data.extend(types);
        data.extend(strings);
        data
    }

    /// `typedef void (*btf_trace_x)(void *, struct cache *, enum { FLAG_BIT = 3 })`, by hand.
    #[test]
    fn arguments_and_enumerators_are_found() {
        let strings = b"\0btf_trace_x\0cache\0FLAG_BIT\0call\0";
        let mut types = Vec::new();
        let mut put =
            |words: &[u32]| types.extend(words.iter().flat_map(|word| word.to_le_bytes()));
        put(&[0, KIND_PTR << 24, 0]); // 1: void *
        put(&[13, KIND_STRUCT << 24, 232]); // 2: struct cache
        put(&[0, KIND_CONST << 24, 2]); // 3: const struct cache
        put(&[0, KIND_PTR << 24, 3]); // 4: const struct cache *
        put(&[0, KIND_ENUM << 24 | 1, 4, 19, 3]); // 5: enum
        put(&[0, KIND_FUNC_PROTO << 24 | 3, 0, 0, 1, 0, 4, 0, 5]); // 6
        put(&[0, KIND_PTR << 24, 6]); // 7
        put(&[1, KIND_TYPEDEF << 24, 7]); // 8
        put(&[28, KIND_FUNC << 24, 6]); // 9
        let mut data = Vec::new();
        data.extend(MAGIC.to_le_bytes());
        data.extend([1, 0]);
        let (length, names) = (types.len() as u32, strings.len() as u32);
        for word in [24, 0, length, length, names] {
            data.extend(word.to_le_bytes());
        }
        data.extend(types);
        data.extend(strings);
        let btf = Btf::parse(&data).expect("the header is right");
        let arguments = btf.arguments("btf_trace_x").expect("a function");
        assert_eq!(arguments, ["", "cache", ""]);
        assert_eq!(btf.arguments("btf_trace_y"), None);
        assert_eq!(btf.enumerator("FLAG_BIT"), Some(3));
        assert_eq!(btf.structure_size("cache"), Some(232));
        assert_eq!(btf.function_arguments("call"), Some(arguments));
        assert_eq!(btf.function_arguments("cache"), None);
    }

    /// Members are found by name, through anonymous structures too.
    #[test]
    fn finds_members() {
        let data = sample();
        let btf = Btf::parse(&data).expect("the header is right");
        assert_eq!(btf.member_offset("outer", "a"), Some(0));
        assert_eq!(btf.member_offset("outer", "c"), Some(8));
        assert_eq!(btf.member_offset("outer", "d"), None);
        assert_eq!(btf.member_offset("inner", "a"), None);
    }

    proptest! {
        /// Damaged type information gives no answer or a wrong one, but no panic and no endless loop.
        #[test]
        fn damage_is_survived(at in 0usize..200, value: u8, cut in 0usize..200) {
            let mut data = sample();
            let index = at % data.len();
            data[index] = value;
            data.truncate(data.len() - cut % data.len());
            if let Some(btf) = Btf::parse(&data) {
                let _ = btf.member_offset("outer", "c");
            }
        }
    }
}
