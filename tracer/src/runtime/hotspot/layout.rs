//! Where things are in the structures of one machine.

use super::stream::Encoding;
use super::structs::{Member, Structs};

/// Where things are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layout {
    /// The version: 17.
    pub version: u64,
    /// How it writes numbers.
    pub encoding: Encoding,
    pub(super) heaps: HeapsAt,
    pub(super) blob: BlobAt,
    pub(super) nmethod: NmethodAt,
    pub(super) method: MethodAt,
}

/// The heaps of the code cache, and the blocks in them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct HeapsAt {
    /// Address of what leads to the array of heaps.
    pub array: u64,
    pub array_len: Member,
    pub array_data: u64,
    pub memory: u64,
    pub map: u64,
    pub segment_shift: u64,
    pub space_low: u64,
    pub space_high: u64,
    pub block_bytes: u64,
    pub block_length: Member,
    pub block_used: u64,
}

/// A piece of code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct BlobAt {
    pub name: u64,
    pub frame_size: Member,
    pub frame_complete: Member,
    pub code: CodeAt,
    /// Bytes of all that is read of one.
    pub bytes: u64,
}

/// Where a piece of code tells where its instructions are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum CodeAt {
    /// By the addresses of the first, and of what follows the last.
    Addresses(u64, u64),
    /// By their offsets.
    Offsets(Member, Member),
}

/// A compiled method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct NmethodAt {
    pub method: u64,
    pub id: Member,
    pub bytes: u64,
    /// What tells the methods that were inlined; none where it is not described.
    pub scopes: Option<ScopesAt>,
}

/// Where it is told which methods are where in compiled code.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScopesAt {
    /// The table of places, its end, the scopes, and the methods that they refer to.
    pub places: Place,
    pub places_end: Place,
    pub scopes: Place,
    pub methods: Place,
}

/// A place: what an address in the compiled method leads to, or the method itself, and an offset from there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub base: Option<u64>,
    pub offset: Option<Member>,
}

/// A method.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct MethodAt {
    pub constant: u64,
    pub constant_bytes: u64,
    /// Of the constant part: the pool, its words, flags, bytes of code, index of the name.
    pub pool: u64,
    pub words: Member,
    pub flags: Member,
    pub code_size: Member,
    pub name: Member,
    pub pool_bytes: u64,
    pub pool_holder: u64,
    pub class_name: u64,
    /// Index of the name of the source file: in the pool, or in the class.
    pub pool_source: Option<Member>,
    pub class_source: Option<Member>,
    pub symbol_length: Member,
    pub symbol_body: u64,
}

impl Layout {
    /// The layout by the description; what is missing in it if it is not known. `version` is the value of a static
    /// member.
    pub fn of(structs: &Structs, version: u64) -> Result<Self, String> {
        let member = |of: &str, name: &str| {
            let found = structs.member(of, name);
            found.ok_or_else(|| format!("it does not describe {of}::{name}"))
        };
        let either = |names: &[(&str, &str)]| {
            let found = names.iter().find_map(|(of, name)| structs.member(of, name));
            let (of, name) = names[0];
            found.ok_or_else(|| format!("it does not describe {of}::{name}"))
        };
        let size = |of: &str| {
            let found = structs.size(of).filter(|bytes| *bytes <= 4096);
            found.ok_or_else(|| format!("it does not describe {of}"))
        };
        let offset = |of: &str, name: &str| member(of, name).map(|member| member.offset);
        let header = member("HeapBlock", "_header")?.offset;
        let mut block_length = member("HeapBlock::Header", "_length")?;
        block_length.offset += header;
        let heaps = HeapsAt {
            array: member("CodeCache", "_heaps")?.address,
            array_len: either(&[
                ("GrowableArrayBase", "_len"),
                ("GenericGrowableArray", "_len"),
            ])?,
            array_data: offset("GrowableArray<int>", "_data")?,
            memory: offset("CodeHeap", "_memory")?,
            map: offset("CodeHeap", "_segmap")?,
            segment_shift: offset("CodeHeap", "_log2_segment_size")?,
            space_low: offset("VirtualSpace", "_low")?,
            space_high: offset("VirtualSpace", "_high")?,
            block_bytes: size("HeapBlock")?,
            block_length,
            block_used: header + offset("HeapBlock::Header", "_used")?,
        };
        let code = match (
            structs.member("CodeBlob", "_code_begin"),
            structs.member("CodeBlob", "_code_end"),
        ) {
            (Some(begin), Some(end)) => CodeAt::Addresses(begin.offset, end.offset),
            _ => CodeAt::Offsets(
                member("CodeBlob", "_code_offset")?,
                member("CodeBlob", "_data_offset")?,
            ),
        };
        let nmethod = NmethodAt {
            method: either(&[("nmethod", "_method"), ("CompiledMethod", "_method")])?.offset,
            id: member("nmethod", "_compile_id")?,
            bytes: size("nmethod")?,
            scopes: scopes(structs),
        };
        let method = MethodAt {
            constant: offset("Method", "_constMethod")?,
            constant_bytes: size("ConstMethod")?,
            pool: offset("ConstMethod", "_constants")?,
            words: member("ConstMethod", "_constMethod_size")?,
            flags: either(&[("ConstMethod", "_flags"), ("ConstMethod", "_flags._flags")])?,
            code_size: member("ConstMethod", "_code_size")?,
            name: member("ConstMethod", "_name_index")?,
            pool_bytes: size("ConstantPool")?,
            pool_holder: offset("ConstantPool", "_pool_holder")?,
            class_name: offset("Klass", "_name")?,
            pool_source: structs.member("ConstantPool", "_source_file_name_index"),
            class_source: structs.member("InstanceKlass", "_source_file_name_index"),
            symbol_length: member("Symbol", "_length")?,
            symbol_body: either(&[("Symbol", "_body[0]"), ("Symbol", "_body")])?.offset,
        };
        Ok(Self {
            version,
            encoding: Encoding::of(version),
            heaps,
            blob: BlobAt {
                name: offset("CodeBlob", "_name")?,
                frame_size: member("CodeBlob", "_frame_size")?,
                frame_complete: member("CodeBlob", "_frame_complete_offset")?,
                code,
                bytes: size("CodeBlob")?.max(nmethod.bytes.min(512)),
            },
            nmethod,
            method,
        })
    }
}

/// Where the scopes of compiled methods are: they and their places in the method itself up to 22, in memory of their
/// own from 23 on; the methods that they refer to in memory of their own from 24 on.
fn scopes(structs: &Structs) -> Option<ScopesAt> {
    let in_method = |name: &str| {
        Some(Place {
            base: None,
            offset: Some(structs.member("nmethod", name)?),
        })
    };
    let apart = |base: &str, name: &str, of: &str| {
        Some(Place {
            base: Some(structs.member(of, base)?.offset),
            offset: Some(structs.member(of, name)?),
        })
    };
    let in_immutable = |name: &str| apart("_immutable_data", name, "nmethod");
    let is_apart = structs.member("nmethod", "_immutable_data").is_some();
    let (places, places_end, scopes) = match is_apart {
        true => (
            in_immutable("_scopes_pcs_offset")?,
            in_immutable("_scopes_data_offset")?,
            in_immutable("_scopes_data_offset")?,
        ),
        false => (
            in_method("_scopes_pcs_offset")?,
            in_method("_dependencies_offset")?,
            Place {
                base: Some(
                    structs
                        .member("CompiledMethod", "_scopes_data_begin")?
                        .offset,
                ),
                offset: None,
            },
        ),
    };
    let methods = in_method("_metadata_offset")
        .or_else(|| apart("_mutable_data", "_relocation_size", "CodeBlob"))?;
    Some(ScopesAt {
        places,
        places_end,
        scopes,
        methods,
    })
}
