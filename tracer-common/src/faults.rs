//! Page faults of programs: the sample of them, and how they travel to user space.

use zerocopy::{FromBytes, IntoBytes};

use crate::key::Owner;
use crate::record::{Record, read};
use crate::sampling::{self, COUNT_ONE};
use crate::space::SpaceEvent;

/// The page was there, but not for this access (`X86_PF_PROT`, arch/x86/include/asm/trap_pf.h).
pub const PROTECTION: u64 = 1;
/// It was a write (`X86_PF_WRITE`).
pub const WRITE: u64 = 2;
/// The program itself touched the page, not the kernel in a system call of it (`X86_PF_USER`).
pub const USER: u64 = 4;

/// What a [`FaultEvent`] tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FaultKind {
    /// A page was touched that is not there, or not for this access.
    Touched = 0,
    /// The thread's last touch that was told had to wait for a disk or the swap: it was a major fault.
    WasMajor = 1,
    /// The thread's last touch that was told was no page fault in the end: the access is not allowed, or was given up.
    WasNone = 2,
}

impl FaultKind {
    /// The kind of this number.
    pub const fn from_raw(raw: u32) -> Option<Self> {
        match raw {
            0 => Some(Self::Touched),
            1 => Some(Self::WasMajor),
            2 => Some(Self::WasNone),
            _ => None,
        }
    }
}

/// A page fault of the sample, or what came of it. Of what came of it only `time_ns`, `owner`, `tid` and `kind` count.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default, FromBytes, IntoBytes)]
#[repr(C)]
pub struct FaultEvent {
    /// `CLOCK_MONOTONIC`, nanoseconds.
    pub time_ns: u64,
    /// The address that was touched.
    pub address: u64,
    /// Whose fault.
    pub owner: Owner,
    /// Row of the stack; the process's own row where there is none.
    pub stack: u32,
    /// The thread, as the initial PID namespace sees it.
    pub tid: u32,
    /// Mean distance of the samples, in faults, when this one was drawn (see [`weight`]).
    pub interval: u32,
    /// How it was touched: [`PROTECTION`], [`WRITE`], [`USER`].
    pub error: u32,
    /// A [`FaultKind`].
    pub kind: u32,
    /// Keeps the record free of implicit padding.
    pub reserved: u32,
}

const _: () = assert!(size_of::<FaultEvent>() == 48);

/// A record of the ring for address spaces.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SpaceRecord {
    /// A system call that changed an address space.
    Call(SpaceEvent),
    /// A page fault, in the order of time among the calls.
    Fault(FaultEvent),
}

impl SpaceRecord {
    /// Whose it is.
    pub const fn owner(&self) -> Owner {
        match self {
            Self::Call(call) => call.owner,
            Self::Fault(fault) => fault.owner,
        }
    }

    /// When it was told.
    pub const fn time_ns(&self) -> u64 {
        match self {
            Self::Call(call) => call.left_ns,
            Self::Fault(fault) => fault.time_ns,
        }
    }
}

impl Record for SpaceRecord {
    fn decode(bytes: &[u8]) -> Option<Self> {
        match bytes.len() == size_of::<FaultEvent>() {
            true => FaultEvent::decode(bytes).map(Self::Fault),
            false => SpaceEvent::decode(bytes).map(Self::Call),
        }
    }
}

impl Record for FaultEvent {
    fn decode(bytes: &[u8]) -> Option<Self> {
        read(bytes, |event: &Self| {
            FaultKind::from_raw(event.kind).is_some()
        })
    }
}

/// Time between two samples of a thread that the adaptive sample aims at: a sample takes one to some microseconds, by
/// the depth of the stack.
pub const AIM_NS: u64 = 500_000;

/// Largest interval of the sample, in faults.
pub const MAX_INTERVAL: u64 = 1 << 16;

/// The interval from the next sample on, where `faults` have come in `gap_ns` since the last one, at most twice as
/// large as before. A thread that faults seldom has each fault told.
///
/// What has happened decides on what is yet to come, so that each fault has a chance that is known before it happens
/// and weighs what its own interval says: the estimate is not biased.
#[inline(always)]
pub const fn next_interval(interval: u64, faults: u32, gap_ns: u64) -> u64 {
    let fair = AIM_NS * faults as u64 / if gap_ns == 0 { 1 } else { gap_ns };
    let most = if interval * 2 > MAX_INTERVAL {
        MAX_INTERVAL
    } else {
        interval * 2
    };
    if fair > most {
        most
    } else if fair == 0 {
        1
    } else {
        fair
    }
}

/// How many faults one of the sample stands for.
pub fn weight(interval: u32) -> f64 {
    match interval {
        0 | 1 => 1.0,
        // The distance is drawn from an exponential distribution and rounded up, so that each fault ends it with
        // the same probability.
        _ => sampling::weight(1, interval as u64).1 as f64 / COUNT_ONE as f64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sampling::next_distance;

    #[test]
    fn records_are_told_by_their_length() {
        let fault = |kind| {
            let event = FaultEvent {
                kind,
                ..FaultEvent::default()
            };
            let bytes: [u8; 48] = zerocopy::transmute!(event);
            SpaceRecord::decode(&bytes)
        };
        let expected = FaultEvent {
            kind: FaultKind::WasNone as u32,
            ..FaultEvent::default()
        };
        assert_eq!(
            fault(FaultKind::WasNone as u32),
            Some(SpaceRecord::Fault(expected))
        );
        assert_eq!(fault(3), None);
        let mut call = [0u8; 104];
        call[92] = 9;
        assert!(matches!(
            SpaceRecord::decode(&call),
            Some(SpaceRecord::Call(_))
        ));
        assert_eq!(SpaceRecord::decode(&call[..50]), None);
    }

    /// One thread's sample, drawn as the programs draw it, of faults that come after these gaps: the estimate and its
    /// variance.
    fn estimate(gaps: impl Iterator<Item = u64>, random: &mut u64) -> (f64, f64, u32) {
        let mut uniform = || {
            *random ^= *random << 13;
            *random ^= *random >> 7;
            *random ^= *random << 17;
            (*random >> 32) as u32
        };
        let (mut interval, mut left, mut now, mut last) = (1, 1, 1 << 40, 0);
        let mut drawn = 1;
        let (mut sum, mut variance, mut samples) = (0.0, 0.0, 0);
        for gap in gaps {
            now += gap;
            left -= 1;
            if left > 0 {
                continue;
            }
            let weight = weight(interval as u32);
            sum += weight;
            variance += weight * (weight - 1.0);
            samples += 1;
            interval = next_interval(interval, drawn, now - last);
            last = now;
            left = match interval {
                1 => 1,
                _ => next_distance(uniform(), interval),
            };
            drawn = left as u32;
        }
        (sum, variance, samples)
    }

    /// At a high rate, at a low one, and where the rate changes: what the samples stand for is what there was, within
    /// the error that is told, and there are about as many samples as are wanted.
    #[test]
    fn the_sample_is_not_biased_and_adapts() {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let gap_at = |fault: u64| match fault / 50_000 % 3 {
            0 => 5_000,   // 200,000 a second
            1 => 250_000, // 4,000 a second
            _ => 40,
        };
        let faults = 600_000u64;
        let (mut sum, mut variance, rounds) = (0.0, 0.0, 100);
        for _ in 0..rounds {
            let (estimate, of_it, samples) = estimate((0..faults).map(gap_at), &mut random);
            sum += estimate;
            variance += of_it;
            assert!((20_000..200_000).contains(&samples), "{samples}");
        }
        let (true_sum, error) = (faults as f64 * f64::from(rounds), variance.sqrt());
        assert!(
            (sum - true_sum).abs() < 4.0 * error,
            "{sum} +- {error}, not {true_sum}"
        );
        assert!(error / true_sum < 0.02, "{error}");
    }

    #[test]
    fn a_thread_that_seldom_faults_has_each_fault_told() {
        let (sum, variance, samples) = estimate((0..1000).map(|_| 5_000_000), &mut 1);
        assert_eq!((sum, variance, samples), (1000.0, 0.0, 1000));
    }

    #[test]
    fn intervals_stay_in_range() {
        for interval in [1, 2, 1000, MAX_INTERVAL] {
            for gap in [0, 1000, AIM_NS, 3 * AIM_NS, 1 << 50, u64::MAX] {
                for faults in [1, 23 << 16] {
                    let next = next_interval(interval, faults, gap);
                    let range = 1..=MAX_INTERVAL.min(2 * interval);
                    assert!(range.contains(&next), "{interval} {gap} {next}");
                }
            }
        }
        assert_eq!(next_interval(1000, 500, 10 * AIM_NS), 50);
    }
}
