//! Words that outputs have in common: units, names that are safe to print, sentences. Pure functions on text.

pub mod clean;
pub mod complete;
pub mod difference;
pub mod elide;
pub mod ended;
pub mod error;
pub mod exit;
pub mod filter;
pub mod guard;
pub mod lifetimes;
pub mod loss;
pub mod markdown;
pub mod measure;
pub mod names;
pub mod reachability;
pub mod serving;
pub mod units;
