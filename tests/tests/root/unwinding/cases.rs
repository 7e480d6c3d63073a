//! Cases with victims.
