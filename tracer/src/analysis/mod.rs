//! What is concluded from profiles: each analysis reads a profile, or several, and adds to one.

pub mod advice;
pub mod change;
pub mod growth;
pub mod holders;
pub mod hunt;
pub mod ledger;
pub mod verdict;
