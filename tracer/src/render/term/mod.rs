//! Text for a terminal: lines within its width, tables, and the frames of a stack.

pub mod frames;
pub mod line;
pub mod table;
