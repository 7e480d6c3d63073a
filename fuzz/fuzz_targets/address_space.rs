//! Any calls on any addresses.
#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::arbitrary::{Arbitrary, Result, Unstructured};
use libfuzzer_sys::fuzz_target;
use memlens::process::maps::FileId;
use memlens::space::{AddressSpace, Backing, Call, FilePart, Kind, Origin, PAGE, What};

/// Calls that may have been made, in no order of time.
#[derive(Debug)]
struct Calls(Vec<Call>);

/// Mostly one of few addresses, so that ranges meet; sometimes any number.
fn address(u: &mut Unstructured) -> Result<u64> {
    match u.ratio(15, 16)? {
        true => Ok(0x7f00_0000_0000 + u64::from(u8::arbitrary(u)?) * PAGE),
        false => u.arbitrary(),
    }
}

fn len(u: &mut Unstructured) -> Result<u64> {
    match u.ratio(15, 16)? {
        true => Ok(u64::from(u16::arbitrary(u)?)),
        false => u.arbitrary(),
    }
}

fn backing(u: &mut Unstructured) -> Result<Backing> {
    let file = u.arbitrary::<Option<(u8, u64)>>()?;
    Ok(Backing {
        kind: *u.choose(&Kind::ALL)?,
        reserved: u.arbitrary()?,
        dont_fork: u.arbitrary()?,
        file: file.map(|(inode, offset)| FilePart {
            id: FileId {
                dev: (0, 0),
                inode: inode.into(),
            },
            offset,
        }),
    })
}

fn what(u: &mut Unstructured) -> Result<What> {
    Ok(match u.int_in_range(0..=6)? {
        0 => What::Map {
            start: address(u)?,
            len: len(u)?,
            backing: backing(u)?,
        },
        1 => What::Unmap {
            start: address(u)?,
            len: len(u)?,
        },
        2 => What::Remap {
            old: address(u)?,
            old_len: len(u)?,
            new: address(u)?,
            new_len: len(u)?,
            keep_old: u.arbitrary()?,
            fixed: u.arbitrary()?,
        },
        3 => What::Break {
            from: match u.arbitrary()? {
                true => Some(address(u)?),
                false => None,
            },
            to: address(u)?,
        },
        4 => What::Protect {
            start: address(u)?,
            len: len(u)?,
            reserved: u.arbitrary()?,
        },
        5 => What::Detach { start: address(u)? },
        _ => What::ForkAdvice {
            start: address(u)?,
            len: len(u)?,
            dont: u.arbitrary()?,
        },
    })
}

impl<'a> Arbitrary<'a> for Calls {
    fn arbitrary(u: &mut Unstructured<'a>) -> Result<Self> {
        let mut calls = Vec::new();
        while !u.is_empty() {
            let entered_ns = u.arbitrary::<u8>()?.into();
            calls.push(Call {
                entered_ns,
                left_ns: entered_ns + u64::from(u.arbitrary::<u8>()?),
                stack: u.int_in_range(0..=7)?,
                what: what(u)?,
            });
        }
        Ok(Self(calls))
    }
}

/// Pieces ascend, do not overlap and are whole pages; what each origin has mapped and not lost is what is there.
fn check(space: &AddressSpace) {
    let mut live: HashMap<Origin, u64> = HashMap::new();
    let mut free_from = 0;
    for piece in space.pieces().iter() {
        assert!(free_from <= piece.start && piece.start < piece.end);
        assert!(piece.start.is_multiple_of(PAGE) && piece.end.is_multiple_of(PAGE));
        assert_eq!(space.pieces().at(piece.start), Some(piece));
        free_from = piece.end;
        *live.entry(piece.origin).or_default() += piece.len();
    }
    for (origin, totals) in space.totals() {
        assert_eq!(
            totals.mapped - totals.unmapped,
            live.remove(origin).unwrap_or(0)
        );
    }
    assert!(live.is_empty());
}

fuzz_target!(|calls: Calls| {
    let mut space = AddressSpace::default();
    for call in &calls.0 {
        space.apply(call);
        check(&space);
    }
    check(&space.forked());
    let differences = space.differences(&[], &[]);
    space.repair(&[], &differences, Origin::Found, 0);
    assert!(space.pieces().is_empty());
});
