//! Figures as comma-separated values: one line for each figure of each report, to be filtered and plotted.

use std::io::{self, Write};

use csv::Writer;
use jiff::Timestamp;

use super::machine::Figure;
use super::report::{HostReport, verdict};
use super::trend::Fit;
use super::values::Measure;

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

/// Writes reports one after the other, after a line with the names of the columns.
pub struct Csv<W: Write> {
    out: Writer<W>,
    begun: bool,
}

/// When the figures were taken.
#[derive(Clone, Copy)]
struct Moment<'a> {
    time: &'a str,
    elapsed: &'a str,
}

/// What a line is about.
struct Subject<'a> {
    moment: Moment<'a>,
    scope: &'a str,
    id: &'a str,
    name: &'a str,
}

impl<'a> Moment<'a> {
    fn of<'b>(self, scope: &'b str, id: &'b str, name: &'b str) -> Subject<'b>
    where
        'a: 'b,
    {
        Subject {
            moment: self,
            scope,
            id,
            name,
        }
    }
}

impl<W: Write> Csv<W> {
    /// Writes to `out`; nothing is written before the first report.
    pub fn new(out: W) -> Self {
        Self {
            out: Writer::from_writer(out),
            begun: false,
        }
    }

    /// Writes the figures of the machine, of the rows and of the cgroups in the report, and flushes.
    ///
    /// # Errors
    /// Those of the writer.
    pub fn write(&mut self, report: &HostReport) -> io::Result<()> {
        if !self.begun {
            self.out.write_record(HEADER)?;
            self.begun = true;
        }
        let time = Timestamp::try_from(report.time)
            .map_err(io::Error::other)?
            .to_string();
        let elapsed = format!("{:.3}", report.elapsed.as_secs_f64());
        let moment = Moment {
            time: &time,
            elapsed: &elapsed,
        };
        let machine = &report.machine;
        for figure in Figure::ALL {
            let (value, fit) = (machine.now.get(figure), machine.fit(figure));
            self.line(
                &moment.of("machine", "", ""),
                figure.name(),
                value,
                fit,
                false,
            )?;
        }
        for row in &report.rows {
            let id = row
                .process
                .map_or_else(String::new, |key| key.pid.to_string());
            let scope = if row.process.is_some() {
                "process"
            } else {
                "group"
            };
            for measure in Measure::ALL {
                if let Some(value) = row.values.get(measure) {
                    let subject = moment.of(scope, &id, &row.name);
                    self.line(
                        &subject,
                        measure.name(),
                        value,
                        row.fit(measure),
                        measure.is_count(),
                    )?;
                }
            }
        }
        for row in &report.cgroups {
            let subject = || moment.of("cgroup", &row.path, &row.label);
            self.line(&subject(), "current", row.usage.current, None, false)?;
            self.line(&subject(), "kept", row.usage.kept, row.fit.as_ref(), false)?;
            if let Some(max) = row.bounds.max {
                self.line(&subject(), "max", max, None, false)?;
            }
        }
        self.out.flush()
    }

    fn line(
        &mut self,
        subject: &Subject<'_>,
        figure: &str,
        value: u64,
        fit: Option<&Fit>,
        is_count: bool,
    ) -> io::Result<()> {
        let rate = |per_second: f64| match per_second.is_finite() {
            true => format!("{:.2}", per_second * 60.0),
            false => String::new(),
        };
        let of_fit =
            |rate_of: &dyn Fn(&Fit) -> f64| fit.map_or_else(String::new, |fit| rate(rate_of(fit)));
        let value = value.to_string();
        let rates = [
            of_fit(&|fit| fit.slope),
            of_fit(&|fit| fit.slope - fit.error),
            of_fit(&|fit| fit.slope + fit.error),
        ];
        let verdict = fit.map_or("", |fit| verdict(Some(fit), is_count).name());
        self.out.write_record([
            subject.moment.time,
            subject.moment.elapsed,
            subject.scope,
            subject.id,
            subject.name,
            figure,
            &value,
            &rates[0],
            &rates[1],
            &rates[2],
            verdict,
        ])?;
        Ok(())
    }
}
