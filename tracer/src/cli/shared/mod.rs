//! What several commands have in common: settings that are taken as typed, and targets.

mod bare;
mod blocks;
mod output;
mod schedule;
mod scope;
mod target;
mod walk;

pub use bare::BareWords;
pub use blocks::{Allocator, MAX_MAX_LIVE, SizeRange};
pub use output::{Output, Outputs, Shown, TOP};
pub use schedule::{INTERVAL_SECONDS, Schedule};
pub use scope::{BudgetArgs, GroupingArgs, HostWideArgs, HostWideConfig, ScopeArgs};
pub use target::{NamedProcess, ProcessArgs, TargetArgs, UNREAD};
pub use walk::{Unwind, Walk};
