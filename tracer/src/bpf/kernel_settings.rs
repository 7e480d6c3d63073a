//! What a trace of the kernel's memory asks for, and how the programs are told.

use tracer_common::kernel_memory::{ANY, KernelConfig, NAME_WORDS, NO_KMALLOC, What};

use super::kernel_offsets::Layout;
use super::sys;

/// The only slab cache to follow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheFilter {
    /// By its name.
    Named(String),
    /// A class of `kmalloc`.
    Kmalloc(What),
}

/// What a trace of the kernel's memory asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KernelSettings {
    /// Mean bytes between two samples; `None` traces every block.
    pub sample_bytes: Option<u64>,
    /// Smaller blocks are not tracked.
    pub min_size: u64,
    /// Most live blocks tracked.
    pub max_live: u32,
    /// Follow the slab allocator.
    pub slab: bool,
    /// Follow the page allocator.
    pub pages: bool,
    /// Follow the per-CPU allocator.
    pub percpu: bool,
    /// The only cache to follow.
    pub cache: Option<CacheFilter>,
    /// The only order of pages to follow.
    pub order: Option<u32>,
    /// Also follow movable pages.
    pub movable: bool,
}

pub(super) fn config(settings: &KernelSettings, layout: &Layout) -> KernelConfig {
    let mut config = KernelConfig {
        sample_bytes: settings.sample_bytes.unwrap_or(0),
        min_size: settings.min_size,
        tick_ns: sys::tick_ns(),
        order: settings.order.unwrap_or(ANY),
        movable: u32::from(settings.movable),
        ..layout.config
    };
    match &settings.cache {
        None => {}
        Some(CacheFilter::Kmalloc(what)) => {
            config.kmalloc = what.0;
            // No cache has this name.
            config.cache_name = name_words("/");
        }
        Some(CacheFilter::Named(name)) => {
            config.kmalloc = NO_KMALLOC;
            config.cache_name = name_words(name);
        }
    }
    config
}

/// The beginning of a name as the programs keep it: cut to what has room, and ended by a zero.
fn name_words(name: &str) -> [u64; NAME_WORDS] {
    let mut words = [0; NAME_WORDS];
    let bytes = name.bytes().take(NAME_WORDS * 8 - 1);
    for (index, byte) in bytes.enumerate() {
        words[index / 8] |= u64::from(byte) << (8 * (index % 8));
    }
    words
}

/// The name that the programs have kept.
pub(super) fn name_of(words: &[u64; NAME_WORDS]) -> String {
    let bytes: Vec<u8> = words
        .iter()
        .flat_map(|word| word.to_le_bytes())
        .take_while(|byte| *byte != 0)
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_kept_as_the_programs_keep_them() {
        for name in ["", "filp", "eightlet", "kmalloc-cg-192"] {
            assert_eq!(name_of(&name_words(name)), name);
        }
        let long = "a_name_that_is_longer_than_what_there_is_room_for";
        assert_eq!(name_of(&name_words(long)), long[..31]);
    }
}
