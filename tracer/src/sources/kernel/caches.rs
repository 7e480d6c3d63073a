//! The slab caches: their names as the kernel lists them, and how they have grown.

use std::collections::HashMap;

use anyhow::Result;
use tracer_common::kernel_memory::{Decoded, Flavour, PAGE, What};

use crate::bpf::CacheFilter;
use crate::process::slabinfo::{self, SlabCache};
use crate::profile::{SlabCache as GrownCache, SlabGrowth};

/// Names of `kmalloc` caches begin with this, of each flavour.
const PREFIXES: [(Flavour, &str); 4] = [
    (Flavour::Accounted, "kmalloc-cg-"),
    (Flavour::Reclaimable, "kmalloc-rcl-"),
    (Flavour::Dma, "dma-kmalloc-"),
    (Flavour::Normal, "kmalloc-"),
];
/// Where each place in the code has one of several copies (CONFIG_RANDOM_KMALLOC_CACHES), they are called
/// "kmalloc-rnd-05-64".
const RANDOM: &str = "kmalloc-rnd-";
/// Larger objects come from the page allocator.
const LARGEST_KMALLOC: u64 = 8192;

/// The caches of the running kernel.
#[derive(Debug, Default)]
pub struct Caches {
    /// As they were at the start, by their name in reports.
    before: HashMap<String, SlabCache>,
    /// Names that `kmalloc` caches have on this kernel.
    kmalloc: Vec<String>,
    /// The cache that is followed, by its name in reports; `None` for all.
    only: Option<String>,
    /// What the user has to know about the names.
    notes: Vec<String>,
}

impl Caches {
    /// Reads the names.
    pub fn new() -> Result<Self> {
        let caches = slabinfo::read()?;
        let kmalloc = caches.iter().map(|cache| name_in_reports(&cache.name));
        let kmalloc = kmalloc.filter(|name| name.contains("kmalloc-")).collect();
        Ok(Self {
            kmalloc,
            ..Self::default()
        })
    }

    /// The filter for one cache; `None` if there is none of that name.
    pub fn filter(&mut self, name: &str) -> Option<CacheFilter> {
        let caches = slabinfo::read().ok()?;
        if let Some(what) = kmalloc_class(name)
            && self.kmalloc.iter().any(|known| known == name)
        {
            self.only = Some(name.to_owned());
            return Some(CacheFilter::Kmalloc(what));
        }
        let found = slabinfo::representative(name, &caches)?;
        if found != name {
            self.notes.push(format!(
                "the kernel keeps {name} in the cache {found}, together with all others of that size and kind"
            ));
        }
        self.only = Some(name_in_reports(&found));
        Some(CacheFilter::Named(found))
    }

    /// Sentences about the names.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// From here on growth counts.
    pub fn begin(&mut self) {
        self.before = by_name(slabinfo::read().unwrap_or_default());
    }

    /// The name of what a stack has allocated.
    pub fn name(&self, what: What, seen: &HashMap<u64, (String, u32)>) -> String {
        match what.decode() {
            Decoded::Cache(address) => match seen.get(&address) {
                Some((name, _)) if !name.is_empty() => name.clone(),
                _ => format!("cache at {address:#x}"),
            },
            Decoded::Kmalloc { bytes, .. } if bytes > LARGEST_KMALLOC => {
                format!("kmalloc of {} pages", bytes.div_ceil(PAGE))
            }
            Decoded::Kmalloc { bytes, flavour } => self.kmalloc_name(bytes, flavour),
            Decoded::Pages { order } => format!("pages of order {order}"),
            Decoded::PerCpu => "per-CPU memory".to_owned(),
        }
    }

    /// Where the kernel has no caches of the flavour it takes the normal ones.
    fn kmalloc_name(&self, bytes: u64, flavour: Flavour) -> String {
        let size = match bytes {
            bytes if bytes >= 1024 && bytes.is_multiple_of(1024) => format!("{}k", bytes / 1024),
            bytes => bytes.to_string(),
        };
        let prefix = PREFIXES.iter().find(|(known, _)| *known == flavour);
        let name = prefix.map(|(_, prefix)| format!("{prefix}{size}"));
        name.filter(|name| self.kmalloc.contains(name))
            .unwrap_or_else(|| format!("kmalloc-{size}"))
    }

    /// The caches that are followed and have grown since the start, the most first; `None` where the kernel's count
    /// cannot be read. `held` is what stacks hold of each, by name; `None` where slab objects are not followed.
    pub fn growth(&self, held: impl Fn(&str) -> Option<u64>) -> Option<SlabGrowth> {
        if self.before.is_empty() {
            return None;
        }
        let mut now = by_name(slabinfo::read().unwrap_or_default());
        now.retain(|name, _| self.only.as_ref().is_none_or(|only| only == name));
        Some(growth(&self.before, now, held))
    }
}

fn growth(
    before: &HashMap<String, SlabCache>,
    now: HashMap<String, SlabCache>,
    held: impl Fn(&str) -> Option<u64>,
) -> SlabGrowth {
    let mut grown = SlabGrowth::default();
    for (name, cache) in now {
        let (objects, bytes) = before
            .get(&name)
            .map_or((0, 0), |cache| (cache.objects, cache.bytes));
        if cache.bytes <= bytes {
            continue;
        }
        let by = cache.bytes - bytes;
        let held_bytes = held(&name);
        grown.bytes += by;
        grown.explained_bytes += held_bytes.unwrap_or(0).min(by);
        grown.caches.push(GrownCache {
            objects: cache.objects,
            objects_change: cache.objects.cast_signed() - objects.cast_signed(),
            bytes: cache.bytes,
            bytes_change: by.cast_signed(),
            held_bytes,
            name,
        });
    }
    grown.caches_total = grown.caches.len();
    grown.caches.sort_by(|one, other| {
        other
            .bytes_change
            .cmp(&one.bytes_change)
            .then_with(|| one.name.cmp(&other.name))
    });
    grown
}

/// Caches by their name in reports; copies of one cache are added up.
fn by_name(caches: Vec<SlabCache>) -> HashMap<String, SlabCache> {
    let mut named: HashMap<String, SlabCache> = HashMap::new();
    for cache in caches {
        let name = name_in_reports(&cache.name);
        match named.get_mut(&name) {
            Some(known) => {
                known.objects += cache.objects;
                known.bytes += cache.bytes;
            }
            None => drop(named.insert(name, cache)),
        }
    }
    named
}

/// "kmalloc-64" for "kmalloc-rnd-05-64".
fn name_in_reports(name: &str) -> String {
    let size = name
        .strip_prefix(RANDOM)
        .and_then(|rest| rest.split_once('-'));
    match size {
        Some((_, size)) => format!("kmalloc-{size}"),
        None => name.to_owned(),
    }
}

/// The class of `kmalloc` that has this name.
fn kmalloc_class(name: &str) -> Option<What> {
    let (flavour, size) = PREFIXES
        .iter()
        .find_map(|(flavour, prefix)| Some((*flavour, name.strip_prefix(prefix)?)))?;
    let bytes = match size.strip_suffix('k') {
        Some(number) => number.parse::<u64>().ok()?.checked_mul(1024)?,
        None => size.parse().ok()?,
    };
    Some(What::kmalloc(bytes, flavour as u32))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caches() -> Caches {
        let kmalloc = ["kmalloc-64", "kmalloc-cg-64", "kmalloc-1k"];
        Caches {
            kmalloc: kmalloc.map(str::to_owned).to_vec(),
            ..Caches::default()
        }
    }

    #[test]
    fn names_are_those_of_the_kernels_list() {
        let seen = HashMap::from([(0xffff_8881_0004_2a00, ("filp".to_owned(), 192))]);
        let caches = caches();
        let name = |what| caches.name(what, &seen);
        assert_eq!(name(What(0xffff_8881_0004_2a00)), "filp");
        assert_eq!(
            name(What(0xffff_8881_0004_2b00)),
            "cache at 0xffff888100042b00"
        );
        assert_eq!(
            name(What::kmalloc(64, Flavour::Accounted as u32)),
            "kmalloc-cg-64"
        );
        assert_eq!(
            name(What::kmalloc(1024, Flavour::Accounted as u32)),
            "kmalloc-1k"
        );
        assert_eq!(name(What::kmalloc(96, 0)), "kmalloc-96");
        assert_eq!(name(What::kmalloc(16_384, 0)), "kmalloc of 4 pages");
        assert_eq!(name(What::pages(3)), "pages of order 3");
        assert_eq!(name_in_reports("kmalloc-rnd-05-64"), "kmalloc-64");
        assert_eq!(name_in_reports("kmalloc-rcl-64"), "kmalloc-rcl-64");
    }

    #[test]
    fn classes_are_found_by_name() {
        for name in ["kmalloc-64", "kmalloc-cg-64", "kmalloc-1k"] {
            let what = kmalloc_class(name).expect("a class");
            assert_eq!(caches().name(what, &HashMap::new()), name);
        }
        assert_eq!(
            kmalloc_class("kmalloc-rcl-8k"),
            Some(What::kmalloc(8192, 2))
        );
        for name in [
            "filp",
            "kmalloc-",
            "kmalloc-x",
            "kmalloc-99999999999999999999k",
        ] {
            assert_eq!(kmalloc_class(name), None, "{name}");
        }
    }

    fn cache(name: &str, objects: u64, bytes: u64) -> SlabCache {
        SlabCache {
            name: name.to_owned(),
            objects,
            object_size: 64,
            bytes,
        }
    }

    #[test]
    fn only_what_has_grown_is_told_and_no_more_than_that_is_explained() {
        let before = by_name(vec![
            cache("a", 10, 4096),
            cache("kmalloc-rnd-01-64", 1, 4096),
            cache("kmalloc-rnd-02-64", 1, 4096),
            cache("shrunk", 9, 8192),
        ]);
        let now = by_name(vec![
            cache("a", 90, 12_288),
            cache("kmalloc-rnd-01-64", 64, 8192),
            cache("kmalloc-rnd-02-64", 64, 8192),
            cache("shrunk", 1, 4096),
            cache("new", 1, 4096),
        ]);
        let held = |name: &str| (name != "new").then_some(if name == "a" { 1 << 20 } else { 100 });
        let grown = growth(&before, now, held);
        let rows = &grown.caches;
        let listed: Vec<_> = rows
            .iter()
            .map(|row| (row.name.as_str(), row.objects_change, row.bytes_change))
            .collect();
        assert_eq!(
            listed,
            [("a", 80, 8192), ("kmalloc-64", 126, 8192), ("new", 1, 4096)]
        );
        assert_eq!((grown.bytes, grown.explained_bytes), (20_480, 8192 + 100));
    }
}
