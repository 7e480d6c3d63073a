//! What a code object is called: read in the thread that runs it, when a stack is new that it is on, since many code
//! objects are gone a millisecond later.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::key::Owner;

/// Key of what is known of a code object.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, FromBytes, IntoBytes)]
#[repr(C)]
pub struct CodeKey {
    /// Its address.
    pub object: u64,
    /// The program image that it is in.
    pub image: u32,
    /// Keeps the record free of implicit padding.
    pub reserved: u32,
}

/// Beginning of a record: of a code object, with its texts behind it, or of a stack whose code objects have all been
/// told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct NoteHead {
    /// Address of the code object; 0: of a stack.
    pub object: u64,
    /// Whose it is.
    pub owner: Owner,
    /// The stack's row.
    pub row: u32,
    /// First line of the code.
    pub first_line: u32,
    /// Bytes of the name, and of one character of it.
    pub name: Text,
    /// The same of the file's name.
    pub file: Text,
    /// Bytes of the table of lines that are there.
    pub lines: u32,
    /// Bytes that the table has.
    pub all_lines: u32,
    /// The version of the runtime, as in its layout.
    pub version: u32,
    /// Keeps the record free of implicit padding.
    pub reserved: u32,
}

/// A text in a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, Immutable, IntoBytes)]
#[repr(C)]
pub struct Text {
    /// Bytes that are there.
    pub bytes: u32,
    /// Bytes of a character in the lower half: 1 (Latin-1), 2 or 4. 1 in the upper half: there are more.
    pub kind: u32,
}

/// Bytes for the name, the file and the lines in records of the two lengths; each is a power of two. Of 43,407 code objects
/// of Python's library 98.6 % have a table of lines that fits into the shorter one.
pub const ROOM: [[u32; 3]; 2] = [[128, 256, 1024], [1024, 4096, 65536]];

/// Bytes of a record with this much room.
pub const fn note_bytes(room: [u32; 3]) -> usize {
    size_of::<NoteHead>() + room[0] as usize + room[1] as usize + room[2] as usize
}

const _: () = assert!(size_of::<CodeKey>() == 16);
const _: () = assert!(size_of::<NoteHead>() == 56);

/// What is told of a code object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CodeNote<'a> {
    /// Address, owner, first line, version.
    pub head: NoteHead,
    /// Its name.
    pub name: &'a [u8],
    /// Its file.
    pub file: &'a [u8],
    /// The table of lines, as far as it is there.
    pub lines: &'a [u8],
}

/// A record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note<'a> {
    /// What a code object is called.
    Code(CodeNote<'a>),
    /// The code objects of the stack in this row have been told.
    Stack(Owner, u32),
}

impl<'a> Note<'a> {
    /// Reads a record; `None` if it is not one.
    pub fn decode(bytes: &'a [u8]) -> Option<Self> {
        let (head, rest) = NoteHead::read_from_prefix(bytes).ok()?;
        if head.object == 0 {
            return rest.is_empty().then_some(Self::Stack(head.owner, head.row));
        }
        let room = ROOM
            .into_iter()
            .find(|room| note_bytes(*room) == bytes.len())?;
        let (name, rest) = rest.split_at(room[0] as usize);
        let (file, lines) = rest.split_at(room[1] as usize);
        Some(Self::Code(CodeNote {
            head,
            name: name.get(..head.name.bytes as usize)?,
            file: file.get(..head.file.bytes as usize)?,
            lines: lines.get(..head.lines as usize)?,
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn any_bytes_can_be_looked_at(mut bytes in proptest::collection::vec(any::<u8>(), 0..2000), size in 0usize..4) {
            if size < 2 {
                bytes.resize(note_bytes(ROOM[size]).min(2000).max(bytes.len()), 7);
            }
            let _ = Note::decode(&bytes);
        }
    }

    #[test]
    fn a_note_comes_back() {
        let head = NoteHead {
            object: 0x1000,
            name: Text { bytes: 4, kind: 1 },
            file: Text { bytes: 2, kind: 1 },
            lines: 3,
            ..NoteHead::default()
        };
        let mut bytes = head.as_bytes().to_vec();
        bytes.extend(b"name");
        bytes.resize(size_of::<NoteHead>() + 128, 0);
        bytes.extend(b"fi");
        bytes.resize(size_of::<NoteHead>() + 128 + 256, 0);
        bytes.extend(b"abc");
        bytes.resize(note_bytes(ROOM[0]), 0);
        let Some(Note::Code(note)) = Note::decode(&bytes) else {
            panic!("no note");
        };
        assert_eq!(
            (note.name, note.file, note.lines),
            (&b"name"[..], &b"fi"[..], &b"abc"[..])
        );
        bytes.push(0);
        assert_eq!(Note::decode(&bytes), None);
        let stack = NoteHead {
            row: 7,
            ..NoteHead::default()
        };
        assert_eq!(
            Note::decode(stack.as_bytes()),
            Some(Note::Stack(Owner::default(), 7))
        );
    }
}
