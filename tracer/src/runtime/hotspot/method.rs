//! Methods: what they are called, and the lines of their bytecodes.

use std::rc::Rc;

use super::layout::Layout;
use super::pieces::{Pieces, number, piece};
use super::stream;

/// Most bytes of a name.
const MOST_NAME: u64 = 1024;
/// Most bytes of the constant part of a method, bytecodes and tables included.
const MOST_CONSTANT: u64 = 256 << 10;
/// In the flags of the constant part: it has a table of lines (all of 11 to 25).
const HAS_LINES: u64 = 1;

/// A method, read at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Method {
    /// "java.util.ArrayList.grow".
    pub name: String,
    /// Its source file: "ArrayList.java".
    pub file: Option<String>,
    /// Address of its first bytecode.
    pub bytecodes: u64,
    /// How many bytes of them it has.
    pub bytes: u64,
    lines: Vec<u8>,
}

impl Method {
    /// The line of a bytecode.
    pub fn line(&self, layout: &Layout, bytecode: u32) -> Option<u32> {
        stream::line(&self.lines, layout.encoding, bytecode)
    }

    /// The number of a bytecode by the lowest 16 bits of its address; `None` if it has none there.
    pub fn bytecode(&self, address: u16) -> Option<u32> {
        let at = address.wrapping_sub(self.bytecodes as u16);
        (u64::from(at) < self.bytes.max(1)).then_some(u32::from(at))
    }
}

/// What the constant part of a method says.
#[derive(Clone, Copy)]
struct Constant {
    at: u64,
    pool: u64,
    name: u64,
    bytes: u64,
    has_lines: bool,
    end: u64,
}

/// Reads methods, many at a time; `None` for what is none.
pub fn read(memory: &mut impl Pieces, layout: &Layout, methods: &[u64]) -> Vec<Option<Rc<Method>>> {
    let at = &layout.method;
    let links: Vec<Option<u64>> = methods
        .iter()
        .map(|method| method.checked_add(at.constant))
        .collect();
    let constants = constants(memory, layout, &links);
    let in_pool = |index: Option<u64>, constant: &Option<Constant>| {
        let index = index.filter(|index| *index != 0)?;
        constant.map(|constant| constant.pool.wrapping_add(at.pool_bytes + 8 * index))
    };
    let pools: Vec<_> = constants
        .iter()
        .map(|constant| piece(constant.map(|constant| constant.pool), at.pool_bytes))
        .collect();
    let pools = memory.bytes(&pools);
    let of_pool = |offset: u64, width: u32| -> Vec<Option<u64>> {
        let pools = pools.iter();
        pools
            .map(|pool| number(pool.as_deref()?, offset, width))
            .collect()
    };
    let holders = of_pool(at.pool_holder, 8);
    let names = entries(memory, &constants, |constant| {
        in_pool(constant.map(|constant| constant.name), constant)
    });
    let add = |address: &Option<u64>, offset: u64| address.and_then(|at| at.checked_add(offset));
    let class_names: Vec<_> = holders.iter().map(|at_| add(at_, at.class_name)).collect();
    let class_names = memory.words(&class_names);
    let sources = match (at.pool_source, at.class_source) {
        (Some(member), _) => of_pool(member.offset, member.bytes),
        (None, Some(member)) => {
            let ranges: Vec<_> = holders
                .iter()
                .map(|holder| piece(add(holder, member.offset), u64::from(member.bytes)))
                .collect();
            let found = memory.bytes(&ranges).into_iter();
            found
                .map(|bytes| number(&bytes?, 0, member.bytes))
                .collect()
        }
        (None, None) => vec![None; methods.len()],
    };
    let mut source_at = sources.iter().zip(&constants);
    let files = entries(memory, &constants, |_| {
        let (index, constant) = source_at.next()?;
        in_pool(*index, constant)
    });
    let names = symbols(memory, layout, &names);
    let classes = symbols(memory, layout, &class_names);
    let files = symbols(memory, layout, &files);
    let lines = lines(memory, layout, &constants);
    let all = constants.into_iter().zip(names).zip(classes);
    all.zip(files)
        .zip(lines)
        .map(|((((constant, name), class), file), lines)| {
            let constant = constant?;
            Some(Rc::new(Method {
                name: format!("{}.{}", class_name(&class?), name?),
                file,
                bytecodes: constant.at + layout.method.constant_bytes,
                bytes: constant.bytes,
                lines,
            }))
        })
        .collect()
}

/// A class as it is written in Java. One that was made while the program runs has its address in its name, which tells
/// nothing and is another one in each process.
fn class_name(name: &str) -> String {
    let is_address =
        |tail: &str| !tail.is_empty() && tail.bytes().all(|byte| byte.is_ascii_hexdigit());
    let made = ["+0x", "/0x"].into_iter().find_map(|mark| {
        let (class, tail) = name.rsplit_once(mark)?;
        is_address(tail).then_some(class)
    });
    made.unwrap_or(name).replace('/', ".")
}

/// The word that an address made of each constant part leads to.
fn entries(
    memory: &mut impl Pieces,
    constants: &[Option<Constant>],
    mut at: impl FnMut(&Option<Constant>) -> Option<u64>,
) -> Vec<Option<u64>> {
    let addresses: Vec<Option<u64>> = constants.iter().map(&mut at).collect();
    memory.words(&addresses)
}

/// The constant parts of methods, by the addresses of what leads to them.
fn constants(
    memory: &mut impl Pieces,
    layout: &Layout,
    links: &[Option<u64>],
) -> Vec<Option<Constant>> {
    let at = &layout.method;
    let parts = memory.words(links);
    let ranges: Vec<_> = parts
        .iter()
        .map(|part| piece(*part, at.constant_bytes))
        .collect();
    let bytes = memory.bytes(&ranges);
    parts
        .into_iter()
        .zip(bytes)
        .map(|(part, bytes)| {
            let (part, bytes) = (part?, bytes?);
            let value =
                |member: super::structs::Member| number(&bytes, member.offset, member.bytes);
            let words = value(at.words)?;
            Some(Constant {
                at: part,
                pool: number(&bytes, at.pool, 8)?,
                name: value(at.name)?,
                bytes: value(at.code_size)?,
                has_lines: value(at.flags)? & HAS_LINES != 0,
                end: part + (words * 8).min(MOST_CONSTANT),
            })
        })
        .collect()
}

/// The texts of symbols.
fn symbols(
    memory: &mut impl Pieces,
    layout: &Layout,
    symbols: &[Option<u64>],
) -> Vec<Option<String>> {
    let (length, body) = (layout.method.symbol_length, layout.method.symbol_body);
    let add = |at: &Option<u64>, offset: u64| at.and_then(|at| at.checked_add(offset));
    let ranges: Vec<_> = symbols
        .iter()
        .map(|symbol| piece(add(symbol, length.offset), u64::from(length.bytes)))
        .collect();
    let lengths = memory.bytes(&ranges).into_iter();
    let lengths: Vec<Option<u64>> = lengths
        .map(|bytes| number(&bytes?, 0, length.bytes).filter(|length| *length > 0))
        .collect();
    let ranges: Vec<_> = symbols
        .iter()
        .zip(&lengths)
        .map(|(symbol, length)| match length {
            Some(length) => piece(add(symbol, body), (*length).min(MOST_NAME)),
            None => piece(None, 1),
        })
        .collect();
    let texts = memory.bytes(&ranges).into_iter();
    texts
        .zip(lengths)
        .map(|(text, length)| {
            length?;
            Some(String::from_utf8_lossy(&text?).into_owned())
        })
        .collect()
}

/// The tables of lines: they follow the bytecodes.
fn lines(
    memory: &mut impl Pieces,
    layout: &Layout,
    constants: &[Option<Constant>],
) -> Vec<Vec<u8>> {
    let table = |constant: &Option<Constant>| {
        let constant = constant.filter(|constant| constant.has_lines)?;
        let start = constant.at + layout.method.constant_bytes + constant.bytes;
        (start < constant.end).then_some(start..constant.end)
    };
    let ranges: Vec<_> = constants
        .iter()
        .map(|constant| match table(constant) {
            Some(range) => piece(Some(range.start), range.end - range.start),
            None => piece(None, 1),
        })
        .collect();
    let bytes = memory.bytes(&ranges).into_iter();
    bytes
        .zip(constants)
        .map(|(bytes, constant)| match table(constant) {
            Some(_) => bytes.unwrap_or_default(),
            None => Vec::new(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes_are_named_as_in_java() {
        let names = [
            "java/util/ArrayList",
            "a/B$$Lambda$2+0x00007f4160001450",
            "B$$Lambda/0x0000000800062440",
            "x/0xyz",
        ];
        let expected = [
            "java.util.ArrayList",
            "a.B$$Lambda$2",
            "B$$Lambda",
            "x.0xyz",
        ];
        assert_eq!(names.map(class_name), expected);
    }
}
