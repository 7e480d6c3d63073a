//! A file with HotSpot in it (`libjvm.so`), as far as the file itself tells.

use crate::runtime::image::{Image, Segment};

/// What describes the structures of the machine; a file that exports it has HotSpot in it.
const STRUCTS: &str = "gHotSpotVMStructs";

/// A build of HotSpot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// Stated addresses of what describes its structures.
    pub symbols: Symbols,
    pub(crate) segments: Vec<Segment>,
    pub(crate) is_fixed: bool,
}

/// Addresses of words that describe the structures (OpenJDK, src/hotspot/share/runtime/vmStructs.cpp).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Symbols {
    /// Leads to the table of members.
    pub structs: u64,
    /// Bytes of an entry of it.
    pub structs_stride: u64,
    /// In an entry: the type's name, the member's name and type, whether it is static, its offset, its address.
    pub members: [u64; 6],
    /// Leads to the table of types.
    pub types: u64,
    /// Bytes of an entry of it.
    pub types_stride: u64,
    /// In an entry: the type's name.
    pub type_name: u64,
    /// In an entry: the type's size.
    pub type_size: u64,
}

/// Looks at a file; `None` if there is no HotSpot in it that describes itself.
pub fn inspect(data: &[u8]) -> Option<Build> {
    let image = Image::parse(data)?;
    if !image.may_export(STRUCTS) {
        return None;
    }
    let at = |name: &str| image.symbol(name).map(|(address, _)| address);
    let entry = |part: &str| at(&format!("gHotSpotVMStructEntry{part}"));
    let kind = |part: &str| at(&format!("gHotSpotVMTypeEntry{part}"));
    let symbols = Symbols {
        structs: at(STRUCTS)?,
        structs_stride: entry("ArrayStride")?,
        members: [
            entry("TypeNameOffset")?,
            entry("FieldNameOffset")?,
            entry("TypeStringOffset")?,
            entry("IsStaticOffset")?,
            entry("OffsetOffset")?,
            entry("AddressOffset")?,
        ],
        types: at("gHotSpotVMTypes")?,
        types_stride: kind("ArrayStride")?,
        type_name: kind("TypeNameOffset")?,
        type_size: kind("SizeOffset")?,
    };
    Some(Build {
        symbols,
        segments: image.segments(),
        is_fixed: image.is_fixed(),
    })
}
