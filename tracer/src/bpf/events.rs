//! Ring buffers: records that the programs send.

use std::os::fd::{AsRawFd, RawFd};

use aya::Ebpf;
use aya::maps::{MapData, RingBuf};
use tracer_common::record::Record;

use super::error::LoadError;

/// A ring buffer of records of one type.
pub struct Events<T> {
    ring: RingBuf<MapData>,
    record: std::marker::PhantomData<T>,
}

impl<T> Events<T>
where
    T: Record,
{
    pub(super) fn take_from(ebpf: &mut Ebpf, name: &'static str) -> Result<Self, LoadError> {
        let map = ebpf.take_map(name);
        Ok(Self {
            ring: map
                .ok_or_else(|| LoadError::missing("map", name))?
                .try_into()?,
            record: std::marker::PhantomData,
        })
    }

    /// The next record; malformed ones are passed over.
    pub fn take_next(&mut self) -> Option<T> {
        loop {
            let item = self.ring.next()?;
            if let Some(record) = T::decode(&item) {
                return Some(record);
            }
        }
    }
}

impl<T> AsRawFd for Events<T> {
    fn as_raw_fd(&self) -> RawFd {
        self.ring.as_raw_fd()
    }
}
