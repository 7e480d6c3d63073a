//! Walking a stack by unwind tables: rules, tables, and the step from one frame to its caller.
//!
//! User space turns each file's call frame information into rows of [`Rule`]s. The kernel looks an
//! address up ([`find_rule`]) and steps ([`step`]); tests run the same code on arrays. Nothing here
//! allocates, divides or loops without a constant bound, and every function is inlined, as the
//! verifier wants it.

mod rule;
mod table;
mod walk;

pub use crate::arch::native::{is_plain, step, step_plain, step_rare, unwind};
pub use rule::{Kind, Rule};
pub use table::{
    BUCKET_BYTES, BUCKET_SHIFT, Bisection, FileKey, FileTable, MAPPING_STEPS, MAX_MAPPINGS,
    Mapping, NO_ROW, ROW_STEPS, Range, Source, bucket, bucket_first, bucket_rebased,
    bucket_row_end, find_mapping, find_rule, row, row_address, row_rule, rule_in,
};

pub(crate) use walk::end_of;
pub use walk::{Position, Tables};

#[cfg(test)]
mod tests;
