//! The engine: what every trace shares. A trace of processes is a [`Trace`] of one or more [`Source`]s; [`run`] drives
//! any [`Live`] trace to its end and hands out its profiles.

pub mod admission;
pub mod attach;
mod clock;
pub mod console;
mod core;
mod ended;
mod interrupt;
mod member;
mod members;
mod meta;
mod rates;
mod run;
mod runtimes;
mod snapshot;
mod source;
pub mod target;
mod trace;
pub mod unwinder;
mod watch;

pub use self::core::{Core, Notes, code_of};
pub use clock::{TraceClock, monotonic_ns};
pub use interrupt::Interrupt;
pub use member::Member;
pub use members::place;
pub use meta::meta;
pub use rates::Rates;
pub use run::{Flow, Live, Schedule, follow, run, runtime};
pub use runtimes::Interpreters;
pub use snapshot::{Selection, Snapshot};
pub use source::{Source, Work};
pub use target::About;
pub use trace::{Trace, Walk, method};
pub use watch::readable;
