//! A part of a profile: the processes that fulfill a condition, and what they hold.

use std::collections::HashMap;

use super::route::Asked;
use crate::profile::{Container, Profile, Subject};

/// The part of a profile that is about the subjects that fulfill a condition.
pub fn of(profile: &Profile, is_wanted: impl Fn(&Subject) -> bool) -> Profile {
    let wanted = profile.subjects.iter().map(&is_wanted);
    let mut places: HashMap<u32, u32> = HashMap::new();
    for (index, _) in wanted.enumerate().filter(|(_, is_wanted)| *is_wanted) {
        let place = places.len() as u32;
        places.insert(index as u32, place);
    }
    if places.len() == profile.subjects.len() {
        return profile.clone();
    }
    let mut findings = profile.findings.clone();
    findings.retain(|finding| {
        let subject = finding.subject;
        subject.is_none_or(|subject| places.contains_key(&subject))
    });
    let with_findings = Profile {
        findings,
        ..profile.clone()
    };
    let mut part = with_findings.filter(|sample| places.contains_key(&sample.subject));
    part.omitted
        .retain(|omitted| places.contains_key(&omitted.subject));
    let mut subjects = part.subjects.into_iter().enumerate();
    part.subjects = subjects
        .by_ref()
        .filter(|(index, _)| places.contains_key(&(*index as u32)))
        .map(|(_, subject)| subject)
        .collect();
    let moved = |subject: u32| places.get(&subject).copied().unwrap_or_default();
    for sample in &mut part.samples {
        sample.subject = moved(sample.subject);
        sample.also.clear();
    }
    for omitted in &mut part.omitted {
        omitted.subject = moved(omitted.subject);
    }
    for finding in &mut part.findings {
        finding.subject = finding.subject.map(moved);
    }
    if let Some(heap) = &mut part.sections.heap {
        heap.net.retain(|net| places.contains_key(&net.subject));
        for net in &mut heap.net {
            net.subject = moved(net.subject);
        }
    }
    part.sections
        .reachability
        .retain(|reach| places.contains_key(&reach.subject));
    for reach in &mut part.sections.reachability {
        reach.subject = moved(reach.subject);
    }
    part
}

impl Asked {
    /// Whether it asks for this process.
    pub fn is_about(&self, subject: &Subject) -> bool {
        let is_pid = self.pid.is_none_or(|pid| subject.pid == Some(pid));
        let is_comm = self
            .comm
            .as_ref()
            .is_none_or(|comm| subject.command == *comm);
        let is_container = self.container.as_ref().is_none_or(|asked| {
            let container = subject.place.container.as_ref();
            container.is_some_and(|container| is_container(container, asked))
        });
        is_pid && is_comm && is_container
    }

    /// Whether it asks for a part.
    pub const fn is_part(&self) -> bool {
        self.pid.is_some() || self.comm.is_some() || self.container.is_some()
    }
}

/// Whether a container is meant by its id, the first digits of it, or `runtime:id`.
fn is_container(container: &Container, asked: &str) -> bool {
    /// Fewer digits are those of several.
    const LEAST: usize = 8;
    let runtime = format!("{}:", container.runtime.name());
    let id = asked.strip_prefix(&runtime).unwrap_or(asked);
    container.id == id || (id.len() >= LEAST && container.id.starts_with(id))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Builder, Finding, FindingKind, Measure, Meta, Runtime, Source, Values};

    fn profile() -> Profile {
        let mut build = Builder::new(Meta::default());
        build.measures(Measure::of(Source::Heap));
        for (pid, name) in [(1, "one"), (2, "two"), (3, "two")] {
            let subject = build.subject(Subject::process(pid, name));
            let stack = build.stack(Vec::new(), None);
            let values = Values::default().with(Measure::HeapLiveBytes, u64::from(pid) * 100);
            let sample = build.sample(Source::Heap, subject, Some(stack), &values);
            build.add(sample);
        }
        let mut profile = build.finish();
        for subject in 0..3 {
            let mut finding = Finding::new(FindingKind::Leak, format!("of {subject}"));
            finding.subject = Some(subject);
            profile.findings.push(finding);
        }
        profile
    }

    #[test]
    fn a_part_has_its_own_samples_and_findings() {
        let all = profile();
        let asked = Asked {
            comm: Some("two".into()),
            ..Asked::default()
        };
        let part = of(&all, |subject| asked.is_about(subject));
        let pids: Vec<_> = part.subjects.iter().filter_map(|one| one.pid).collect();
        assert_eq!(pids, [2, 3]);
        let bytes = |sample| part.amount(sample, Measure::HeapLiveBytes);
        let samples: Vec<(u32, u64)> = part
            .samples
            .iter()
            .map(|sample| (sample.subject, bytes(sample)))
            .collect();
        assert_eq!(samples, [(0, 200), (1, 300)]);
        let found: Vec<_> = part
            .findings
            .iter()
            .map(|one| (one.subject, one.text.as_str()))
            .collect();
        assert_eq!(found, [(Some(0), "of 1"), (Some(1), "of 2")]);
        assert_eq!(of(&all, |_| true), all);
        assert!(of(&all, |_| false).samples.is_empty());
    }

    #[test]
    fn containers_are_known_by_their_first_digits() {
        let container = Container {
            runtime: Runtime::Docker,
            id: "3f2a9c1b7d4e".repeat(5) + "abcd",
        };
        for asked in [container.id.as_str(), "3f2a9c1b7d4e", "docker:3f2a9c1b7d4e"] {
            assert!(is_container(&container, asked), "{asked}");
        }
        for asked in ["3f2", "", "podman:3f2a9c1b7d4e", "4f2a9c1b7d4e"] {
            assert!(!is_container(&container, asked), "{asked}");
        }
    }
}
