//! The machine and who grows on it: passes over `/proc`, trends, one report as a plain value, and its dresses.

mod advice;
pub mod cgroup_files;
pub mod cgroups;
mod columns;
pub mod csv;
pub mod json;
pub mod machine;
pub mod observe;
pub mod pressure;
mod rank;
pub mod report;
pub mod root;
pub mod sampler;
pub mod scan;
pub mod series;
pub mod status;
mod table;
pub mod text;
pub mod trend;
pub mod values;
