//! What `memlens agent` decides: whose heap is traced, when a report is written, which reports are kept, what a request
//! asks for, and what the metrics say. Pure; `commands::agent` does it.

pub mod choose;
pub mod counters;
pub mod discovery;
pub mod keep;
pub mod metrics;
pub mod moment;
pub mod part;
pub mod route;
pub mod triggers;
