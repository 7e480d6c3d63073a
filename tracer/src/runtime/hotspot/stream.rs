//! Numbers as the machine writes them in its tables: of one to five bytes (OpenJDK,
//! src/hotspot/share/utilities/unsigned5.hpp, and src/hotspot/share/code/compressedStream.cpp before 20).

/// How numbers are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Encoding {
    /// Up to 19.
    WithZeros,
    /// From 20 on no byte is zero.
    WithoutZeros,
}

impl Encoding {
    /// That of a version.
    pub const fn of(version: u64) -> Self {
        match version {
            ..20 => Self::WithZeros,
            _ => Self::WithoutZeros,
        }
    }

    /// The least value of a byte.
    const fn least(self) -> u32 {
        match self {
            Self::WithZeros => 0,
            Self::WithoutZeros => 1,
        }
    }
}

/// Bits that a byte adds which is followed by another one.
const BITS: u32 = 6;
/// Bytes from here on are followed by another one.
const HIGH: u32 = 64;
/// Most bytes of a number.
const MOST: u32 = 5;

/// Reads numbers.
#[derive(Clone, Debug)]
pub struct Stream<'a> {
    bytes: &'a [u8],
    encoding: Encoding,
}

impl<'a> Stream<'a> {
    /// Of these bytes.
    pub const fn new(bytes: &'a [u8], encoding: Encoding) -> Self {
        Self { bytes, encoding }
    }

    /// A byte as it is.
    pub fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    /// A number.
    pub fn number(&mut self) -> Option<u32> {
        let least = self.encoding.least();
        let low = 256 - HIGH - least;
        let mut sum = 0_u32;
        for place in 0..MOST {
            let byte = u32::from(self.byte()?).checked_sub(least)?;
            sum = sum.wrapping_add(byte.wrapping_shl(place * BITS));
            if byte < low {
                break;
            }
        }
        Some(sum)
    }

    /// A number with a sign: the lowest bit tells it.
    pub fn signed(&mut self) -> Option<i32> {
        let number = self.number()?;
        Some((number >> 1) as i32 ^ -((number & 1) as i32))
    }
}

/// The line of a bytecode, by a method's table (OpenJDK, src/hotspot/share/oops/method.cpp,
/// `CompressedLineNumberReadStream`): that of the last entry at or before it.
pub fn line(table: &[u8], encoding: Encoding, bytecode: u32) -> Option<u32> {
    let mut stream = Stream::new(table, encoding);
    let (mut at, mut line) = (0_i32, 0_i32);
    let mut found = None;
    loop {
        match stream.byte()? {
            0 => return found,
            0xff => {
                at = at.wrapping_add(stream.signed()?);
                line = line.wrapping_add(stream.signed()?);
            }
            both => {
                at = at.wrapping_add(i32::from(both >> 3));
                line = line.wrapping_add(i32::from(both & 7));
            }
        }
        if at as u32 > bytecode {
            return found;
        }
        found = u32::try_from(line).ok().filter(|line| *line > 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The other way round.
    fn written(mut number: u32, encoding: Encoding) -> Vec<u8> {
        let least = encoding.least();
        let low = 256 - HIGH - least;
        let mut bytes = Vec::new();
        for place in 1..=MOST {
            if number < low || place == MOST {
                bytes.push((number + least) as u8);
                break;
            }
            number -= low;
            bytes.push((low + number % HIGH + least) as u8);
            number >>= BITS;
        }
        bytes
    }

    proptest! {
        #[test]
        fn numbers_come_back(numbers in proptest::collection::vec(any::<u32>().prop_map(|n| n >> 2), 0..20), new: bool) {
            let encoding = if new { Encoding::WithoutZeros } else { Encoding::WithZeros };
            let bytes: Vec<u8> = numbers.iter().flat_map(|number| written(*number, encoding)).collect();
            let mut stream = Stream::new(&bytes, encoding);
            for number in numbers {
                prop_assert_eq!(stream.number(), Some(number));
            }
            prop_assert_eq!(stream.number(), None);
        }

        #[test]
        fn any_table_can_be_read(table in proptest::collection::vec(any::<u8>(), 0..100), at: u32) {
            let _ = line(&table, Encoding::WithZeros, at);
            let _ = line(&table, Encoding::WithoutZeros, at);
        }
    }

    #[test]
    fn a_line_is_that_of_the_last_entry() {
        // Bytecode 0: line 5; 4: line 6; 40: line 3.
        let mut table = vec![5, 4 << 3 | 1, 0xff];
        table.extend(written(36 << 1, Encoding::WithZeros));
        table.extend(written(2 << 1 | 1, Encoding::WithZeros));
        table.push(0);
        let lines = [0, 3, 4, 39, 40, 60_000].map(|at| line(&table, Encoding::WithZeros, at));
        assert_eq!(lines, [5, 5, 6, 6, 3, 3].map(Some));
    }
}
