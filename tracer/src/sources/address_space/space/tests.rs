//! The account of an address space against a model that knows every page.

mod compare;
mod model;
mod races;
mod single;
