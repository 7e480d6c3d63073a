//! What is measured: each source says which programs it needs, what it does with their events, and how it writes itself
//! into a profile.

pub mod address_space;
pub mod calls;
pub mod heap;
pub mod kernel;
pub mod ledger;
pub mod machine;
pub mod page_faults;
