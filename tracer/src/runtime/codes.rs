//! What code objects are called, as the programs have told, and which of those that had one address it was at the time
//! of a stack.

use std::collections::HashMap;
use std::sync::Arc;

use tracer_common::key::Owner;
use tracer_common::runtime::note::{CodeKey, CodeNote, Note, Text};
use tracer_common::runtime::word::{Code, Instruction};

use super::python::lines;

/// A code object.
#[derive(Debug, PartialEq, Eq)]
struct CodeObject {
    name: Option<Arc<str>>,
    file: Option<Arc<str>>,
    first_line: u32,
    lines: Box<[u8]>,
    version: u32,
}

/// The name of a frame of a runtime.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Named {
    /// Its function.
    pub function: Arc<str>,
    /// Its file.
    pub file: Option<Arc<str>>,
    /// The line in it; `None` where none belongs to the instruction.
    pub line: Option<u32>,
}

impl Named {
    /// Whether it is a frame of the interpreter's own: 3.12 and later put one below an `__init__` that a class's call
    /// leads to (`_Py_InitCleanup`, Python/specialize.c), which Python itself does not show either.
    pub fn is_internal(&self) -> bool {
        &*self.function == "__init__" && self.file.as_deref() == Some("__init__")
    }
}

/// A code object, and since which record it has its address.
type Version = (u64, Arc<CodeObject>);

/// Code objects by address, each with those that had the address before.
///
/// Records come in the order in which they were written. When a stack is told, all its code objects have been, and they
/// cannot have been replaced since: a thread stands in them.
#[derive(Debug, Default)]
pub struct Codes {
    /// By image and address.
    objects: HashMap<(u32, u64), Vec<Version>>,
    /// Rows of stacks: how many records came before.
    stacks: HashMap<u32, (Owner, u64)>,
    records: u64,
    /// Names that several code objects have.
    strings: HashMap<Box<[u8]>, Arc<str>>,
}

impl Codes {
    /// Takes in a record.
    pub fn take(&mut self, record: &[u8]) {
        self.records += 1;
        match Note::decode(record) {
            Some(Note::Code(note)) => {
                let object = Arc::new(self.object(&note));
                let key = (note.head.owner.image, note.head.object);
                self.objects
                    .entry(key)
                    .or_default()
                    .push((self.records, object));
            }
            Some(Note::Stack(owner, row)) => {
                self.stacks.insert(row, (owner, self.records));
            }
            None => {}
        }
    }

    fn object(&mut self, note: &CodeNote<'_>) -> CodeObject {
        CodeObject {
            name: self.text(note.name, note.head.name),
            file: self.text(note.file, note.head.file),
            first_line: note.head.first_line,
            lines: note.lines.into(),
            version: note.head.version,
        }
    }

    /// A text of the runtime; `None` if it could not be read. One that is cut ends in dots.
    fn text(&mut self, bytes: &[u8], text: Text) -> Option<Arc<str>> {
        if bytes.is_empty() {
            return None;
        }
        let is_cut = text.kind >> 16 != 0;
        if text.kind == 1
            && let Some(known) = self.strings.get(bytes)
        {
            return Some(Arc::clone(known));
        }
        let mut string: String = match text.kind & 0xffff {
            // Latin-1 is the begin of Unicode.
            1 => bytes.iter().map(|byte| char::from(*byte)).collect(),
            2 => {
                let units = bytes.as_chunks::<2>().0.iter();
                let units = units.map(|unit| u32::from(u16::from_le_bytes(*unit)));
                units.map(character).collect()
            }
            _ => {
                let units = bytes.as_chunks::<4>().0.iter();
                units
                    .map(|unit| character(u32::from_le_bytes(*unit)))
                    .collect()
            }
        };
        if is_cut {
            string.push_str("...");
        }
        let string: Arc<str> = string.into();
        if text.kind == 1 {
            self.strings.insert(bytes.into(), Arc::clone(&string));
        }
        Some(string)
    }

    /// Whether the code objects of the stack in a row have been told.
    pub fn knows(&self, row: u32, owner: Owner) -> bool {
        self.stacks.get(&row).is_some_and(|(of, _)| *of == owner)
    }

    /// What a frame on the stack in a row is called; `None` if that was not told.
    pub fn name(&self, row: u32, owner: Owner, code: Code) -> Option<Named> {
        let (_, at) = self.stacks.get(&row).filter(|(of, _)| *of == owner)?;
        let versions = self.objects.get(&(owner.image, code.object))?;
        let before = versions.partition_point(|(since, _)| since <= at);
        let (_, object) = versions.get(before.checked_sub(1)?)?;
        let line = match code.instruction {
            Instruction::At(unit) => lines::line(
                object.version,
                object.first_line,
                &object.lines,
                unit.into(),
            ),
            Instruction::Before => Some(object.first_line),
            Instruction::Unknown => None,
        };
        Some(Named {
            function: Arc::clone(object.name.as_ref()?),
            file: object.file.clone(),
            line,
        })
    }

    /// Forgets a program that is over; what the kernel's table still has of it.
    pub fn forget(&mut self, owner: Owner) -> Vec<CodeKey> {
        let mut gone = Vec::new();
        self.objects.retain(|(image, object), _| {
            let is_kept = *image != owner.image;
            if !is_kept {
                gone.push(CodeKey {
                    object: *object,
                    image: *image,
                    reserved: 0,
                });
            }
            is_kept
        });
        self.stacks.retain(|_, (of, _)| *of != owner);
        self.strings
            .retain(|_, string| Arc::strong_count(string) > 1);
        gone
    }
}

/// A character; surrogates, which Python allows, have none.
fn character(number: u32) -> char {
    char::from_u32(number).unwrap_or(char::REPLACEMENT_CHARACTER)
}
