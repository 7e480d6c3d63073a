//! Poisson sampling by bytes, in integers.
//!
//! Sample points lie on the stream of requested bytes as a Poisson process with a mean distance of `interval`
//! bytes. A block of `size` bytes is sampled when a point falls into it, that is with probability
//! `p = 1 - exp(-size / interval)`, and then stands for `1 / p` blocks (the Horvitz-Thompson estimator), so
//! that sums over samples are unbiased for blocks and for bytes, whatever the sizes are.

/// Fixed-point one of counts: a sampled block stands for a fractional number of blocks.
pub const COUNT_ONE: u64 = 1 << 20;

/// Largest interval: keeps all intermediate products within 64 bits.
pub const MAX_INTERVAL: u64 = 1 << 36;

/// The last step of [`interval`].
pub const MAX_STEP: u32 = 13;

/// What the second step's interval is four times, where the first is smaller: sampling by less would cost more than it
/// spares.
const LEAST_BASE: u64 = 1024;

/// The sampling interval of a step: `base` at step 0 (0 traces every block), then four times as much with each step,
/// from 1 KiB at least, up to [`MAX_INTERVAL`].
#[inline(always)]
pub const fn interval(base: u64, step: u32) -> u64 {
    if step == 0 {
        return base;
    }
    let shift = 2 * if step > MAX_STEP { MAX_STEP } else { step };
    let from = if base > LEAST_BASE { base } else { LEAST_BASE };
    if from > MAX_INTERVAL >> shift {
        MAX_INTERVAL
    } else {
        from << shift
    }
}

/// Fixed-point one of probabilities.
const ONE: u64 = 1 << 32;

/// `2^-(2^-i)` for i = 1..=16, as fractions of 2^32: the factors of a binary exponential.
const ROOTS: [u64; 16] = [
    3_037_000_500,
    3_611_622_603,
    3_938_502_376,
    4_112_874_773,
    4_202_935_003,
    4_248_701_965,
    4_271_771_996,
    4_283_353_945,
    4_289_156_690,
    4_292_061_010,
    4_293_513_907,
    4_294_240_540,
    4_294_603_903,
    4_294_785_595,
    4_294_876_445,
    4_294_921_870,
];

/// `log2(e)` in 32.32.
const LOG2_E: u64 = 6_196_328_019;

/// `ln(2)` in 0.32.
const LN_2: u64 = 2_977_044_472;

/// `2^-x` for `x` in 32.32, as a fraction of 2^32.
#[inline(always)]
fn exp2_negative(x: u64) -> u64 {
    let whole = x >> 32;
    if whole >= 32 {
        return 0;
    }
    let mut result = ONE;
    let mut bit = 0;
    while bit < 16 {
        // A shift by 0 or 32 in place of a branch, of which the kernel's verifier would follow both ways each time, as
        // it does with a mask from Linux 6.18 on.
        let absent = (!x >> (31 - bit)) & 1;
        result -= ((result * (ONE - ROOTS[bit])) >> 32) >> (absent << 5);
        bit += 1;
    }
    // The 16 bits left are so small that 2^-y is 1 - y ln 2.
    let rest = ((x & 0xffff) * LN_2) >> 32;
    result -= (result * rest) >> 32;
    result >> whole
}

/// Probability, as a fraction of 2^32, that a block of `size` bytes is sampled, good to 2^-26.
#[inline(always)]
fn probability(size: u64, interval: u64) -> u64 {
    if size >= 23 * interval {
        return ONE; // exp(-23) is below 2^-32
    }
    // size < 23 * 2^36, so the quotient's two halves are found without overflow.
    let whole = size / interval;
    let ratio = (whole << 32) | ((((size % interval) << 27) / interval) << 5);
    // (32.32 * 32.32) >> 32, split so that it stays in 64 bits.
    let exponent = (ratio >> 32) * LOG2_E + (((ratio & 0xffff_ffff) * (LOG2_E >> 1)) >> 31);
    ONE - exp2_negative(exponent)
}

/// How many bytes and blocks (in 1/[`COUNT_ONE`]) one block of `size` bytes in the sample stands for.
#[inline(always)]
pub fn weight(size: u64, interval: u64) -> (u64, u64) {
    if interval == 0 {
        return (size, COUNT_ONE);
    }
    if size == 0 {
        return (0, 0); // never sampled
    }
    let count = if size < interval / 64 {
        // With x = size / interval: 1 / (1 - exp(-x)) = 1/x + 1/2 + x/12 - ..., the next term below 10^-8.
        interval * COUNT_ONE / size + COUNT_ONE / 2 + size * COUNT_ONE / interval / 12
    } else {
        (COUNT_ONE << 32) / probability(size, interval).max(1)
    };
    // size * count is about max(size, interval) * COUNT_ONE: below 2^61 where it is not the size itself.
    let bytes = if size >= 23 * interval {
        size
    } else {
        (size * count) / COUNT_ONE
    };
    (bytes, count)
}

/// Distance to the next sample point in bytes: exponentially distributed with mean `interval`.
///
/// `uniform` is a random number of 32 bits.
#[inline(always)]
pub fn next_distance(uniform: u32, interval: u64) -> u64 {
    // -ln(u) = (32 - log2(uniform + 1)) * ln 2, with the logarithm in 5.16.
    let value = uniform as u64 + 1;
    let exponent = 63 - value.leading_zeros() as u64;
    let mut mantissa = value << (32 - exponent); // in [1, 2) as 1.32
    let mut log2 = exponent << 16;
    let mut bit = 0;
    while bit < 16 {
        let square = ((mantissa >> 1) * (mantissa >> 1)) >> 30; // 2.32, in [1, 4)
        let carry = square >> 33;
        log2 |= carry << (15 - bit);
        mantissa = square >> carry;
        bit += 1;
    }
    let negative_log2 = (32 << 16) - log2; // up to 32 in 5.16
    let negative_ln = (negative_log2 * (LN_2 >> 12)) >> 20; // 5.16
    // At most 2^36 * 23 * 2^16, below 2^57.
    ((interval * negative_ln) >> 16) + 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The integer arithmetic agrees with floating point to a few parts in a million.
    #[test]
    fn weights_are_exact_enough() {
        for interval in [1u64, 100, 4096, 524_288, 1 << 30, MAX_INTERVAL] {
            for size in [1u64, 8, 64, 100, 4096, 65_536, 524_288, 10 << 20, 1 << 35] {
                let exact = 1.0 / -(-(size as f64) / interval as f64).exp_m1();
                let (bytes, count) = weight(size, interval);
                let error = (count as f64 / COUNT_ONE as f64 / exact - 1.0).abs();
                assert!(error < 5e-6, "count of size {size} at {interval}: {error}");
                let error = (bytes as f64 - exact * size as f64).abs();
                assert!(
                    error < 1.0 + 5e-6 * exact * size as f64,
                    "bytes of size {size} at {interval}: {error}"
                );
            }
        }
    }

    /// Distances have the mean and the spread of an exponential distribution.
    #[test]
    fn distances_are_exponential() {
        let interval = 524_288u64;
        let steps = 1 << 16;
        let (mut sum, mut squares) = (0.0, 0.0);
        for step in 0..steps {
            let uniform = (step << 16) + (1 << 15);
            let distance = next_distance(uniform as u32, interval) as f64 / interval as f64;
            sum += distance;
            squares += distance * distance;
        }
        let mean = sum / steps as f64;
        let variance = squares / steps as f64 - mean * mean;
        assert!((mean - 1.0).abs() < 0.005, "mean {mean}");
        assert!((variance - 1.0).abs() < 0.02, "variance {variance}");
    }

    /// A stream of blocks sampled as the kernel does it gives unbiased totals.
    #[test]
    fn estimates_are_unbiased() {
        let interval = 10_000u64;
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut next = move || {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random >> 32) as u32
        };
        let sizes = [16u64, 100, 3_000, 50_000];
        let (mut bytes, mut count) = (0u64, 0u64);
        let mut budget = next_distance(next(), interval);
        let rounds = 200_000u64;
        for round in 0..rounds {
            let size = sizes[(round % 4) as usize];
            if budget > size {
                budget -= size;
                continue;
            }
            budget = next_distance(next(), interval);
            let (block_bytes, block_count) = weight(size, interval);
            bytes += block_bytes;
            count += block_count;
        }
        let true_bytes = rounds / 4 * sizes.iter().sum::<u64>();
        let bytes_ratio = bytes as f64 / true_bytes as f64;
        let count_ratio = count as f64 / COUNT_ONE as f64 / rounds as f64;
        assert!((bytes_ratio - 1.0).abs() < 0.01, "bytes {bytes_ratio}");
        assert!((count_ratio - 1.0).abs() < 0.2, "count {count_ratio}");
    }

    /// Each step samples a quarter of the one before, from the base or 1 KiB on, and the last is far beyond any need.
    #[test]
    fn intervals_quadruple() {
        assert_eq!(
            [0, 1, 2, 3].map(|step| interval(0, step)),
            [0, 4096, 16_384, 65_536]
        );
        assert_eq!(
            [0, 1, 2].map(|step| interval(100, step)),
            [100, 4096, 16_384]
        );
        assert_eq!(
            [0, 1, 2].map(|step| interval(1 << 19, step)),
            [1 << 19, 1 << 21, 1 << 23]
        );
        for base in [0, 1, 1 << 19, MAX_INTERVAL] {
            for step in 0..300 {
                assert!(interval(base, step) <= MAX_INTERVAL, "{base} {step}");
                assert!(
                    interval(base, step) <= interval(base, step + 1),
                    "{base} {step}"
                );
            }
            assert_eq!(interval(base, MAX_STEP), MAX_INTERVAL, "{base}");
        }
    }

    /// Without sampling every block stands for itself.
    #[test]
    fn exact_traces_weigh_one() {
        assert_eq!(weight(12_345, 0), (12_345, COUNT_ONE));
    }

    proptest! {
        /// No size and interval overflows, and a weight is never below the block itself.
        #[test]
        fn weights_stay_in_range(size in 1u64..1 << 44, interval in 1u64..=MAX_INTERVAL, uniform: u32) {
            let (bytes, count) = weight(size, interval);
            prop_assert!(bytes >= size);
            prop_assert!(count >= COUNT_ONE);
            prop_assert!(next_distance(uniform, interval) >= 1);
            prop_assert!(next_distance(uniform, interval) <= 23 * interval + 1);
        }
    }
}
