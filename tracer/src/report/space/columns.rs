//! Columns that the tables of address spaces have in common.

use std::collections::BTreeMap;

use super::Amount;
use crate::report::table::Column;
use crate::report::units::bytes;
use crate::space::Kind;

/// Columns by kind of what is mapped, in order.
const KINDS: [(&str, Kind); 5] = [
    ("brk", Kind::Brk),
    ("anonymous", Kind::Anonymous),
    ("file", Kind::File),
    ("shared", Kind::Shared),
    ("stacks", Kind::Stack),
];

/// Bytes of an amount.
type Size = fn(&Amount) -> u64;

/// What is in memory, where that was measured.
pub fn resident(amount: &Amount, measured: bool) -> String {
    match measured {
        true => bytes(amount.resident),
        false => "-".to_owned(),
    }
}

/// What is mapped of each kind.
pub fn by_kind<T>(
    rows: &[T],
    kinds: impl Fn(&T) -> &BTreeMap<Kind, Amount>,
) -> impl Iterator<Item = Column> {
    KINDS.into_iter().map(move |(heading, kind)| {
        let mapped = |row: &T| kinds(row).get(&kind).map_or(0, |amount| amount.mapped);
        Column::new(heading, rows, |row| bytes(mapped(row)))
    })
}

/// What is without access or in swap; only columns with anything in them.
pub fn set_aside<T>(rows: &[T], amount: impl Fn(&T) -> &Amount) -> impl Iterator<Item = Column> {
    let sizes: [(&str, Size); 2] = [
        ("no access", |amount| amount.reserved),
        ("swapped", |amount| amount.swapped),
    ];
    sizes.into_iter().filter_map(move |(heading, size)| {
        let is_any = rows.iter().any(|row| size(amount(row)) > 0);
        is_any.then(|| Column::new(heading, rows, |row| bytes(size(amount(row)))))
    })
}
