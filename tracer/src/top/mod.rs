//! The live view of `memlens top`: what it shows and what keys do, without any input, output or trace of its own.
//!
//! [`App`] takes in profiles and events of the terminal, and answers with [`Effect`]s for the command that runs it;
//! [`draw`] puts it on a screen. [`screen`] is the terminal itself.

mod baseline;
mod data;
pub mod draw;
mod history;
mod keys;
mod line_edit;
mod list;
mod rows;
pub mod screen;
mod stacks;
mod state;

pub use data::{Data, Tab, TraceId};
pub use keys::{Action, BINDINGS, Binding, action_of};
pub use state::{App, Effect, Mode, Phase, Place, Rows, Settings, Traced};
