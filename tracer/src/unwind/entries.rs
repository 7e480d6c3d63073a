//! The entries of `.eh_frame`, each read by itself, so that a bad one does not hide those behind it.

use gimli::{
    BaseAddresses, CommonInformationEntry, EhFrame, EhFrameHdr, EhFrameOffset,
    FrameDescriptionEntry, LittleEndian, Pointer, UnwindContext, UnwindSection,
};

use super::elf::Elf;
use crate::arch::Slice;

type Cie<'a> = CommonInformationEntry<Slice<'a>>;
pub(super) type Fde<'a> = FrameDescriptionEntry<Slice<'a>>;

/// Offsets of the frame description entries, found by the lengths of all entries alone. An error is the offset of an
/// entry that reaches beyond the section: nothing can be found behind it.
pub(super) struct Offsets<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Offsets<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// Where the entry's contents begin and end, the first 4 bytes telling its kind; `None` if they are not all there.
    fn contents(&self) -> Option<(usize, usize)> {
        let length = u32_at(self.bytes, self.at)?;
        let start = self.at + 4;
        let (start, length) = match length {
            // The 64-bit form; in this section the kind takes 4 bytes all the same (LSB 5, 10.6.1).
            u32::MAX => (start + 8, u64_at(self.bytes, start)?),
            length => (start, u64::from(length)),
        };
        let end = start.checked_add(usize::try_from(length).ok()?)?;
        (end <= self.bytes.len()).then_some((start, end))
    }
}

impl Iterator for Offsets<'_> {
    type Item = Result<usize, usize>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            // The section ends with an entry of length 0, or just so.
            if self.at >= self.bytes.len() || u32_at(self.bytes, self.at) == Some(0) {
                return None;
            }
            let offset = self.at;
            let Some((start, end)) = self.contents() else {
                self.at = self.bytes.len();
                return Some(Err(offset));
            };
            self.at = end;
            // Zero marks what the other entries refer to.
            if u32_at(&self.bytes[..end], start) != Some(0) {
                return Some(Ok(offset));
            }
        }
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u32::from_le_bytes(*bytes))
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.first_chunk()?;
    Some(u64::from_le_bytes(*bytes))
}

/// Reads entries of one file.
pub(super) struct Reader<'a> {
    pub(super) section: EhFrame<Slice<'a>>,
    pub(super) bases: BaseAddresses,
    pub(super) context: UnwindContext<usize>,
    /// What the entries of one object file have in common, read once for all of them.
    common: Option<(usize, Cie<'a>)>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(elf: &Elf<'a>) -> Self {
        let mut section = EhFrame::new(elf.frame.bytes, LittleEndian);
        section.set_vendor(elf.arch.vendor());
        Self {
            section,
            bases: BaseAddresses::default().set_eh_frame(elf.frame.address),
            context: UnwindContext::new(),
            common: None,
        }
    }

    /// The frame description entry at an offset in the section.
    pub(super) fn entry(&mut self, offset: usize) -> gimli::Result<Fde<'a>> {
        let common = &mut self.common;
        self.section
            .fde_from_offset(
                &self.bases,
                EhFrameOffset(offset),
                |section, bases, at| match common {
                    Some((known, cie)) if *known == at.0 => Ok(cie.clone()),
                    _ => {
                        let cie = section.cie_from_offset(bases, at)?;
                        *common = Some((at.0, cie.clone()));
                        Ok(cie)
                    }
                },
            )
    }
}

/// What `.eh_frame_hdr` says: the first address of each function, ascending, and the offset of its entry. `None` if
/// there is none, or it cannot be read.
pub(super) fn search_table(elf: &Elf<'_>) -> Option<Vec<(u64, usize)>> {
    let header = elf.header.as_ref()?;
    let bases = BaseAddresses::default()
        .set_eh_frame(elf.frame.address)
        .set_eh_frame_hdr(header.address);
    let parsed = EhFrameHdr::new(header.bytes, LittleEndian)
        .parse(&bases, 8)
        .ok()?;
    let table = parsed.table()?;
    let mut rows = table.iter(&bases);
    let mut found = Vec::new();
    while let Some(row) = rows.next().ok()? {
        let (Pointer::Direct(start), Pointer::Direct(entry)) = row else {
            return None;
        };
        let offset = entry.checked_sub(elf.frame.address)?;
        found.push((start, usize::try_from(offset).ok()?));
    }
    found.is_sorted_by_key(|(start, _)| *start).then_some(found)
}
