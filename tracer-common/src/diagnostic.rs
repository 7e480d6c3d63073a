//! What the programs say, where they are asked to, about what they did not follow.

use core::fmt;

use zerocopy::{FromBytes, IntoBytes};

use crate::loss::Loss;
use crate::record::{Record, read};
use crate::stack::End;

/// How much the programs say: each level includes those before. 0 stands for nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u32)]
pub enum Level {
    /// Processes that are not followed, and what was lost.
    Info = 1,
    /// Calls that are not followed, and stacks that are cut.
    Debug = 2,
    /// Blocks that are not recorded.
    Trace = 3,
}

/// What a [`Diagnostic`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum DiagnosticKind {
    /// Something was lost; `value` is the index of its [`Loss`].
    Lost = 1,
    /// The process has started another one, which is not traced; `value` is its thread-group id.
    UntracedChild = 2,
    /// A call of a process that is not traced; `value` is the address of the function.
    UntracedProcess = 3,
    /// A call inside another one, which alone counts; `value` is the address of the function.
    NestedCall = 4,
    /// A new stack is cut; `value` is the number of its frames, `detail` its [`End`].
    CutStack = 5,
    /// A block that the filter or the sample leaves out; `value` is its size in bytes.
    UnwantedBlock = 6,
}

impl DiagnosticKind {
    const ALL: [Self; 6] = [
        Self::Lost,
        Self::UntracedChild,
        Self::UntracedProcess,
        Self::NestedCall,
        Self::CutStack,
        Self::UnwantedBlock,
    ];

    /// The kind of this number.
    pub fn from_raw(raw: u32) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u32 == raw)
    }

    /// From which level on it is said.
    #[inline(always)]
    pub const fn level(self) -> Level {
        match self {
            Self::Lost | Self::UntracedChild | Self::UntracedProcess => Level::Info,
            Self::NestedCall | Self::CutStack => Level::Debug,
            Self::UnwantedBlock => Level::Trace,
        }
    }
}

/// One thing that was not followed. Its `Display` is a sentence without a full stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct Diagnostic {
    /// A number that depends on the kind.
    pub value: u64,
    /// A [`DiagnosticKind`].
    pub kind: u32,
    /// Another number that depends on the kind.
    pub detail: u32,
    /// Thread-group id of the program that ran.
    pub tgid: u32,
    /// Its thread id.
    pub tid: u32,
}

const _: () = assert!(size_of::<Diagnostic>() == 24);

impl Record for Diagnostic {
    fn decode(bytes: &[u8]) -> Option<Self> {
        read(bytes, |record: &Self| {
            DiagnosticKind::from_raw(record.kind).is_some()
        })
    }
}

impl fmt::Display for Diagnostic {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            value,
            detail,
            tgid,
            tid,
            ..
        } = self;
        write!(f, "process {tgid}, thread {tid}: ")?;
        match DiagnosticKind::from_raw(self.kind) {
            Some(DiagnosticKind::Lost) => {
                let counter = Loss::ALL.get(*value as usize);
                write!(
                    f,
                    "lost, counted as {}",
                    counter.map_or("unknown", |counter| counter.name())
                )
            }
            Some(DiagnosticKind::UntracedChild) => write!(f, "child process {value} is not traced"),
            Some(DiagnosticKind::UntracedProcess) => {
                write!(
                    f,
                    "call at {value:#x} not followed: the process is not traced"
                )
            }
            Some(DiagnosticKind::NestedCall) => {
                write!(
                    f,
                    "call at {value:#x} not followed: it is made inside another allocator call"
                )
            }
            Some(DiagnosticKind::CutStack) => {
                let reason = End::from_raw(*detail).clause().unwrap_or("complete");
                write!(f, "new stack cut after {value} frames: {reason}")
            }
            Some(DiagnosticKind::UnwantedBlock) => {
                write!(
                    f,
                    "block of {value} bytes not recorded: outside the filter or the sample"
                )
            }
            None => write!(f, "unknown message {}", self.kind),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(kind: DiagnosticKind, value: u64, detail: u32) -> String {
        let record = Diagnostic {
            value,
            kind: kind as u32,
            detail,
            tgid: 12,
            tid: 13,
        };
        let bytes: [u8; 24] = zerocopy::transmute!(record);
        let read = Diagnostic::decode(&bytes).expect("a known kind");
        let text = read.to_string();
        text.strip_prefix("process 12, thread 13: ")
            .expect("who it was")
            .to_owned()
    }

    #[test]
    fn messages_say_what_and_why() {
        use DiagnosticKind::{CutStack, Lost, NestedCall, UnwantedBlock};
        assert_eq!(
            words(Lost, Loss::ProcessTableFull as u64, 0),
            "lost, counted as process_table_full"
        );
        assert_eq!(words(Lost, 1 << 40, 0), "lost, counted as unknown");
        assert_eq!(
            words(NestedCall, 0x4010, 0),
            "call at 0x4010 not followed: it is made inside another allocator call"
        );
        assert_eq!(
            words(CutStack, 5, End::NoTable as u32),
            "new stack cut after 5 frames: the file's unwind table is not available"
        );
        assert_eq!(
            words(UnwantedBlock, 64, 0),
            "block of 64 bytes not recorded: outside the filter or the sample"
        );
    }

    #[test]
    fn unknown_kinds_are_refused() {
        assert_eq!(Diagnostic::decode(&[0; 24]), None);
        assert!(
            DiagnosticKind::ALL
                .iter()
                .all(|kind| DiagnosticKind::from_raw(*kind as u32) == Some(*kind))
        );
    }
}
