//! What only a report of the whole host's address spaces holds: where processes belong, and what those that ended have held.

use std::time::Duration;

use serde::Serialize;

use crate::report::units::{bytes, counted_processes};
use crate::report::{Ended, Grouping, Held, MemberRow};

/// What only a trace of the whole host tells. Its table of processes, its totals and its stacks are of the processes
/// that run; those that ended are here.
#[derive(Clone, Debug)]
pub struct SpaceHost {
    /// Which processes the trace is about, in words.
    pub scope: String,
    /// What the first table has a row for.
    pub by: Grouping,
    /// Elapsed time of the previous report; zero in the first. What happened since is new to the reader.
    pub previous: Duration,
    /// How many rows of the first table the text shows; `None` is all.
    pub top: Option<usize>,
    /// Processes that ended during the trace.
    pub ended: Ended<SpaceHeld>,
    /// Resident memory of memlens itself in bytes; `None` where it is not known.
    pub own_rss_bytes: Option<u64>,
}

/// What a whole-host trace knows of one process besides its address space.
#[derive(Clone, Debug, PartialEq)]
pub struct SpaceProcessHost {
    /// What every such trace knows of it.
    pub member: MemberRow,
    /// Calls that changed its address space, per second since the previous report; `None` in its first second.
    pub calls_per_second: Option<f64>,
    /// Whether its maps could be read, or its parent's: else only what calls have mapped is known.
    pub map_known: bool,
}

/// What processes had mapped at their end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SpaceHeld {
    /// Bytes, as far as they are known.
    pub mapped_bytes: u64,
    /// Of these, mapped by calls of the trace; not what a child had from its parent.
    pub called_bytes: u64,
    /// Of these, memory without a file that allows access: heap, anonymous, stacks.
    pub anonymous_bytes: u64,
    /// Processes whose maps were never read, as they had ended by then: of them `mapped_bytes` is what calls have mapped.
    pub unread: u64,
}

impl Held for SpaceHeld {
    fn bytes(&self) -> u64 {
        self.anonymous_bytes
    }

    fn add(&mut self, other: &Self) {
        for (sum, value) in [
            (&mut self.mapped_bytes, other.mapped_bytes),
            (&mut self.called_bytes, other.called_bytes),
            (&mut self.anonymous_bytes, other.anonymous_bytes),
            (&mut self.unread, other.unread),
        ] {
            *sum = sum.saturating_add(value);
        }
    }

    fn words(&self) -> String {
        let unread = match self.unread {
            0 => String::new(),
            some => format!(
                ", but for the maps of {}, not read in time",
                counted_processes(some)
            ),
        };
        format!(
            "{} of memory mapped since the start, and {} in all{unread}",
            bytes(self.anonymous_bytes),
            bytes(self.mapped_bytes)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_held_is_summed_and_said() {
        let mut held = SpaceHeld {
            mapped_bytes: 4 << 20,
            called_bytes: 2 << 20,
            anonymous_bytes: 1 << 20,
            unread: 0,
        };
        assert_eq!(
            held.words(),
            "1 MiB of memory mapped since the start, and 4 MiB in all"
        );
        held.add(&SpaceHeld { unread: 1, ..held });
        assert_eq!((held.bytes(), held.called_bytes), (2 << 20, 4 << 20));
        assert!(
            held.words()
                .ends_with("8 MiB in all, but for the maps of 1 process, not read in time"),
            "{}",
            held.words()
        );
    }
}
