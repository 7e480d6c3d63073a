//! The slab caches of the kernel as it counts them itself, and the names that share one cache.

use std::fs;
use std::io;
use std::path::Path;

use super::ProcessError;

const SLABINFO: &str = "/proc/slabinfo";
const SYSFS: &str = "/sys/kernel/slab";

/// One cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlabCache {
    /// Its name.
    pub name: String,
    /// Objects that are allocated. A CPU's own slabs count as allocated altogether.
    pub objects: u64,
    /// Bytes that an object takes.
    pub object_size: u64,
    /// Bytes of all its slabs.
    pub bytes: u64,
}

/// Reads all caches.
///
/// # Errors
/// [`ProcessError`] without root, or where the text is not as expected.
pub fn read() -> Result<Vec<SlabCache>, ProcessError> {
    let text = fs::read_to_string(SLABINFO).map_err(|source| match source.kind() {
        io::ErrorKind::PermissionDenied => ProcessError::Denied {
            path: SLABINFO.into(),
        },
        _ => ProcessError::Io {
            path: SLABINFO.into(),
            source,
        },
    })?;
    parse(&text, page_size()).map_err(|what| ProcessError::Malformed {
        path: SLABINFO.into(),
        what,
    })
}

fn page_size() -> u64 {
    procfs::page_size()
}

/// `NAME ACTIVE_OBJS NUM_OBJS OBJSIZE OBJPERSLAB PAGESPERSLAB : tunables ... : slabdata ACTIVE_SLABS NUM_SLABS
/// SHAREDAVAIL` (slabinfo(5), version 2.1).
fn parse(text: &str, page: u64) -> Result<Vec<SlabCache>, String> {
    let lines = text
        .lines()
        .filter(|line| !line.starts_with("slabinfo ") && !line.starts_with('#'));
    lines
        .map(|line| parse_line(line, page).ok_or_else(|| line.to_owned()))
        .collect()
}

fn parse_line(line: &str, page: u64) -> Option<SlabCache> {
    let mut parts = line.split(" : ");
    let words: Vec<&str> = parts.next()?.split_whitespace().collect();
    // Names may have blanks, numbers have none: the name is what stands before the last five.
    let (name, numbers) = words.split_at_checked(words.len().checked_sub(5)?)?;
    let number = |index: usize| numbers.get(index)?.parse::<u64>().ok();
    let slabs: u64 = parts
        .find_map(|part| part.trim().strip_prefix("slabdata"))?
        .split_whitespace()
        .nth(1)?
        .parse()
        .ok()?;
    Some(SlabCache {
        name: name.join(" "),
        objects: number(0)?,
        object_size: number(2)?,
        bytes: slabs.checked_mul(number(4)?)?.checked_mul(page)?,
    })
}

/// The name under which the kernel counts the cache that others call `name`: caches of one size and kind share their
/// memory, and only the first one's name is in the list. `None` if there is no cache of that name.
pub fn representative(name: &str, caches: &[SlabCache]) -> Option<String> {
    let known = |name: &str| caches.iter().any(|cache| cache.name == name);
    if known(name) {
        return Some(name.to_owned());
    }
    // The name would leave the folder.
    if name.contains('/') || name.starts_with('.') {
        return None;
    }
    let target = fs::read_link(Path::new(SYSFS).join(name)).ok()?;
    let shared = |cache: &&SlabCache| {
        fs::read_link(Path::new(SYSFS).join(&cache.name)).is_ok_and(|other| other == target)
    };
    caches.iter().find(shared).map(|cache| cache.name.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
slabinfo - version: 2.1
# name            <active_objs> <num_objs> <objsize> <objperslab> <pagesperslab> : tunables <limit>
filp                 735    756    192   21    1 : tunables    0    0    0 : slabdata     36     36      0
dma-kmalloc-8k         0      0   8192    4    8 : tunables    0    0    0 : slabdata      0      0      0
";

    #[test]
    fn caches_are_read() {
        let caches = parse(TEXT, 4096).expect("two lines");
        let filp = SlabCache {
            name: "filp".to_owned(),
            objects: 735,
            object_size: 192,
            bytes: 36 * 4096,
        };
        assert_eq!(caches[0], filp);
        assert_eq!(caches[1].bytes, 0);
        assert_eq!(caches.len(), 2);
    }

    #[test]
    fn what_is_no_line_is_named() {
        for line in ["filp 1 2 3", "filp 1 2 3 4 5 : slabdata", ""] {
            let text = format!("{TEXT}{line}\n");
            assert_eq!(parse(&text, 4096), Err(line.to_owned()));
        }
    }

    #[test]
    fn names_outside_the_folder_are_none() {
        let caches = parse(TEXT, 4096).expect("two lines");
        assert_eq!(representative("filp", &caches), Some("filp".to_owned()));
        for name in ["../slab/filp", ".", "no-such-cache"] {
            assert_eq!(representative(name, &caches), None);
        }
    }
}
