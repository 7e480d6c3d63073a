//! The columns of the tables in the text report: what each shows, and how much it matters.

use super::advice::rate;
use super::report::{By, CgroupRow, HostReport, Row, verdict};
use super::table::Column;
use super::trend::{Fit, Verdict};
use super::values::Measure;
use crate::report::units::{bytes, change, count, duration};

/// A growth for a table: the slope and its error where there is one, else what can be said.
fn growth(fit: Option<&Fit>) -> String {
    match (verdict(fit, false), fit) {
        (Verdict::Growing, Some(fit)) => format!("+{} ±{}", amount(fit.slope), amount(fit.error)),
        (Verdict::Shrinking, Some(fit)) => format!("-{} ±{}", amount(fit.slope), amount(fit.error)),
        (Verdict::Steady, _) => "steady".into(),
        _ => "unclear".into(),
    }
}

/// A rate without its unit of time, which the heading has.
fn amount(per_second: f64) -> String {
    let rate = rate(per_second);
    rate.strip_suffix("/min").unwrap_or(&rate).to_owned()
}

/// The columns of the table of processes, or of groups.
pub fn of_rows(report: &HostReport) -> Vec<Column> {
    let rows = &report.rows;
    let of = report.view.of.measure();
    let cells = |cell: &dyn Fn(&Row) -> String| rows.iter().map(cell).collect::<Vec<_>>();
    let size = |measure: Measure| {
        cells(&|row| {
            row.values
                .get(measure)
                .map_or_else(|| "-".to_owned(), bytes)
        })
    };
    let number = |measure: Measure| {
        cells(&|row| {
            row.values
                .get(measure)
                .map_or_else(|| "-".to_owned(), count)
        })
    };
    let any = |measure: Measure| {
        rows.iter()
            .any(|row| row.values.get(measure).is_some_and(|value| value > 0))
    };
    let mut columns = match report.by {
        By::Process => vec![
            Column::number(
                "pid",
                9,
                cells(&|row| {
                    row.process
                        .map_or_else(String::new, |key| key.pid.to_string())
                }),
            ),
            Column::name("name", 9, cells(&|row| row.name.clone())),
            Column::name(
                "where",
                4,
                cells(&|row| {
                    row.place
                        .as_ref()
                        .map_or_else(|| "-".to_owned(), |place| place.label())
                }),
            ),
            Column::name(
                "user",
                2,
                cells(&|row| row.user.clone().unwrap_or_else(|| "-".into())),
            ),
        ],
        by => vec![
            Column::name(heading_of(by), 9, cells(&|row| row.name.clone())),
            Column::number("processes", 7, cells(&|row| count(row.processes as u64))),
        ],
    };
    columns.push(Column::number("rss", 8, size(Measure::Rss)).strong());
    if any(Measure::Pss) {
        columns.push(Column::number("pss", 3, size(Measure::Pss)));
    }
    columns.push(Column::number("anon", 6, size(Measure::Anonymous)));
    if any(Measure::Swap) {
        columns.push(Column::number("swap", 7, size(Measure::Swap)));
    }
    columns.push(Column::number("virtual", 1, size(Measure::Virtual)));
    columns.push(Column::number("threads", 3, number(Measure::Threads)));
    if any(Measure::Fds) {
        columns.push(Column::number("fds", 3, number(Measure::Fds)));
    }
    columns.push(Column::number(
        "change",
        5,
        cells(&|row| match (row.before, row.change(of)) {
            (None, _) => "new".into(),
            (_, None) => "-".into(),
            (_, Some(changed)) => change(changed),
        }),
    ));
    columns.push(Column::number(
        format!("{}/min", of.name()),
        8,
        cells(&|row| growth(row.fit(of))),
    ));
    columns
}

const fn heading_of(by: By) -> &'static str {
    match by {
        By::Process => "process",
        By::Name => "name",
        By::Container => "container",
        By::User => "user",
    }
}

/// The columns of the table of cgroups.
pub fn of_cgroups(rows: &[CgroupRow]) -> Vec<Column> {
    let cells = |cell: &dyn Fn(&CgroupRow) -> String| rows.iter().map(cell).collect::<Vec<_>>();
    let or_dash = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    let mut columns = vec![
        Column::name("cgroup", 9, cells(&|row| row.label.clone())),
        Column::number("use", 5, cells(&|row| bytes(row.usage.current))),
        Column::number("without cache", 7, cells(&|row| bytes(row.usage.kept))).strong(),
        Column::number("limit", 8, cells(&|row| or_dash(row.bounds.max.map(bytes)))),
        Column::number(
            "full",
            8,
            cells(&|row| or_dash(row.fullness().map(|share| format!("{:.0}%", share * 100.0)))),
        ),
        Column::number("growth/min", 6, cells(&|row| growth(row.fit.as_ref()))),
        Column::number(
            "full in",
            8,
            cells(&|row| or_dash(row.time_left().map(duration))),
        ),
    ];
    if rows.iter().any(|row| {
        row.pressure
            .is_some_and(|pressure| pressure.some.avg60 > 0.0)
    }) {
        columns.push(Column::number(
            "waited",
            3,
            cells(&|row| {
                or_dash(
                    row.pressure
                        .map(|pressure| format!("{:.1}%", pressure.some.avg60)),
                )
            }),
        ));
    }
    if rows
        .iter()
        .any(|row| row.bounds.oom_kills.is_some_and(|kills| kills > 0))
    {
        columns.push(Column::number(
            "OOM kills",
            4,
            cells(&|row| or_dash(row.bounds.oom_kills.map(count))),
        ));
    }
    columns
}
