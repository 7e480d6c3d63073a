//! The machine and its processes, as `/proc` and the cgroups tell: pass after pass, with trends. Reading is in `scan`,
//! `cgroups` and `sampler`; the rest is pure.

pub mod background;
pub mod cgroup_files;
pub mod cgroups;
pub mod figures;
pub mod meminfo;
pub mod observe;
pub mod pace;
pub mod pressure;
mod rank;
pub mod root;
pub mod sampler;
pub mod scan;
pub mod status;

use crate::profile::machine::{Of, Order};

/// Which rows a profile has, and in which order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct View {
    /// The order of the rows.
    pub order: Order,
    /// The figure that the order is about.
    pub of: Of,
    /// Rows to have; `None` is all.
    pub top: Option<usize>,
}
