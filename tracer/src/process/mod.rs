//! What user space reads about a process: its maps, files and state, and the start of a traced command.
//!
//! All access to `/proc/PID` is here. Parsers are pure functions over bytes; the functions beside them do the I/O.
//! A process may vanish between any two reads, so that is an error of its own: [`ProcessError::Gone`].

pub mod cgroup;
pub mod command;
pub mod error;
pub mod files;
pub mod identity;
pub mod info;
pub mod maps;
pub mod memory;
pub mod pagemap;
pub mod scope;
pub mod slabinfo;
pub mod smaps;
pub mod startup;
pub mod status;
pub mod targets;
pub mod thread_time;
pub mod translator;
pub mod users;

pub use error::ProcessError;
