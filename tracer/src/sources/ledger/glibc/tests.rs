//! The reader of glibc's heap against made-up images: whole ones of every layout, and damaged ones.

use proptest::prelude::*;

use super::image::Image;
use super::*;
use crate::sources::ledger::memory::PAGE;

const DATA: u64 = 0x7f00_1000_0000;
const MAIN: u64 = DATA + 0xc60;
const PARAMS: u64 = DATA + 0x1800;
const BRK: u64 = 0x5555_0000_0000;
const THREADS: u64 = 0x7f20_0000_0000;
const HEAP: u64 = 64 << 20;

/// How a version of glibc lays things out.
#[derive(Clone, Copy, Debug)]
struct Version {
    /// From an arena's start to its bins.
    bins: u64,
    /// Bytes of a heap's record.
    record: u64,
    /// The counters of mapped blocks come after another number.
    new_params: bool,
    /// Links are mixed with their addresses.
    mixed: bool,
    /// Chunk of a thread cache, and its bins.
    cache: (u64, u64),
}

const V2_31: Version = Version {
    bins: 112,
    record: 32,
    new_params: false,
    mixed: false,
    cache: (0x290, 64),
};
const V2_36: Version = Version {
    bins: 112,
    record: 48,
    new_params: true,
    mixed: true,
    cache: (0x290, 64),
};
const V2_42: Version = Version {
    cache: (0x300, 76),
    ..V2_36
};
const V2_43: Version = Version { bins: 24, ..V2_42 };
const VERSIONS: [Version; 4] = [V2_31, V2_36, V2_42, V2_43];

/// A chunk to be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Made {
    size: u64,
    used: bool,
}

const fn used(size: u64) -> Made {
    Made { size, used: true }
}

const fn free(size: u64) -> Made {
    Made { size, used: false }
}

impl Version {
    const fn arena_size(self) -> u64 {
        self.bins + 2088
    }

    /// Writes an arena whose bins are all empty.
    fn put_arena(self, image: &mut Image, at: u64, top: u64, system: u64, next: u64) {
        let bins = at + self.bins;
        image.put(bins - 16, top);
        for bin in 0..127 {
            image.put(bins + bin * 16, bins + bin * 16 - 16);
            image.put(bins + bin * 16 + 8, bins + bin * 16 - 16);
        }
        image.put(bins + 2048, next);
        image.put(bins + 2064, 1);
        image.put(bins + 2072, system);
        image.put(bins + 2080, system);
    }

    /// Writes chunks and a top that reaches to `end`; the top's address.
    fn put_chunks(
        self,
        image: &mut Image,
        first: u64,
        end: u64,
        chunks: &[Made],
        main: bool,
    ) -> u64 {
        let arena_bit = if main { 0 } else { 4 };
        let (mut at, mut before) = (first, used(0));
        for chunk in chunks.iter().copied().chain([used(0)]) {
            let is_top = chunk.size == 0;
            let size = if is_top { end - at } else { chunk.size };
            let mut bits = u64::from(before.used);
            if chunk.used && !is_top {
                bits |= arena_bit;
            }
            if !before.used {
                image.put(at, before.size);
            }
            image.put(at + 8, size | bits);
            before = chunk;
            if is_top {
                break;
            }
            at += size;
        }
        at
    }

    fn put_params(self, image: &mut Image, brk: u64, blocks: u64, bytes: u64) {
        // n_mmaps, n_mmaps_max, max_n_mmaps, no_dyn_threshold, as halves of words.
        let numbers = [blocks, 65_536, blocks + 3, 1];
        let at = PARAMS + 0x100;
        if self.new_params {
            image.put(at - 40, numbers[0] << 32);
            image.put(at - 32, numbers[1] | numbers[2] << 32);
            image.put(at - 24, numbers[3]);
        } else {
            image.put(at - 32, numbers[0] | numbers[1] << 32);
            image.put(at - 24, numbers[2] | numbers[3] << 32);
        }
        image.put(at - 16, bytes);
        image.put(at - 8, bytes + PAGE);
        image.put(at, brk);
        image.put(at + 8, 64);
        image.put(at + 16, 1032);
        image.put(at + 24, if self.cache.1 == 64 { 7 } else { 16 });
    }

    fn link(self, at: u64, to: u64) -> u64 {
        if self.mixed { to ^ (at >> 12) } else { to }
    }

    /// A process with a main arena of these chunks.
    fn process(self, chunks: &[Made]) -> Image {
        let mut image = Image::default();
        image.map(DATA, DATA + 0x2000, "");
        let total: u64 = chunks.iter().map(|chunk| chunk.size).sum();
        let end = (BRK + total + 0x8000).next_multiple_of(PAGE);
        image.map(BRK, end, "[heap]");
        let top = self.put_chunks(&mut image, BRK, end, chunks, true);
        self.put_arena(&mut image, MAIN, top, end - BRK, MAIN);
        self.put_params(&mut image, BRK, 2, 0x5000);
        image
    }

    /// Adds a thread's arena of two heaps, each with these chunks; the first one ends with fences.
    fn add_thread(self, image: &mut Image, chunks: &[Made]) {
        let (first, second) = (THREADS, THREADS + HEAP);
        let size = 0x10_0000;
        let arena = first + self.record;
        for (start, before) in [(first, 0), (second, first)] {
            image.map(start, start + size, "");
            for (index, word) in [arena, before, size, size].into_iter().enumerate() {
                image.put(start + index as u64 * 8, word);
            }
        }
        let begin = (arena + self.arena_size()).next_multiple_of(16);
        let total: u64 = chunks.iter().map(|chunk| chunk.size).sum();
        // What is left of the first heap is one free chunk and the fences.
        let mut all = chunks.to_vec();
        let rest = first + size - 32 - begin - total;
        all.push(free(rest));
        let end = self.put_chunks(image, begin, first + size, &all, false);
        image.put(end, rest);
        image.put(end + 8, 16);
        image.put(end + 24, 1);
        let top = self.put_chunks(image, second + self.record, second + size, chunks, false);
        self.put_arena(image, arena, top, 2 * size, MAIN);
        image.put(MAIN + self.bins + 2048, arena);
    }
}

fn data() -> [(u64, u64); 1] {
    [(DATA, DATA + 0x2000)]
}

#[test]
fn every_layout_is_read_to_the_byte() {
    let chunks = [
        used(32),
        free(0x5000),
        used(48),
        used(0x290),
        free(64),
        used(160),
    ];
    for version in VERSIONS {
        let mut image = version.process(&chunks);
        version.add_thread(&mut image, &chunks);
        let heap = read(&mut image, &data()).expect("is found");
        assert_eq!(heap.arenas.len(), 2, "{version:?}");
        let [main, thread] = &heap.arenas[..] else {
            panic!("not two arenas");
        };
        assert_eq!((main.trouble, thread.trouble), (None, None), "{version:?}");
        let tally = main.tally;
        assert_eq!((tally.used, tally.used_chunks), (32 + 48 + 0x290 + 160, 4));
        assert_eq!((tally.free, tally.free_chunks), (0x5000 + 64, 2));
        assert_eq!(tally.largest, [0x5000, 64, 0, 0, 0]);
        assert_eq!(tally.total(), main.system, "{version:?}");
        assert_eq!((tally.fences, main.not_walked()), (0, 0));
        let tally = thread.tally;
        assert_eq!(tally.used, 2 * (32 + 48 + 0x290 + 160));
        assert_eq!(tally.total(), thread.system, "{version:?}");
        assert_eq!((thread.pieces.len(), tally.unknown), (2, 0));
        let params = heap.params.expect("are found");
        assert_eq!((params.mapped_blocks, params.mapped_bytes), (2, 0x5000));
        assert_eq!(params.brk_start, BRK);
    }
}

/// `top` and `last_remainder` look like one more head of a list.
#[test]
fn a_last_remainder_does_not_shift_the_layout() {
    for version in VERSIONS {
        let mut image = version.process(&[used(32), free(64), used(32)]);
        version.add_thread(&mut image, &[used(32), free(64), used(32)]);
        for arena in [MAIN, THREADS + version.record] {
            let bins = arena + version.bins;
            image.put(bins - 8, BRK + 32);
            image.put(bins, BRK + 32);
            image.put(bins + 8, BRK + 32);
        }
        let heap = read(&mut image, &data()).expect("is found");
        assert_eq!(heap.arenas.len(), 2, "{version:?}");
        assert_eq!(heap.arenas[0].tally.free, 64);
    }
}

/// Chunks in a thread's cache and in a fast bin are free, though the heap says that they are used.
#[test]
fn cached_chunks_are_not_in_use() {
    for version in VERSIONS {
        let (cache_size, bins) = version.cache;
        let chunks = [
            used(cache_size),
            used(48),
            used(48),
            used(64),
            used(80),
            used(80),
            used(32),
        ];
        let mut image = version.process(&chunks);
        let (cache, one) = (BRK + 16, BRK + cache_size + 16);
        let two = one + 48;
        let heads = cache + bins * 2;
        // Two chunks of 48 bytes: bin 1. Old caches count them, new ones the places left.
        image.put(
            cache,
            if bins == 64 {
                2 << 16
            } else {
                0x0010_0010_000e_0010
            },
        );
        image.put(heads + 8, two);
        image.put(two, version.link(two, one));
        image.put(two + 8, 0x1234_5678_9abc_def0);
        image.put(one, version.link(one, 0));
        let fast = one + 48 + 48 + 64;
        if version.bins == 112 {
            // Two chunks of 80 bytes: fast bin 3, which links chunks.
            image.put(MAIN + 16 + 3 * 8, fast - 16);
            image.put(fast, version.link(fast, fast + 80 - 16));
            image.put(fast + 80, version.link(fast + 80, 0));
        }
        let heap = read(&mut image, &data()).expect("is found");
        let main = &heap.arenas[0];
        assert_eq!(
            (heap.caches, main.cached.bytes, main.cached.chunks),
            (1, 96, 2),
            "{version:?}"
        );
        let in_fast = if version.bins == 112 { 160 } else { 0 };
        assert_eq!(
            (main.fast.bytes, main.fast.cut),
            (in_fast, false),
            "{version:?}"
        );
        let all: u64 = chunks.iter().map(|chunk| chunk.size).sum();
        assert_eq!(main.in_use(), all - 96 - in_fast);
    }
}

/// A list that bites its tail ends, and says that it was cut.
#[test]
fn a_list_in_a_circle_ends() {
    let mut image = V2_36.process(&[used(80), used(80), used(32)]);
    let (one, two) = (BRK + 16, BRK + 96);
    image.put(MAIN + 16 + 3 * 8, one - 16);
    image.put(one, V2_36.link(one, two - 16));
    image.put(two, V2_36.link(two, one - 16));
    let heap = read(&mut image, &data()).expect("is found");
    assert!(heap.arenas[0].fast.cut);
}

/// Memory that was given back is free and not there; what is there can be given back.
#[test]
fn pages_that_are_not_there_are_told() {
    let mut image = V2_36.process(&[used(32), free(0x9000), used(32)]);
    for page in [1, 2, 3, 4, 5, 6, 7, 8, 9, 11] {
        image.put(BRK + page * PAGE, 0);
    }
    // Nine pages have a free byte, but the top's first is not trimmed.
    let before = read(&mut image, &data()).expect("is found").arenas[0].tally;
    assert_eq!(
        before.trimmable,
        0x8000 + PAGE,
        "eight pages of the chunk and one of the top"
    );
    image.drop_pages(BRK + 2 * PAGE, BRK + 5 * PAGE);
    let after = read(&mut image, &data()).expect("is found").arenas[0].tally;
    assert_eq!(after.free_untouched - before.free_untouched, 3 * PAGE);
    assert_eq!(before.trimmable - after.trimmable, 3 * PAGE);
    assert_eq!(before.free, after.free);
}

/// One overwritten header costs the bytes up to the next chunks that make sense, not the walk.
#[test]
fn a_damaged_chunk_is_passed_over() {
    let chunks: Vec<Made> = (0..4000_u64)
        .map(|index| used(32 + index % 7 * 16))
        .collect();
    let mut image = V2_36.process(&chunks);
    let victim: u64 = chunks[..2000].iter().map(|chunk| chunk.size).sum();
    image.put(BRK + victim + 8, 0x4141_4141_4141_4141);
    let heap = read(&mut image, &data()).expect("is found");
    let main = &heap.arenas[0];
    assert_eq!(main.trouble, None);
    assert_eq!(main.tally.total(), main.system);
    assert_eq!(main.tally.unknown, chunks[2000].size);
}

#[test]
fn a_heap_that_was_never_used_has_no_chunks() {
    let mut image = Image::default();
    image.map(DATA, DATA + 0x2000, "");
    let version = V2_36;
    version.put_arena(&mut image, MAIN, MAIN + version.bins - 16, 0, MAIN);
    let heap = read(&mut image, &data()).expect("is found");
    assert_eq!(heap.arenas[0].tally, Tally::default());
    let mut empty = Image::default();
    empty.map(DATA, DATA + 0x2000, "");
    assert_eq!(read(&mut empty, &data()), Err(NotFound::NoPattern));
}

/// Somebody else moved the end of the data: the arena goes on behind a fence.
#[test]
fn the_main_arena_goes_on_behind_a_gap() {
    let version = V2_36;
    let mut image = Image::default();
    image.map(DATA, DATA + 0x2000, "");
    let (gap, on, end) = (BRK + 0x1000, BRK + 0x3010, BRK + 0x8000);
    image.map(BRK, end, "[heap]");
    let chunks = [used(0x40), free(0xfa0)];
    version.put_chunks(&mut image, BRK, gap, &chunks, true);
    image.put(gap - 32, 0xfa0);
    image.put(gap - 24, 16);
    image.put(gap - 8, 17);
    let more: Vec<Made> = (0..40).map(|_| used(48)).collect();
    let top = version.put_chunks(&mut image, on, end, &more, true);
    version.put_arena(&mut image, MAIN, top, end - BRK, MAIN);
    let heap = read(&mut image, &data()).expect("is found");
    let tally = heap.arenas[0].tally;
    assert_eq!(heap.arenas[0].trouble, None);
    assert_eq!(
        (tally.used, tally.free, tally.fences),
        (0x40 + 40 * 48, 0xfa0, 32)
    );
    assert_eq!((tally.unknown, tally.total()), (on - gap, end - BRK));
}

#[test]
fn blocks_with_own_mappings_are_told_apart_from_their_neighbours() {
    let mut image = Image::default();
    let start = 0x7f00_0000_0000;
    image.put(start + 8, 0x5000 | 2);
    // glibc 2.43 leaves the header out.
    image.put(start + 0x5008, (0x3000 - 16) | 2);
    image.put(start + 0x8008, 0x3000 | 1);
    let end = start + 0x10000;
    let blocks = mapped_blocks(&mut image, start, end).expect("readable");
    assert_eq!(
        blocks,
        [(start, start + 0x5000), (start + 0x5000, start + 0x8000)]
    );
    assert_eq!(
        mapped_blocks(&mut image, start, start + 0x4000),
        Ok(Vec::new())
    );
    assert_eq!(
        mapped_blocks(&mut image, start + 0x8000, end),
        Ok(Vec::new())
    );
}

fn chunks() -> impl Strategy<Value = Vec<Made>> {
    let chunk = (2_u64..600, any::<bool>());
    proptest::collection::vec(chunk, 1..200).prop_map(|chunks| {
        let mut before = used(0);
        let made = chunks.into_iter().map(|(units, is_used)| {
            // Two free neighbours would have been one.
            let chunk = Made {
                size: units * 16,
                used: is_used || !before.used,
            };
            before = chunk;
            chunk
        });
        let mut made: Vec<Made> = made.collect();
        // The chunk before the top is never free.
        if let Some(last) = made.last_mut() {
            last.used = true;
        }
        made
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever the chunks, each is counted once, as what it is.
    #[test]
    fn any_heap_is_counted_to_the_byte(chunks in chunks(), version in 0_usize..4) {
        let mut image = VERSIONS[version].process(&chunks);
        let heap = read(&mut image, &data()).expect("is found");
        let main = &heap.arenas[0];
        let sum = |wanted: bool| -> u64 {
            chunks.iter().filter(|chunk| chunk.used == wanted).map(|chunk| chunk.size).sum()
        };
        prop_assert_eq!(main.trouble, None);
        prop_assert_eq!(main.tally.used, sum(true));
        prop_assert_eq!(main.tally.free, sum(false));
        prop_assert_eq!(main.tally.total(), main.system);
    }

    /// Whatever is overwritten, the reading ends, and counts no byte twice.
    #[test]
    fn damage_never_does_more_than_hide(
        chunks in chunks(),
        version in 0_usize..4,
        damage in proptest::collection::vec((any::<u32>(), any::<u64>(), 0_u32..64), 1..40),
    ) {
        let mut image = VERSIONS[version].process(&chunks);
        VERSIONS[version].add_thread(&mut image, &chunks[..chunks.len().min(50)]);
        let pages = image.page_starts();
        for (place, word, shift) in damage {
            let page = pages[place as usize / 512 % pages.len()];
            image.put(page + u64::from(place % 512) * 8, word >> shift);
        }
        let Ok(heap) = read(&mut image, &data()) else { return Ok(()) };
        for arena in &heap.arenas {
            let room: u64 = arena.pieces.iter().map(|piece| piece.1 - piece.0).sum();
            prop_assert!(arena.tally.total() <= room + 64, "{:?} in {room}", arena.tally);
        }
    }
}
