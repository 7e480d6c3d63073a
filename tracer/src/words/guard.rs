//! Sentences on the overhead guard, the cost of probes and files that were mapped late. Safe to print.

use super::clean::clean;
use super::names;
use super::units::{bytes, count, counted_processes, duration, percent, rate};
use crate::profile::{Admission, GuardAction, GuardStep, LateFile, Profile, Refused};

/// What was done and why.
pub fn sentence(step: &GuardStep) -> String {
    let whose = names::whose(step.pid, &step.command, &step.place);
    let hits = rate(step.hits_per_second as f64);
    let cost = percent(step.cost_percent);
    // The cost of one process does not explain the step where it is the sum of all that exceeds the budget.
    let all = match step.total_percent > step.cost_percent * 1.1 {
        true => format!(" ({} with all others)", percent(step.total_percent)),
        false => String::new(),
    };
    let why = match (is_relief(step.action), step.own_percent) {
        (true, _) => format!("only {hits} probe hits/s, {cost} of the machine"),
        (false, Some(own)) => format!("{hits} probe hits/s take {} of its CPU time", percent(own)),
        (false, None) => format!("{hits} probe hits/s would cost {cost} of the machine{all}"),
    };
    format!("{whose}: {why}: {}", done(step))
}

fn done(step: &GuardStep) -> String {
    let at = duration(step.at);
    match step.action {
        GuardAction::ProbesOff => {
            format!("its probes were removed after {at}; its figures end there")
        }
        GuardAction::Sample { to: None, .. } => {
            format!("every block is followed again from {at} on")
        }
        GuardAction::Sample { from, to: Some(to) } => format!(
            "sampled from {at} on, one block per {} on average ({} before that); its figures are estimates",
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

/// What the probes of a scope cost and the memory of memlens itself; `None` where there are no probes.
pub fn overhead(profile: &Profile) -> Option<String> {
    let host = profile.sections.host_wide.as_ref()?;
    let guard = profile.sections.guard.as_ref()?;
    let budget = match guard.budget_percent {
        Some(most) => format!("--cpu-budget {}", percent(most)),
        None => "no --cpu-budget".to_owned(),
    };
    let own = match host.own_rss_bytes {
        Some(rss) => format!("; memlens itself uses {}", bytes(rss)),
        None => String::new(),
    };
    let traced = host
        .admission
        .as_ref()
        .map_or(0, |admission| admission.traced);
    Some(format!(
        "probes in {}: {} hits/s, {} of the machine ({budget}){own}",
        counted_processes(traced as u64),
        rate(guard.hits_per_second as f64),
        about_percent(guard.cost_percent)
    ))
}

/// Which processes of a scope have no probes, and why; `None` if all have.
pub fn not_probed(admission: &Admission) -> Option<String> {
    let waiting = match admission.traced >= admission.most && admission.most > 0 {
        true => format!("beyond --max-processes {}", admission.most),
        false => "not yet".to_owned(),
    };
    let each = [
        (admission.young as u64, "younger than a second"),
        (admission.waiting as u64, waiting.as_str()),
        (admission.left as u64, "because of the budget"),
        (admission.refused.len() as u64, "as probes would hurt them"),
        (
            admission.without_allocator as u64,
            "without an allocator that can be probed",
        ),
        (admission.ended_before, "ended before that"),
    ];
    let told: Vec<String> = each
        .into_iter()
        .filter(|(n, _)| *n > 0)
        .map(|(n, why)| format!("{} {why}", count(n)))
        .collect();
    (!told.is_empty()).then(|| format!("without probes: {}", told.join(", ")))
}

/// Why a process of a scope is not probed.
pub fn refused(refused: &Refused) -> String {
    format!(
        "{} is not traced: {}",
        names::whose(refused.pid, &refused.command, &refused.place),
        clean(&refused.reason)
    )
}

/// What the trace costs named processes; `None` where that is not known or nothing.
pub fn price(profile: &Profile) -> Option<String> {
    let priced = profile
        .subjects
        .iter()
        .filter_map(|subject| Some((subject, subject.probe_percent?)));
    let (dearest, most) = priced.max_by(|(_, a), (_, b)| a.total_cmp(b))?;
    let whose = match profile.is_of_many() {
        true => format!("of {}", names::process(dearest)),
        false => "of this process".to_owned(),
    };
    (most > 0.0).then(|| {
        format!(
            "{} of the CPU time {whose} goes to its probes",
            about_percent(most)
        )
    })
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
            pid: 812,
            command: "perl".to_owned(),
            place: unit("cron.service"),
            action,
            hits_per_second,
            cost_percent,
            total_percent: cost_percent,
            own_percent: None,
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

    /// A named process is judged by its own CPU time.
    #[test]
    fn its_own_time_may_be_the_reason() {
        let step = GuardStep {
            at: Duration::from_secs(3),
            pid: 812,
            command: "perl".to_owned(),
            place: unit("cron.service"),
            action: GuardAction::Sample {
                from: None,
                to: Some(4_096),
            },
            hits_per_second: 500_000,
            cost_percent: 12.0,
            total_percent: 18.0,
            own_percent: Some(38.0),
        };
        assert_eq!(
            sentence(&step),
            "process 812 (perl, cron.service): 500 k probe hits/s take 38% of its CPU time: sampled from 3.0s on, one block per 4 KiB on \
             average (every block before that); its figures are estimates"
        );
    }

    #[test]
    fn who_has_no_probes_is_summed_up() {
        assert_eq!(not_probed(&Admission::default()), None);
        let admission = Admission {
            traced: 4,
            young: 2,
            left: 1,
            ended_before: 1_234,
            ..Admission::default()
        };
        assert_eq!(
            not_probed(&admission).as_deref(),
            Some(
                "without probes: 2 younger than a second, 1 because of the budget, 1,234 ended before that"
            )
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
