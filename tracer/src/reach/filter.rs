//! Words that may be addresses of blocks, out of all words of a process's memory.

use super::index::Span;

/// Appends the places of the words that lie in the span and outside of its hole.
pub fn filter(words: &[u64], span: &Span, places: &mut Vec<u32>) {
    #[cfg(target_arch = "x86_64")]
    if std::is_x86_feature_detected!("avx2") {
        // SAFETY: the CPU has AVX2.
        unsafe { avx2(words, span, places) };
        return;
    }
    scalar(words, span, places, 0);
}

/// Whether a word lies in the span and outside of its hole.
fn may_be_one(word: u64, span: &Span) -> bool {
    let [all, hole] = [&span.all, &span.hole];
    word.wrapping_sub(all.start) < all.end - all.start
        && word.wrapping_sub(hole.start) >= hole.end - hole.start
}

/// As [`filter`]; `first` is the place of the first word.
fn scalar(words: &[u64], span: &Span, places: &mut Vec<u32>, first: usize) {
    for (place, word) in words.iter().enumerate() {
        if may_be_one(*word, span) {
            places.push((first + place) as u32);
        }
    }
}

/// As [`filter`], four words at a time.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn avx2(words: &[u64], span: &Span, places: &mut Vec<u32>) {
    use std::arch::x86_64::{
        __m256i, _mm256_andnot_si256, _mm256_castsi256_pd, _mm256_cmpgt_epi64, _mm256_loadu_si256,
        _mm256_movemask_pd, _mm256_set1_epi64x, _mm256_sub_epi64, _mm256_xor_si256,
    };
    const LANES: usize = 4;
    // There are only signed comparisons: flipping the sign of both sides makes them unsigned.
    let sign = _mm256_set1_epi64x(i64::MIN);
    let set = |value: u64| _mm256_set1_epi64x(value.cast_signed());
    let flipped = |value: u64| set(value ^ 1 << 63);
    let below = |words: __m256i, start: __m256i, len: __m256i| {
        let offsets = _mm256_xor_si256(_mm256_sub_epi64(words, start), sign);
        _mm256_cmpgt_epi64(len, offsets)
    };
    let [all, hole] = [&span.all, &span.hole];
    let (all_start, all_len) = (set(all.start), flipped(all.end - all.start));
    let (hole_start, hole_len) = (set(hole.start), flipped(hole.end - hole.start));
    let (fours, rest) = words.as_chunks::<LANES>();
    for (number, four) in fours.iter().enumerate() {
        // SAFETY: 32 bytes that are there; the load needs no alignment.
        let four = unsafe { _mm256_loadu_si256(four.as_ptr().cast()) };
        let inside = below(four, all_start, all_len);
        let in_hole = below(four, hole_start, hole_len);
        let wanted = _mm256_andnot_si256(in_hole, inside);
        let mut lanes = _mm256_movemask_pd(_mm256_castsi256_pd(wanted)).cast_unsigned();
        while lanes != 0 {
            places.push((number * LANES) as u32 + lanes.trailing_zeros());
            lanes &= lanes - 1;
        }
    }
    scalar(rest, span, places, fours.len() * LANES);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn span() -> impl Strategy<Value = Span> {
        prop::array::uniform4(prop_oneof![0_u64..200, any::<u64>()]).prop_map(|mut edges| {
            edges.sort_unstable();
            Span {
                all: edges[0]..edges[3],
                hole: edges[1]..edges[2],
            }
        })
    }

    proptest! {
        #[test]
        fn finds_what_a_comparison_finds(
            span in span(),
            mut words in prop::collection::vec(prop_oneof![0_u64..220, any::<u64>()], 0..70),
            edges in any::<bool>(),
        ) {
            if edges {
                words.extend([span.all.start, span.all.end, span.hole.start, span.hole.end]);
            }
            let is_wanted = |word: &u64| span.all.contains(word) && !span.hole.contains(word);
            let wanted: Vec<u32> = (0..words.len() as u32).filter(|place| is_wanted(&words[*place as usize])).collect();
            let (mut found, mut by_scalar) = (Vec::new(), Vec::new());
            filter(&words, &span, &mut found);
            scalar(&words, &span, &mut by_scalar, 0);
            prop_assert_eq!(&found, &wanted);
            prop_assert_eq!(&by_scalar, &wanted);
        }
    }
}
