//! The machine and who grows on it: passes over `/proc`, trends, one report as a plain value, and its dresses.

pub mod cgroup_files;
pub mod cgroups;
pub mod machine;
pub mod root;
pub mod scan;
pub mod series;
pub mod status;
pub mod trend;
pub mod values;
