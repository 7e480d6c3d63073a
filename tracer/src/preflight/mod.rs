//! Can this machine and this process be used for tracing? Facts in, findings and refusals out.

mod capability;
mod check;
mod facts;
mod kernel;
mod refuse;
mod tracefs;

pub use capability::{Capability, missing_capabilities};
pub use check::{Finding, State, check};
pub(crate) use facts::mounted;
pub use facts::{Facts, Limit, Lockdown};
pub use kernel::{
    Feature, Kernel, MINIMUM_KERNEL, features_named_in_btf, has_attach_cookie, has_bpf_loop,
    has_ringbuf, has_task_storage_in_tracing, has_uprobe_multi, has_uprobe_session,
    missing_features, needs_memlock_raised, uprobe_multi_pid_filter_counts_threads,
};
pub use refuse::{PreflightError, Purpose, refuse_if_unable};
pub use tracefs::{Mounted, TracefsError, ensure_tracefs};
