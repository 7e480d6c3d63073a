//! The performance counters that a JVM publishes in a file, `hsperfdata_USER/PID`: names and numbers.

use std::collections::BTreeMap;

/// First four bytes, whatever the byte order.
const MAGIC: [u8; 4] = [0xca, 0xfe, 0xc0, 0xc0];

/// Reads the counters that are whole numbers and the texts. Damaged entries end the list.
pub fn parse(bytes: &[u8]) -> Option<Counters> {
    let header = bytes.get(..32)?;
    // Byte 4 is 1 on little-endian machines; byte 5 the version of the form.
    if header[..4] != MAGIC || header[4] != 1 || header[5] != 2 {
        return None;
    }
    let mut counters = Counters::default();
    let mut at = half(bytes, 24)? as usize;
    for _ in 0..half(bytes, 28)? {
        let entry = match bytes.get(at..) {
            Some(entry) => entry,
            None => break,
        };
        let (Some(length), Some(name)) = (half(entry, 0), half(entry, 4)) else {
            break;
        };
        let (Some(count), Some(data)) = (half(entry, 8), half(entry, 16)) else {
            break;
        };
        let Some(entry) = entry
            .get(..length as usize)
            .filter(|entry| entry.len() >= 20)
        else {
            break;
        };
        let name = text(entry, name as usize, entry.len());
        match entry[12] {
            b'J' if count == 0 => {
                let word = entry
                    .get(data as usize..)
                    .and_then(|rest| rest.first_chunk());
                if let (Some(name), Some(word)) = (name, word) {
                    counters.numbers.insert(name, i64::from_le_bytes(*word));
                }
            }
            b'B' => {
                let value = text(entry, data as usize, count as usize);
                if let (Some(name), Some(value)) = (name, value) {
                    counters.texts.insert(name, value);
                }
            }
            _ => {}
        }
        at += length as usize;
    }
    Some(counters)
}

fn half(bytes: &[u8], at: usize) -> Option<u32> {
    bytes
        .get(at..)?
        .first_chunk()
        .map(|bytes| u32::from_le_bytes(*bytes))
}

fn text(bytes: &[u8], at: usize, most: usize) -> Option<String> {
    let bytes = bytes.get(at..)?;
    let bytes = &bytes[..most.min(bytes.len())];
    let end = bytes
        .iter()
        .position(|byte| *byte == 0)
        .unwrap_or(bytes.len());
    String::from_utf8(bytes[..end].to_vec()).ok()
}

/// What a JVM publishes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    numbers: BTreeMap<String, i64>,
    texts: BTreeMap<String, String>,
}

impl Counters {
    /// A number, if it is there and not negative.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.numbers
            .get(name)
            .and_then(|value| u64::try_from(*value).ok())
    }

    /// A text.
    pub fn text(&self, name: &str) -> Option<&str> {
        self.texts.get(name).map(String::as_str)
    }

    /// The sum over all spaces of all generations of the heap.
    pub fn heap(&self, what: &str) -> Option<u64> {
        let of_spaces = self.numbers.iter().filter(|(name, _)| {
            let mut parts = name.split('.');
            parts.by_ref().take(3).eq(["sun", "gc", "generation"])
                && parts.nth(1) == Some("space")
                && parts.nth(1) == Some(what)
                && parts.next().is_none()
        });
        let sizes: Vec<u64> = of_spaces
            .filter_map(|(_, size)| u64::try_from(*size).ok())
            .collect();
        (!sizes.is_empty()).then(|| sizes.iter().sum())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(name: &str, kind: u8, count: u32, data: &[u8]) -> Vec<u8> {
        let name_at = 20_u32;
        let data_at = (20 + name.len() + 1).next_multiple_of(8);
        let length = (data_at + data.len()).next_multiple_of(8);
        let mut bytes = Vec::new();
        for number in [length as u32, name_at, count] {
            bytes.extend(number.to_le_bytes());
        }
        bytes.extend([kind, 0, 0, 0]);
        bytes.extend((data_at as u32).to_le_bytes());
        bytes.extend(name.as_bytes());
        bytes.resize(data_at, 0);
        bytes.extend(data);
        bytes.resize(length, 0);
        bytes
    }

    fn file() -> Vec<u8> {
        let entries = [
            entry(
                "sun.gc.generation.0.space.0.used",
                b'J',
                0,
                &300_i64.to_le_bytes(),
            ),
            entry(
                "sun.gc.generation.1.space.0.used",
                b'J',
                0,
                &7_i64.to_le_bytes(),
            ),
            entry(
                "sun.gc.generation.1.used.more",
                b'J',
                0,
                &9_i64.to_le_bytes(),
            ),
            entry("java.property.java.vm.version", b'B', 8, b"17.0.15\0"),
        ];
        let mut bytes = vec![0xca, 0xfe, 0xc0, 0xc0, 1, 2, 0, 1];
        bytes.resize(24, 0);
        bytes.extend(32_u32.to_le_bytes());
        bytes.extend((entries.len() as u32).to_le_bytes());
        bytes.extend(entries.concat());
        bytes
    }

    #[test]
    fn numbers_and_texts_are_read() {
        let counters = parse(&file()).expect("is one");
        assert_eq!(counters.heap("used"), Some(307));
        assert_eq!(counters.heap("capacity"), None);
        assert_eq!(
            counters.text("java.property.java.vm.version"),
            Some("17.0.15")
        );
        assert_eq!(counters.number("sun.gc.generation.1.used.more"), Some(9));
        assert_eq!(parse(b"something else that is long enough to be one"), None);
    }

    proptest! {
        /// Damage never does more than shorten the list.
        #[test]
        fn damage_is_survived(at in 0_usize..200, byte: u8, length in 0_usize..250) {
            let mut bytes = file();
            let end = length.min(bytes.len());
            if let Some(place) = bytes.get_mut(at) {
                *place = byte;
            }
            if let Some(counters) = parse(&bytes[..end]) {
                prop_assert!(counters.numbers.len() <= 4);
            }
        }
    }
}
