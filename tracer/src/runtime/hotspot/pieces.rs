//! Pieces of a process's memory, read many at a time.

use std::ops::Range;

use crate::process::memory::Reader;

/// Where pieces of memory come from. All of it is the traced program's and may hold anything.
pub trait Pieces {
    /// The content of each range, in their order, with its index; `None` where it cannot be read whole.
    fn each(&mut self, ranges: &[Range<u64>], take: &mut dyn FnMut(usize, Option<&[u8]>));

    /// The bytes of each range.
    fn bytes(&mut self, ranges: &[Range<u64>]) -> Vec<Option<Vec<u8>>> {
        let mut found = Vec::with_capacity(ranges.len());
        self.each(ranges, &mut |_, bytes| {
            found.push(bytes.map(<[u8]>::to_vec))
        });
        found
    }

    /// A word at each address; `None` also for address 0 and what no address can be.
    fn words(&mut self, addresses: &[Option<u64>]) -> Vec<Option<u64>> {
        let ranges: Vec<Range<u64>> = addresses.iter().map(|at| piece(*at, 8)).collect();
        let mut found = Vec::with_capacity(ranges.len());
        self.each(&ranges, &mut |_, bytes| {
            found.push(bytes.and_then(|bytes| number(bytes, 0, 8)));
        });
        found
    }

    /// A word.
    fn word(&mut self, address: u64) -> Option<u64> {
        self.words(&[Some(address)]).pop().flatten()
    }

    /// Text that ends with a zero at each address, as far as `most` bytes.
    fn texts(&mut self, addresses: &[u64], most: u64) -> Vec<Option<String>> {
        const PAGE: u64 = 4096;
        let whole: Vec<Range<u64>> = addresses.iter().map(|at| piece(Some(*at), most)).collect();
        let mut found: Vec<Option<String>> = Vec::with_capacity(whole.len());
        self.each(&whole, &mut |_, bytes| found.push(bytes.and_then(text)));
        // The page behind a text may not be there.
        for (at, text_of) in addresses.iter().zip(&mut found) {
            let left = PAGE - at % PAGE;
            if text_of.is_none() && left < most {
                self.each(&[piece(Some(*at), left)], &mut |_, bytes| {
                    *text_of = bytes.and_then(text);
                });
            }
        }
        found
    }
}

impl Pieces for Reader {
    fn each(&mut self, ranges: &[Range<u64>], take: &mut dyn FnMut(usize, Option<&[u8]>)) {
        Reader::each(self, ranges, take);
    }
}

/// So many bytes from an address on; one byte at 0, which nobody has, for none.
pub fn piece(address: Option<u64>, bytes: u64) -> Range<u64> {
    let is_user = |at: &u64| *at >= 4096 && *at < 1 << 47;
    match address.filter(is_user) {
        Some(at) => at..at + bytes,
        None => 0..1,
    }
}

fn text(bytes: &[u8]) -> Option<String> {
    let end = bytes.iter().position(|byte| *byte == 0)?;
    Some(String::from_utf8_lossy(&bytes[..end]).into_owned())
}

/// A number of so many bytes, at most 8, at an offset.
pub fn number(bytes: &[u8], offset: u64, width: u32) -> Option<u64> {
    let at = usize::try_from(offset).ok()?;
    let own = bytes.get(at..at.checked_add(width as usize)?)?;
    let mut word = [0; 8];
    word.get_mut(..own.len())?.copy_from_slice(own);
    Some(u64::from_le_bytes(word))
}
