//! A moment that a report is written of: why, and whose memory it is about.

use crate::cli::ReportOn;
use crate::profile::Profile;

/// A moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Moment {
    /// Why.
    pub why: ReportOn,
    /// The process that it is about; `None` for all that are traced.
    pub pid: Option<u32>,
    /// Only processes of this cgroup and those below it, where one is given.
    pub cgroup: Option<String>,
    /// What has happened, in a sentence.
    pub text: String,
}

/// The name of a reason, in the names of files and in metrics.
pub const fn word(why: ReportOn) -> &'static str {
    match why {
        ReportOn::Oom => "oom",
        ReportOn::Leak => "leak",
        ReportOn::Growth => "growth",
        ReportOn::Limit => "limit",
        ReportOn::Stall => "stall",
    }
}

/// All reasons.
pub const ALL: [ReportOn; 5] = [
    ReportOn::Oom,
    ReportOn::Leak,
    ReportOn::Growth,
    ReportOn::Limit,
    ReportOn::Stall,
];

impl Moment {
    /// The part of a profile that it is about; `None` where nothing of that is traced.
    pub fn part(&self, profile: &Profile) -> Option<Profile> {
        let mut part = super::part::of(profile, |subject| {
            let is_within = |cgroup: &String| {
                let rest = subject.place.cgroup.strip_prefix(cgroup.as_str());
                rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
            };
            self.pid.is_none_or(|pid| subject.pid == Some(pid))
                && self.cgroup.as_ref().is_none_or(is_within)
        });
        if part.subjects.is_empty() {
            return None;
        }
        part.notes.insert(0, self.text.clone());
        part.meta.last = true;
        Some(part)
    }

    /// Whose memory, for the name of a file.
    pub fn whose(&self, part: &Profile) -> String {
        match (&self.cgroup, part.subjects.as_slice()) {
            (_, [only]) => format!("{}-{}", only.pid.unwrap_or_default(), only.command),
            (Some(cgroup), _) => cgroup.rsplit('/').next().unwrap_or_default().to_owned(),
            (None, several) => format!("{}-processes", several.len()),
        }
    }
}
