//! Sentences on the overhead guard, the cost of probes and files that were mapped late. Safe to print.

use super::clean::clean;
use super::names;
use super::units::{bytes, count, counted, duration, percent, plural, rate};
use crate::profile::{GuardAction, GuardStep, HostWide, LateFile};

/// What was done and why.
pub fn sentence(step: &GuardStep) -> String {
    let (whose, its) = match step.pid {
        Some(pid) => (names::whose(pid, &step.command, &step.place), "its"),
        None => {
            let whose = format!("all processes of {} together", clean(&step.command));
            (whose, "their")
        }
    };
    let hits = rate(step.hits_per_second as f64);
    let cost = percent(step.cost_percent);
    // The cost of one process does not explain the step where it is the sum of all that exceeds the budget.
    let all = match step.total_percent > step.cost_percent * 1.1 {
        true => format!(" ({} with all others)", percent(step.total_percent)),
        false => String::new(),
    };
    let why = match is_relief(step.action) {
        true => format!("only {hits} probe hits/s, {cost} of the machine"),
        false => format!("{hits} probe hits/s would cost {cost} of the machine{all}"),
    };
    let later = match step.later_processes {
        0 => String::new(),
        later => format!(
            "; {} later {} of this program {} treated the same",
            count(later),
            plural(later, "process", "processes"),
            plural(later, "was", "were")
        ),
    };
    format!("{whose}: {why}: {}{later}", done(step, its))
}

fn done(step: &GuardStep, its: &str) -> String {
    let at = duration(step.at);
    match step.action {
        GuardAction::ProbesOff => {
            format!("{its} probes were removed after {at}; {its} figures end there")
        }
        GuardAction::Sample { to: None, .. } => {
            format!("every block is followed again from {at} on")
        }
        GuardAction::Sample { from, to: Some(to) } => format!(
            "sampled from {at} on, one block per {} on average ({} before that); {its} figures are estimates",
            bytes(to),
            from.map_or_else(
                || "every block".to_owned(),
                |from| format!("one per {}", bytes(from))
            )
        ),
    }
}

/// Whether more blocks are followed after the step than before.
fn is_relief(action: GuardAction) -> bool {
    match action {
        GuardAction::ProbesOff => false,
        GuardAction::Sample { from, to } => to.unwrap_or(0) < from.unwrap_or(0),
    }
}

/// What may have been missed of a file that was mapped during the trace.
pub fn late_file(file: &LateFile) -> String {
    format!(
        "{} was mapped during the trace, first by {}: calls in its first {} were not seen",
        clean(&file.path),
        names::whose(file.pid, &file.command, &file.place),
        duration(file.missed)
    )
}

/// An estimated cost: "about 2.5%", "less than 0.1%".
fn about_percent(value: f64) -> String {
    let percent = percent(value);
    match value >= 0.1 {
        true => format!("about {percent}"),
        false => percent,
    }
}

/// What the probes cost and the memory of memlens itself; `None` where there are no probes.
pub fn overhead(host: &HostWide) -> Option<String> {
    let guard = host.guard.as_ref()?;
    let budget = match guard.budget_percent {
        Some(most) => format!("--cpu-budget {}", percent(most)),
        None => "no --cpu-budget".to_owned(),
    };
    let own = match host.own_rss_bytes {
        Some(rss) => format!("; memlens itself uses {}", bytes(rss)),
        None => String::new(),
    };
    Some(format!(
        "probes in {}: {} hits/s, {} of the machine ({budget}){own}",
        counted(host.probed_files as u64, "file"),
        rate(guard.hits_per_second as f64),
        about_percent(guard.cost_percent)
    ))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::profile::Place;

    fn unit(name: &str) -> Place {
        Place {
            unit: Some(name.to_owned()),
            ..Place::default()
        }
    }

    fn step(action: GuardAction, hits_per_second: u64, cost_percent: f64) -> String {
        sentence(&GuardStep {
            at: Duration::from_millis(400),
            pid: Some(812),
            command: "perl".to_owned(),
            place: unit("cron.service"),
            action,
            hits_per_second,
            cost_percent,
            total_percent: cost_percent,
            later_processes: 0,
        })
    }

    #[test]
    fn each_step_says_what_and_why() {
        assert_eq!(
            step(GuardAction::ProbesOff, 6_200_000, 155.0),
            "process 812 (perl, cron.service): 6.20 M probe hits/s would cost 155% of the machine: its probes were \
             removed after 400ms; its figures end there"
        );
        let sample = |from, to| GuardAction::Sample { from, to };
        assert_eq!(
            step(sample(None, Some(4_096)), 1_234_567, 12.3),
            "process 812 (perl, cron.service): 1.23 M probe hits/s would cost 12% of the machine: sampled from 400ms \
             on, one block per 4 KiB on average (every block before that); its figures are estimates"
        );
        assert_eq!(
            step(sample(Some(65_536), Some(16_384)), 1_200, 0.04),
            "process 812 (perl, cron.service): only 1,200 probe hits/s, less than 0.1% of the machine: sampled from 400ms \
             on, one block per 16 KiB on average (one per 64 KiB before that); its figures are estimates"
        );
        let again = step(sample(Some(4_096), None), 10, 0.0);
        assert!(
            again.ends_with(
                "only 10 probe hits/s, 0% of the machine: every block is followed again from 400ms on"
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
            command: "cc1\n".to_owned(),
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
            sentence(&step),
            "all processes of cc1? together: 500 k probe hits/s would cost 12% of the machine (18% with all others): sampled \
             from 3.0s on, one block per 4 KiB on average (every block before that); their figures are estimates; 1,204 later \
             processes of this program were treated the same"
        );
    }

    #[test]
    fn a_late_file_says_what_was_missed() {
        let file = LateFile {
            at: Duration::from_secs(3),
            pid: 7,
            command: "java".to_owned(),
            place: unit("job-17"),
            path: "/opt/lib/libjemalloc.so.2".to_owned(),
            missed: Duration::from_millis(43),
        };
        assert_eq!(
            late_file(&file),
            "/opt/lib/libjemalloc.so.2 was mapped during the trace, first by process 7 (java, job-17): calls in its first \
             43ms were not seen"
        );
    }
}
