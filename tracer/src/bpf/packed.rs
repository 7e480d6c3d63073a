//! The BPF objects as they lie in the binary: compressed by `build.rs`.

use std::io::Read;
use std::ops::Deref;

use flate2::read::GzDecoder;
use zerocopy::IntoBytes;

/// The bytes of an object, aligned as its headers want it.
pub struct Object {
    words: Vec<u64>,
    bytes: usize,
}

/// Unpacks an object. One that is damaged ends early, which the loader refuses.
pub fn unpacked(packed: &[u8]) -> Object {
    let mut bytes = Vec::new();
    // What came before the damage is told by the error of the loader.
    let _ = GzDecoder::new(packed).read_to_end(&mut bytes);
    let mut words = vec![0; bytes.len().div_ceil(size_of::<u64>())];
    words.as_mut_bytes()[..bytes.len()].copy_from_slice(&bytes);
    Object {
        words,
        bytes: bytes.len(),
    }
}

impl Deref for Object {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.words.as_bytes()[..self.bytes]
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::Compression;
    use flate2::write::GzEncoder;

    use super::*;

    #[test]
    fn what_was_packed_is_there_and_aligned() -> std::io::Result<()> {
        let bytes: Vec<u8> = (0..=255).cycle().take(1_003).collect();
        let mut packed = GzEncoder::new(Vec::new(), Compression::best());
        packed.write_all(&bytes)?;
        let packed = packed.finish()?;
        let object = unpacked(&packed);
        assert_eq!(&object[..], &bytes[..]);
        assert!(object.as_ptr().addr().is_multiple_of(align_of::<u64>()));
        assert!(unpacked(&packed[..packed.len() / 2]).len() < bytes.len());
        assert!(unpacked(b"none").is_empty());
        Ok(())
    }
}
