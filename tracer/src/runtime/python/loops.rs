//! The code of the interpreter's loop: the function and what the compiler has put apart from it.

use std::ops::Range;

use crate::arch::Arch;
use crate::runtime::image::Image;

/// The function that executes code objects.
pub const EVAL: &str = "_PyEval_EvalFrameDefault";

/// The ranges of addresses of the interpreter's loop; none if it cannot be found.
///
/// A symbol's size is not to be trusted: where the compiler has split the function, the symbol is that of a small part.
/// The other part is a function of its own in the unwind information, to which the loop jumps and which jumps back into
/// the middle of it; functions that are called at their end only are none of it.
pub fn ranges(image: &Image<'_>) -> Vec<Range<u64>> {
    let Some((start, _)) = image.symbol(EVAL) else {
        return Vec::new();
    };
    let functions = image.functions();
    let holding = |address: u64| {
        let after = functions.partition_point(|range| range.start <= address);
        let found = functions.get(after.checked_sub(1)?)?;
        found.contains(&address).then(|| found.clone())
    };
    let Some(main) = holding(start) else {
        return Vec::new();
    };
    let mut others: Vec<Range<u64>> = jumps(image, &main)
        .into_iter()
        .filter(|target| !main.contains(target))
        .filter_map(holding)
        .collect();
    others.sort_unstable_by_key(|range| range.start);
    others.dedup();
    let is_part = |range: &Range<u64>| {
        let inside = |target: &u64| main.contains(target) && *target != main.start;
        jumps(image, range).iter().any(inside)
    };
    others.retain(is_part);
    others.push(main);
    others.sort_unstable_by_key(|range| range.start);
    others
}

/// Targets of the jumps in a function.
fn jumps(image: &Image<'_>, function: &Range<u64>) -> Vec<u64> {
    let len = usize::try_from(function.end - function.start).unwrap_or(0);
    let code = image.bytes(function.start, len);
    Arch::HOST.instructions().jumps(function.start, code)
}
