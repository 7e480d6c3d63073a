//! From an instruction to its line, by the table of lines of a code object. The table is a traced program's memory: any
//! bytes are possible.
//!
//! Sources: Objects/lnotab_notes.txt of CPython 3.8 to 3.10, Objects/locations.md of 3.11 and later.

/// The line of an instruction, by its number in units of two bytes; `None` where the table has none for it.
pub fn line(version: u32, first_line: u32, table: &[u8], unit: u32) -> Option<u32> {
    match version & 0xffff {
        11.. => by_locations(first_line, table, unit),
        10 => by_ranges(first_line, table, unit),
        _ => Some(by_steps(first_line, table, unit)),
    }
}

fn moved(line: u32, by: i64) -> u32 {
    (i64::from(line) + by).clamp(0, u32::MAX.into()) as u32
}

/// 3.8 and 3.9: pairs of bytes of code and of lines, each to be added.
fn by_steps(first_line: u32, table: &[u8], unit: u32) -> u32 {
    let at = u64::from(unit) * 2;
    let (mut address, mut line) = (0, first_line);
    for [code, lines] in table.as_chunks::<2>().0 {
        address += u64::from(*code);
        if address > at {
            break;
        }
        line = moved(line, i64::from(*lines as i8));
    }
    line
}

/// 3.10: pairs of the length of a range in bytes of code and of the lines to be added before; -128 for a range without a
/// line.
fn by_ranges(first_line: u32, table: &[u8], unit: u32) -> Option<u32> {
    let at = u64::from(unit) * 2;
    let (mut address, mut line) = (0, first_line);
    for [code, lines] in table.as_chunks::<2>().0 {
        let by = i64::from(*lines as i8);
        if by != -128 {
            line = moved(line, by);
        }
        address += u64::from(*code);
        if at < address {
            return (by != -128).then_some(line);
        }
    }
    None
}

/// 3.11 and later: entries of a kind, a length in units, and what the kind has.
fn by_locations(first_line: u32, table: &[u8], unit: u32) -> Option<u32> {
    let mut bytes = table.iter().copied();
    let (mut address, mut line) = (0u64, first_line);
    while let Some(head) = bytes.next() {
        let here = match head >> 3 & 15 {
            // No location.
            15 => None,
            // A line, an end line and two columns.
            14 => {
                line = moved(line, signed(&mut bytes)?);
                for _ in 0..3 {
                    number(&mut bytes)?;
                }
                Some(line)
            }
            // No columns.
            13 => {
                line = moved(line, signed(&mut bytes)?);
                Some(line)
            }
            // On the same line or the two behind it, and two columns.
            kind @ 10..=12 => {
                line = moved(line, i64::from(kind) - 10);
                bytes.next()?;
                bytes.next()?;
                Some(line)
            }
            // On the same line, and a column.
            _ => {
                bytes.next()?;
                Some(line)
            }
        };
        address += u64::from(head & 7) + 1;
        if u64::from(unit) < address {
            return here;
        }
    }
    None
}

/// Six bits a byte, the lowest first; bit 6 says that there are more.
fn number(bytes: &mut impl Iterator<Item = u8>) -> Option<u64> {
    let mut value = 0u64;
    for shift in (0..60).step_by(6) {
        let byte = bytes.next()?;
        value |= u64::from(byte & 63) << shift;
        if byte & 64 == 0 {
            return Some(value);
        }
    }
    None
}

/// The sign is the lowest bit.
fn signed(bytes: &mut impl Iterator<Item = u8>) -> Option<i64> {
    let value = number(bytes)?;
    let size = i64::try_from(value >> 1).ok()?;
    Some(if value & 1 == 0 { size } else { -size })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const fn version(minor: u32) -> u32 {
        3 << 16 | minor
    }

    /// `dis` of the function in the comment, by each version.
    #[test]
    fn tables_of_real_functions() {
        // def f(x):        # line 1
        //     y = x + 1    # line 2
        //
        //     return [     # line 4
        //         y,       # line 5
        //     ]
        let at = |minor: u32, table: &[u8], units: &[u32]| -> Vec<Option<u32>> {
            units
                .iter()
                .map(|unit| line(version(minor), 1, table, *unit))
                .collect()
        };
        assert_eq!(
            at(9, &[0, 1, 8, 3, 2, 255], &[0, 3, 4, 5, 6]),
            [Some(2), Some(2), Some(5), Some(4), Some(4)]
        );
        assert_eq!(
            at(10, &[8, 1, 2, 3, 4, 255], &[0, 4, 5, 6, 7]),
            [Some(2), Some(5), Some(4), Some(4), None]
        );
        let locations = [
            128, 0, // RESUME: line 1, short form
            216, 8, 9, // line 2 (kind 11), 1 unit
            242, 6, 0, 1, 2,   // kind 14: 3 lines on, 3 units
            248, // no location, 1 unit
        ];
        assert_eq!(
            at(12, &locations, &[0, 1, 2, 4, 5, 6]),
            [Some(1), Some(2), Some(5), Some(5), None, None]
        );
    }

    proptest! {
        /// Whatever a traced program has there, a line comes or none.
        #[test]
        fn any_table_can_be_read(minor in 8u32..15, first: u32, table in proptest::collection::vec(any::<u8>(), 0..300), unit: u16) {
            let _ = line(version(minor), first, &table, unit.into());
        }

        /// Lines of 3.11 come back as they were written.
        #[test]
        fn locations_come_back(steps in proptest::collection::vec((-500i64..500, 1u8..=8), 1..60)) {
            let (mut table, mut expected, mut line_now) = (Vec::new(), Vec::new(), 10_000i64);
            for (by, units) in steps {
                table.push(0x80 | 13 << 3 | (units - 1));
                let mut value = (by.unsigned_abs() << 1) | u64::from(by < 0);
                while value > 63 {
                    table.push((value & 63) as u8 | 64);
                    value >>= 6;
                }
                table.push(value as u8);
                line_now += by;
                expected.extend(std::iter::repeat_n(Some(line_now.max(0) as u32), units.into()));
                prop_assume!(line_now > 0);
            }
            let found: Vec<_> = (0..expected.len() as u32).map(|unit| line(version(12), 10_000, &table, unit)).collect();
            prop_assert_eq!(found, expected);
        }
    }
}
