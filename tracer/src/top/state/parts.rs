//! What the view is made of: its settings, where one can be, what traces tell, and what it asks for.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::tz::TimeZone;

use crate::profile::Profile;
use crate::profile::machine::By;
use crate::top::data::TraceId;
use crate::top::line_edit::LineEdit;
use crate::top::rows::{Key, Row};
use crate::top::stacks::StackRow;

/// What does not change.
#[derive(Clone, Debug)]
pub struct Settings {
    /// What the table has rows for.
    pub by: By,
    /// What the command line asks to trace, in words; `None` is nothing.
    pub target: Option<String>,
    /// The processes that it names.
    pub target_pids: Vec<u32>,
    /// The time zone of what is shown.
    pub time_zone: TimeZone,
    /// Whether to use bold, dim and colored text.
    pub color: bool,
    /// Whether the terminal shows letters beyond ASCII.
    pub unicode: bool,
    /// Least age of the blocks of stacks.
    pub older: Duration,
}

/// Where one is, the kernel's tab aside.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Place {
    /// The table of processes, or groups of them.
    #[default]
    Machine,
    /// The processes of a group.
    Group(String),
    /// The stacks of a process.
    Process(u32),
}

/// What is typed, and what for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Keys act.
    #[default]
    Keys,
    /// The help is shown, from this line on.
    Help(usize),
    /// A text that rows must have. What was there before comes back if it is given up.
    Filter(LineEdit, String),
    /// A least age.
    Older(LineEdit),
    /// A file's name.
    Export(LineEdit),
}

/// What has become of a trace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Probes are being placed.
    Starting,
    /// It goes on.
    Running,
    /// Its processes have ended.
    Ended,
    /// Why it cannot be.
    Failed(String),
}

/// What a trace tells.
#[derive(Clone, Debug)]
pub enum Traced {
    /// What it knows now.
    Profile(Arc<Profile>),
    /// Something about it, in a sentence.
    Note(String),
    /// Its processes have ended.
    Ended,
    /// Why it cannot be, or go on.
    Failed(String),
}

/// What the view asks of the command that runs it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Trace a process.
    Trace(u32),
    /// End the trace of a process.
    EndTrace(u32),
    /// Trace the kernel's memory.
    TraceKernel,
    /// Traces count only blocks of this age in their stacks.
    Older(Duration),
    /// A process is looked at: say what holds its blocks.
    LookAt(TraceId),
    /// Write what is seen to a file.
    Export(PathBuf),
    /// Let the shell have the terminal.
    Suspend,
    /// Draw everything anew.
    Redraw,
    /// Leave; with `true` a traced command is interrupted.
    Leave(bool),
}

/// The rows of the list.
#[derive(Clone, Debug, PartialEq)]
pub enum Rows {
    /// Processes, or groups of them.
    Processes(Vec<Row>),
    /// Stacks.
    Stacks(Vec<StackRow>),
}

impl Rows {
    /// How many there are.
    pub fn len(&self) -> usize {
        match self {
            Self::Processes(rows) => rows.len(),
            Self::Stacks(rows) => rows.len(),
        }
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// What a row stays known by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Selected {
    /// A row of the table.
    Row(Key),
    /// A stack, by its identity.
    Stack(u64),
}
