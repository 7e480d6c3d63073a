//! One program of a trace.

use std::path::PathBuf;
use std::time::Duration;

use tracer_common::key::Owner;

use crate::profile::{Place, State, Subject};

/// A program that the trace is about: a process from one `exec` to the next.
#[derive(Clone, Debug)]
pub struct Member {
    /// Its owner id.
    pub owner: Owner,
    /// Number of the set of code that its addresses mean now.
    pub code: u32,
    /// Its row in the process table.
    pub row: u32,
    /// Its name.
    pub command: String,
    /// Its executable, where it could be read.
    pub exe: Option<PathBuf>,
    /// What became of it.
    pub state: State,
    /// Its container, unit and cgroup.
    pub place: Place,
    /// User id that it runs as; `None` if it ended before it was looked at.
    pub uid: Option<u32>,
    /// That user's name.
    pub user: Option<String>,
    /// Elapsed time of the trace when it was first seen.
    pub first_seen: Duration,
    /// Whether it started during the trace.
    pub started_in_trace: bool,
}

impl Member {
    /// What its present code is known by to the symbolizer.
    pub fn code(&self) -> Owner {
        Owner {
            tgid: self.owner.tgid,
            image: self.code,
        }
    }

    /// The subject that it is in a profile, without its figures.
    pub fn subject(&self) -> Subject {
        Subject {
            image: self.owner.image,
            state: self.state,
            place: self.place.clone(),
            uid: self.uid,
            user: self.user.clone(),
            first_seen: self.first_seen,
            started_in_trace: self.started_in_trace,
            ..Subject::process(self.owner.tgid, self.command.clone())
        }
    }
}
