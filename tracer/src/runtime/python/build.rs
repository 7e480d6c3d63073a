//! One build of CPython, as far as its file tells.

use std::ops::Range;

use tracer_common::runtime::python::PythonLayout;

use super::debug_offsets::{self, MOST_BYTES, Refused};
use super::{loops, versions};
use crate::runtime::image::{Image, Segment};

/// What the state of all interpreters is kept in.
const RUNTIME: &str = "_PyRuntime";
/// The section that it has, from 3.10 on.
const RUNTIME_SECTION: &str = ".PyRuntime";

/// A build that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Build {
    /// "CPython 3.11.2", or "CPython 3.9" where the file does not tell more.
    pub name: String,
    /// Where things are in it.
    pub layout: PythonLayout,
    /// Stated address of the runtime's state.
    pub runtime: u64,
    /// Stated addresses of the interpreter's loop; none if it was not found.
    pub loops: Vec<Range<u64>>,
    /// What it was found by.
    pub found_by: &'static str,
    /// Where the offsets are from.
    pub offsets_from: &'static str,
    /// Members of code objects whose offsets were compared with what the file itself says.
    pub compared: Vec<&'static str>,
    pub(crate) segments: Vec<Segment>,
    pub(crate) is_fixed: bool,
}

/// Looks at a file: `None` if there is no CPython in it.
///
/// # Errors
/// Why the one that is in it cannot be followed.
pub fn inspect(data: &[u8]) -> Option<Result<Build, String>> {
    let mut image = Image::parse(data)?;
    let (runtime, found_by) = runtime(&image)?;
    Some(build(&mut image, runtime, found_by))
}

/// Stated address of the runtime's state, and what it was found by.
fn runtime(image: &Image<'_>) -> Option<(u64, &'static str)> {
    let section = image.section(RUNTIME_SECTION);
    if section.is_none() && !image.may_export(RUNTIME) {
        return None;
    }
    let symbol = image.symbol(RUNTIME).map(|(address, exported)| {
        let by = match exported {
            true => "exported symbol _PyRuntime",
            false => "symbol _PyRuntime",
        };
        (address, by)
    });
    symbol.or(section.map(|address| (address, "section .PyRuntime")))
}

fn build(image: &mut Image<'_>, runtime: u64, found_by: &'static str) -> Result<Build, String> {
    let members = members(image, "PyCode_Type");
    let (layout, offsets_from, name) = match debug_offsets::layout(image.bytes(runtime, MOST_BYTES))
    {
        Some(Ok(layout)) => (layout, "_Py_DebugOffsets", python(layout.version)),
        Some(Err(refused)) => return Err(words(refused)),
        None => older(image, &members)?,
    };
    let compared = compare(&layout, &members)?;
    Ok(Build {
        name,
        layout,
        runtime,
        loops: loops::ranges(image),
        found_by,
        offsets_from,
        compared,
        segments: image.segments(),
        is_fixed: image.is_fixed(),
    })
}

fn python(version: u32) -> String {
    format!("CPython {}.{}", version >> 16, version & 0xffff)
}

fn words(refused: Refused) -> String {
    match refused {
        Refused::Version(version) => format!("{} is not known", python(version)),
        Refused::FreeThreaded(version) => {
            format!(
                "{} without the global interpreter lock is not known",
                python(version)
            )
        }
        Refused::Damaged(version) => {
            format!("{}: its table of offsets makes no sense", python(version))
        }
    }
}

/// The layout of a version that does not tell it.
fn older(
    image: &mut Image<'_>,
    members: &[(Vec<u8>, u64)],
) -> Result<(PythonLayout, &'static str, String), String> {
    const FROM: &str = "table of versions";
    let has = |name: &str| members.iter().any(|(member, _)| member == name.as_bytes());
    // PY_VERSION_HEX, from 3.11 on.
    let hex = image.symbol("Py_Version").and_then(|(address, _)| {
        let bytes: [u8; 4] = image.bytes(address, 4).try_into().ok()?;
        Some(u32::from_le_bytes(bytes))
    });
    if let Some(hex) = hex {
        let (minor, micro) = (hex >> 16 & 0xff, hex >> 8 & 0xff);
        let layout = versions::layout(minor).filter(|_| hex >> 24 == 3);
        let name = format!("CPython {}.{minor}.{micro}", hex >> 24);
        let layout = layout.ok_or_else(|| format!("{name} is not known"))?;
        return Ok((layout, FROM, name));
    }
    if members.is_empty() {
        return Err("CPython whose version is not told: it exports no PyCode_Type".to_owned());
    }
    let (minor, name) = if has("co_linetable") {
        (10, "CPython 3.10")
    } else if has("co_posonlyargcount") {
        // Both are the same in all that is read.
        (9, "CPython 3.8 or 3.9")
    } else {
        return Err("a CPython older than 3.8 is not known".to_owned());
    };
    let layout = versions::layout(minor).ok_or_else(|| format!("{name} is not known"))?;
    Ok((layout, FROM, name.to_owned()))
}

/// In a type object: the table of its members (Include/cpython/object.h).
const TP_MEMBERS: u64 = 240;
/// Bytes of an entry: name, type, offset, flags, documentation (Include/structmember.h).
const MEMBER_BYTES: u64 = 40;
/// In an entry: the offset.
const MEMBER_OFFSET: u64 = 16;
/// More members than code objects have in any version.
const MOST_MEMBERS: u64 = 64;

/// The members that a type describes, with their offsets.
fn members(image: &mut Image<'_>, of: &str) -> Vec<(Vec<u8>, u64)> {
    let mut found = Vec::new();
    let table = image
        .symbol(of)
        .and_then(|(address, _)| image.word(address + TP_MEMBERS));
    let Some(table) = table.filter(|table| *table != 0) else {
        return found;
    };
    for number in 0..MOST_MEMBERS {
        let entry = table + number * MEMBER_BYTES;
        let name = image.word(entry).filter(|name| *name != 0);
        let (Some(name), Some(offset)) = (name, image.word(entry + MEMBER_OFFSET)) else {
            break;
        };
        let Some(name) = image.text(name) else {
            break;
        };
        found.push((name.to_vec(), offset));
    }
    found
}

/// Compares the offsets of code objects with what the file itself says of them.
fn compare(layout: &PythonLayout, members: &[(Vec<u8>, u64)]) -> Result<Vec<&'static str>, String> {
    let name = match layout.version & 0xffff {
        11.. => "co_qualname",
        _ => "co_name",
    };
    let lines = match layout.version & 0xffff {
        10.. => "co_linetable",
        _ => "co_lnotab",
    };
    let expected = [
        ("co_firstlineno", layout.code_first_line),
        ("co_filename", layout.code_file),
        (name, layout.code_name),
        (lines, layout.code_lines),
    ];
    let mut compared = Vec::new();
    for (member, offset) in expected {
        let Some((_, said)) = members.iter().find(|(name, _)| name == member.as_bytes()) else {
            continue;
        };
        if *said != u64::from(offset) {
            return Err(format!(
                "{}: {member} is at {said}, not at {offset}: a changed build is not followed",
                python(layout.version)
            ));
        }
        compared.push(member);
    }
    let known = ["co_firstlineno", "co_filename"];
    match known.iter().all(|member| compared.contains(member)) {
        true => Ok(compared),
        false => Err(format!(
            "{}: it does not describe its code objects, so that the offsets cannot be checked",
            python(layout.version)
        )),
    }
}
