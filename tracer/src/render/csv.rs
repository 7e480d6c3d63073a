//! Figures as comma-separated values: one line for each figure of each profile, to be filtered and plotted.

use std::io::{self, Write};

use csv::Writer;

use super::{Options, Render};
use crate::profile::{Growth, Measure, Profile};

/// The columns, in order.
const HEADER: [&str; 11] = [
    "time",
    "elapsed_s",
    "scope",
    "id",
    "name",
    "figure",
    "value",
    "per_minute",
    "low",
    "high",
    "verdict",
];

/// The renderer: the figures of the machine, of each subject and of the cgroups.
#[derive(Clone, Copy, Debug)]
pub struct Csv {
    /// Whether a line with the names of the columns comes first.
    pub header: bool,
}

impl Render for Csv {
    fn render(&self, profile: &Profile, _: &Options, out: &mut dyn Write) -> io::Result<()> {
        let mut out = Writer::from_writer(out);
        if self.header {
            out.write_record(HEADER)?;
        }
        let moment = [
            profile.meta.time.to_string(),
            format!("{:.3}", profile.meta.elapsed.as_secs_f64()),
        ];
        let mut line = |of: [&str; 3], figure: &str, value: i64, growth: Option<&Growth>| {
            let head = moment.iter().map(String::as_str).chain(of);
            let [value, per_min, low, high, verdict] = cells(value, growth);
            out.write_record(head.chain([figure, &value, &per_min, &low, &high, &verdict]))
        };
        let machine = profile.sections.machine.as_ref();
        for (figure, amount) in machine.iter().flat_map(|machine| &machine.figures) {
            let growth = amount.growth.as_ref();
            line(
                ["machine", "", ""],
                figure.name(),
                whole(amount.bytes),
                growth,
            )?;
        }
        for subject in &profile.subjects {
            let id = subject.pid.map_or_else(String::new, |pid| pid.to_string());
            let scope = if subject.pid.is_some() {
                "process"
            } else {
                "group"
            };
            for (measure, value) in subject.totals.iter() {
                let of = [scope, &id, &subject.command];
                line(
                    of,
                    name(measure),
                    value.whole(),
                    subject.growth.get(&measure),
                )?;
            }
        }
        for row in machine.iter().flat_map(|machine| &machine.cgroups) {
            let of = ["cgroup", &row.path, &row.label];
            line(of, "current", whole(row.current_bytes), None)?;
            line(of, "kept", whole(row.kept_bytes), row.growth.as_ref())?;
            if let Some(max) = row.max_bytes {
                line(of, "max", whole(max), None)?;
            }
        }
        out.flush()
    }
}

fn whole(value: u64) -> i64 {
    i64::try_from(value).unwrap_or(i64::MAX)
}

/// A value, the slope with the ends of its interval, and the verdict; empty where there is none.
fn cells(value: i64, growth: Option<&Growth>) -> [String; 5] {
    let rate = |rate: Option<f64>| rate.map_or_else(String::new, |rate| format!("{rate:.2}"));
    [
        value.to_string(),
        rate(growth.map(|growth| growth.per_min)),
        rate(growth.and_then(|growth| growth.low)),
        rate(growth.and_then(|growth| growth.high)),
        growth.map_or_else(String::new, |growth| growth.verdict.name().to_owned()),
    ]
}

/// What a figure is called: those of processes by a short name, others by their key.
fn name(measure: Measure) -> &'static str {
    let key = measure.key();
    match key.strip_prefix("process.") {
        None => key,
        Some("page_table_bytes") => "page_tables",
        Some(name) => name.strip_suffix("_bytes").unwrap_or(name),
    }
}
