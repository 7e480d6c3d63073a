//! Service discovery: which traced processes can be scraped for profiles, and where the metrics are. The form is that
//! of Prometheus's HTTP service discovery, which Alloy and Parca read, too.

use serde::Serialize;

use crate::profile::{Profile, Subject};

/// A target and its labels.
#[derive(Debug, PartialEq, Eq, Serialize)]
struct Target {
    targets: Vec<String>,
    labels: std::collections::BTreeMap<&'static str, String>,
}

/// The traced processes, each a target with a path of its own. `address` is where the agent was asked.
pub fn profiles(profile: Option<&Profile>, address: &str) -> String {
    let subjects = profile
        .into_iter()
        .flat_map(|profile| profile.subjects.iter());
    let running = subjects.filter(|subject| subject.state.is_alive());
    let targets: Vec<Target> = running
        .filter_map(|subject| target(subject, address))
        .collect();
    serde_json::to_string(&targets).unwrap_or_default()
}

/// The metrics: one target.
pub fn metrics(address: &str) -> String {
    let target = Target {
        targets: vec![address.to_owned()],
        labels: [("job", "memlens".to_owned())].into(),
    };
    serde_json::to_string(&[target]).unwrap_or_default()
}

fn target(subject: &Subject, address: &str) -> Option<Target> {
    let pid = subject.pid?;
    let container = subject.place.container.as_ref();
    let mut labels = std::collections::BTreeMap::from([
        ("__profile_path_prefix__", format!("/pid/{pid}")),
        ("__meta_memlens_pid", pid.to_string()),
        ("service_name", subject.command.clone()),
        ("comm", subject.command.clone()),
    ]);
    let more = [
        ("container", container.map(ToString::to_string)),
        ("unit", subject.place.unit.clone()),
        ("pod_uid", subject.place.pod.clone()),
    ];
    labels.extend(
        more.into_iter()
            .filter_map(|(key, value)| Some((key, value?))),
    );
    Some(Target {
        targets: vec![address.to_owned()],
        labels,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_process_has_a_path() {
        let profile = Profile {
            subjects: vec![Subject::process(42, "a\"b")],
            ..Profile::default()
        };
        let text = profiles(Some(&profile), "127.0.0.1:9847");
        let value: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert_eq!(value[0]["targets"][0], "127.0.0.1:9847");
        assert_eq!(value[0]["labels"]["__profile_path_prefix__"], "/pid/42");
        assert_eq!(value[0]["labels"]["service_name"], "a\"b");
        assert!(value[0]["labels"].get("container").is_none());
        assert_eq!(profiles(None, "x"), "[]");
        assert!(metrics("h:1").contains("\"h:1\""));
    }
}
