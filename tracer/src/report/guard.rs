//! What the overhead guard did and what came up late, as sentences.

use super::host::{GuardAction, GuardStep, Host, LateFile};
use super::names;
use super::units::{bytes, count, counted, duration, percent, rate};

impl GuardAction {
    /// Whether the process is not followed any more.
    pub(super) fn ends_tracing(self) -> bool {
        matches!(self, Self::ProbesOff)
    }
}

impl GuardStep {
    /// What was done and why, in one sentence.
    pub fn sentence(&self) -> String {
        let hits = rate(self.hits_per_second as f64);
        let cost = percent(self.cost_percent);
        let at = duration(self.at);
        let (whose, its) = match self.pid {
            Some(pid) => (names::whose(pid, &self.comm, &self.place), "its"),
            None => (
                format!("all processes of {} together", names::clean(&self.comm)),
                "their",
            ),
        };
        let done = match self.action {
            GuardAction::ProbesOff => {
                format!("{its} probes were taken off after {at}; {its} numbers stop there")
            }
            GuardAction::Sample { from, to } => {
                let before = from.map_or_else(|| "all".to_owned(), bytes);
                match to {
                    None => format!("after {at} every block is followed again"),
                    Some(to) => format!(
                        "after {at} one block in about {} is followed ({before} before); {its} numbers are estimates",
                        bytes(to)
                    ),
                }
            }
        };
        let later = match self.later_processes {
            0 => String::new(),
            later => format!(
                "; the same for later ones of this program, {} by now",
                count(later)
            ),
        };
        // What is told of one does not explain itself where it is the sum that is above the budget.
        let all = if self.total_percent > self.cost_percent * 1.1 {
            format!(" ({} with all others)", percent(self.total_percent))
        } else {
            String::new()
        };
        match self.is_relief() {
            true => {
                format!("{whose}: only {hits} probe hits/s, {cost} of the machine: {done}{later}")
            }
            false => {
                format!(
                    "{whose}: {hits} probe hits/s would cost {cost} of the machine{all}: {done}{later}"
                )
            }
        }
    }

    /// Whether more is seen after the step than before.
    fn is_relief(&self) -> bool {
        match self.action {
            GuardAction::ProbesOff => false,
            GuardAction::Sample { from, to } => to.unwrap_or(0) < from.unwrap_or(0),
        }
    }
}

impl LateFile {
    /// What may have been missed, in one sentence.
    pub fn sentence(&self) -> String {
        format!(
            "{} was mapped during the trace, first by {}: calls in its first {} were not seen",
            names::clean(&self.path.to_string_lossy()),
            names::whose(self.pid, &self.comm, &self.place),
            duration(self.missed)
        )
    }
}

impl Host {
    /// What the probes cost and what memlens itself takes, in one sentence.
    pub(super) fn overhead(&self) -> String {
        let guard = &self.guard;
        let budget = match guard.budget_percent {
            Some(most) => format!("--cpu-budget {}", percent(most)),
            None => "no --cpu-budget".to_owned(),
        };
        let own = match self.own_rss_bytes {
            Some(rss) => format!("; memlens itself has {}", bytes(rss)),
            None => String::new(),
        };
        format!(
            "probes in {}: {} hits/s, about {} of the machine ({budget}){own}",
            counted(self.probed_files as u64, "file"),
            rate(guard.hits_per_second as f64),
            percent(guard.cost_percent)
        )
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::process::cgroup::Place;

    fn step(action: GuardAction, hits_per_second: u64, cost_percent: f64) -> String {
        let step = GuardStep {
            at: Duration::from_millis(400),
            pid: Some(812),
            comm: "perl".to_owned(),
            place: Place::of("0::/system.slice/cron.service"),
            action,
            hits_per_second,
            cost_percent,
            total_percent: cost_percent,
            later_processes: 0,
        };
        step.sentence()
    }

    #[test]
    fn each_step_says_what_and_why() {
        assert_eq!(
            step(GuardAction::ProbesOff, 6_200_000, 155.0),
            "process 812 (perl, cron.service): 6.20 M probe hits/s would cost 155% of the machine: its probes were taken \
             off after 400ms; its numbers stop there"
        );
        let sample = |from, to| GuardAction::Sample { from, to };
        assert_eq!(
            step(sample(None, Some(4_096)), 1_234_567, 12.3),
            "process 812 (perl, cron.service): 1.23 M probe hits/s would cost 12% of the machine: after 400ms one block in \
             about 4 KiB is followed (all before); its numbers are estimates"
        );
        assert_eq!(
            step(sample(Some(65_536), Some(16_384)), 1_200, 0.04),
            "process 812 (perl, cron.service): only 1,200 probe hits/s, <0.1% of the machine: after 400ms one block in about \
             16 KiB is followed (64 KiB before); its numbers are estimates"
        );
        let again = step(sample(Some(4_096), None), 10, 0.0);
        assert!(
            again.ends_with(
                "only 10 probe hits/s, 0% of the machine: after 400ms every block is followed again"
            ),
            "{again}"
        );
    }

    /// A program of which one process follows the other is judged as a whole.
    #[test]
    fn a_program_is_named() {
        let step = GuardStep {
            at: Duration::from_secs(3),
            pid: None,
            comm: "cc1".to_owned(),
            place: Place::default(),
            action: GuardAction::Sample {
                from: None,
                to: Some(4_096),
            },
            hits_per_second: 500_000,
            cost_percent: 12.0,
            total_percent: 18.0,
            later_processes: 1_204,
        };
        assert_eq!(
            step.sentence(),
            "all processes of cc1 together: 500 k probe hits/s would cost 12% of the machine (18% with all others): after 3.0s one block in about \
             4 KiB is followed (all before); their numbers are estimates; the same for later ones of this program, 1,204 by now"
        );
    }

    #[test]
    fn a_late_file_says_what_was_missed() {
        let file = LateFile {
            at: Duration::from_secs(3),
            pid: 7,
            comm: "java".to_owned(),
            place: Place::of("0::/batch/job-17"),
            path: "/opt/lib/libjemalloc.so.2".into(),
            missed: Duration::from_millis(43),
        };
        assert_eq!(
            file.sentence(),
            "/opt/lib/libjemalloc.so.2 was mapped during the trace, first by process 7 (java, job-17): calls in its first \
             43ms were not seen"
        );
    }
}
