//! When a report is written of what the profiles say: once for each reason and process in a while.

use std::collections::HashMap;
use std::time::Duration;

use super::moment::Moment;
use crate::cli::ReportOn;
use crate::profile::{FindingKind, Measure, Profile};
use crate::words::units::bytes;

/// A second report for the same reason of the same process comes after this time at the earliest.
const AGAIN: Duration = Duration::from_secs(3_600);
/// At most so many reports for one reason in a while: a burst must not fill the disk or the CPUs.
const BURST: u32 = 10;
const BURST_WITHIN: Duration = Duration::from_secs(600);

/// Remembers what was reported.
#[derive(Debug)]
pub struct Triggers {
    on: Vec<ReportOn>,
    growth_per_min: f64,
    reported: HashMap<(ReportOn, String), Duration>,
    /// By reason: since when a burst is counted, and how many there were.
    bursts: HashMap<ReportOn, (Duration, u32)>,
    /// Moments that were let pass because there were too many.
    pub passed_over: u64,
}

impl Triggers {
    /// Nothing was reported yet.
    pub fn new(on: &[ReportOn], growth_per_min: u64) -> Self {
        Self {
            on: on.to_vec(),
            growth_per_min: growth_per_min as f64,
            reported: HashMap::new(),
            bursts: HashMap::new(),
            passed_over: 0,
        }
    }

    /// Whether a moment is to be reported at the elapsed time `now`. One that is counts as reported.
    pub fn takes(&mut self, now: Duration, moment: &Moment) -> bool {
        if !self.on.contains(&moment.why) {
            return false;
        }
        self.reported
            .retain(|_, at| now.saturating_sub(*at) < AGAIN);
        let whose = match (&moment.pid, &moment.cgroup) {
            (Some(pid), _) => pid.to_string(),
            (None, Some(cgroup)) => cgroup.clone(),
            (None, None) => String::new(),
        };
        let key = (moment.why, whose);
        // Each kill is of a process of its own, and none of them comes again.
        if self.reported.contains_key(&key) {
            return false;
        }
        let (since, burst) = self.bursts.entry(moment.why).or_insert((now, 0));
        if now.saturating_sub(*since) >= BURST_WITHIN {
            (*since, *burst) = (now, 0);
        }
        if *burst >= BURST {
            self.passed_over += 1;
            return false;
        }
        *burst += 1;
        self.reported.insert(key, now);
        true
    }

    /// What a profile of heaps gives reason to report.
    pub fn of_heaps(profile: &Profile) -> Vec<Moment> {
        let leaks = profile
            .findings
            .iter()
            .filter(|finding| finding.kind == FindingKind::Leak);
        let of = |finding: &crate::profile::Finding| {
            let pid = profile.subject(finding.subject?)?.pid?;
            Some(Moment {
                why: ReportOn::Leak,
                pid: Some(pid),
                cgroup: None,
                text: format!("written because {}", finding.text),
            })
        };
        leaks.filter_map(of).collect()
    }

    /// What a profile of the machine gives reason to report.
    pub fn of_machine(&self, profile: &Profile) -> Vec<Moment> {
        let rows = profile.subjects.iter();
        let of = |subject: &crate::profile::Subject| {
            let growth = subject.growth.get(&Measure::ProcessTotalBytes)?;
            (growth.certain >= self.growth_per_min).then(|| Moment {
                why: ReportOn::Growth,
                pid: subject.pid,
                cgroup: None,
                text: format!(
                    "written because {} ({}) certainly grows by {} a minute",
                    subject.command,
                    subject.pid.unwrap_or_default(),
                    bytes(growth.certain as u64)
                ),
            })
        };
        rows.filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn moment(why: ReportOn, pid: u32) -> Moment {
        Moment {
            why,
            pid: Some(pid),
            cgroup: None,
            text: String::new(),
        }
    }

    fn at(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn each_is_reported_once_in_a_while() {
        let mut triggers = Triggers::new(&[ReportOn::Leak, ReportOn::Oom], 1);
        assert!(triggers.takes(at(0), &moment(ReportOn::Leak, 1)));
        assert!(!triggers.takes(at(3_599), &moment(ReportOn::Leak, 1)));
        assert!(triggers.takes(at(3_599), &moment(ReportOn::Leak, 2)));
        assert!(triggers.takes(at(3_600), &moment(ReportOn::Leak, 1)));
        assert!(triggers.takes(at(3_600), &moment(ReportOn::Oom, 1)));
        assert!(!triggers.takes(at(3_600), &moment(ReportOn::Growth, 1)));
    }

    #[test]
    fn a_burst_ends_and_is_counted() {
        let mut triggers = Triggers::new(&[ReportOn::Oom], 1);
        let taken = (0..50).filter(|pid| triggers.takes(at(1), &moment(ReportOn::Oom, *pid)));
        assert_eq!(taken.count(), 10);
        assert_eq!(triggers.passed_over, 40);
        assert!(triggers.takes(at(602), &moment(ReportOn::Oom, 60)));
    }
}
