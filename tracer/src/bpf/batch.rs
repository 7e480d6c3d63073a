//! Hash maps, read and cleared in batches.

use std::io;
use std::marker::PhantomData;
use std::os::fd::BorrowedFd;

use zerocopy::{FromBytes, IntoBytes};

use super::sys::{self, BatchCursor};

/// Elements read by one system call.
const BATCH: usize = 4096;

/// A hash map in the kernel, from `K` to `V`.
pub struct HashTable<'a, K, V> {
    map: BorrowedFd<'a>,
    elements: PhantomData<(K, V)>,
}

impl<'a, K: FromBytes + IntoBytes + Copy, V: FromBytes + Copy> HashTable<'a, K, V> {
    /// A view of a hash map.
    ///
    /// # Errors
    /// If its keys or values have another size.
    pub fn new(map: BorrowedFd<'a>) -> io::Result<Self> {
        let info = sys::map_info(map)?;
        if (info.key_size as usize, info.value_size as usize) != (size_of::<K>(), size_of::<V>()) {
            return Err(io::Error::other("its keys or values have another size"));
        }
        Ok(Self {
            map,
            elements: PhantomData,
        })
    }

    /// Calls `visit` once for each element. Those that come and go meanwhile may be missed.
    ///
    /// # Errors
    /// If the kernel refuses to read the map.
    pub fn for_each(&self, mut visit: impl FnMut(&K, &V)) -> io::Result<()> {
        let mut cursor = BatchCursor::default();
        let mut keys = vec![K::new_zeroed(); BATCH];
        let mut values = vec![V::new_zeroed(); BATCH];
        loop {
            // SAFETY: the map has keys and values of these sizes, and these take any bytes.
            let step = unsafe { sys::lookup_batch(self.map, &mut cursor, &mut keys, &mut values) }?;
            for (key, value) in keys.iter().zip(&values).take(step.count) {
                visit(key, value);
            }
            if step.done {
                return Ok(());
            }
        }
    }

    /// Removes elements; absent ones are passed over.
    ///
    /// # Errors
    /// If the kernel refuses to change the map.
    pub fn remove(&self, keys: &[K]) -> io::Result<()> {
        // SAFETY: the map has keys of this size.
        unsafe { sys::delete_batch(self.map, keys) }
    }
}
