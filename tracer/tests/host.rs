//! The dresses of `memlens host`, against golden files and against what must hold for any report.

#[path = "samples/golden.rs"]
mod golden;
mod host_samples;

use std::collections::BTreeSet;
use std::path::Path;

use jiff::tz::TimeZone;
use memlens::host::csv::Csv;
use memlens::host::machine::{Figure, Holder};
use memlens::host::report::HostReport;
use memlens::host::text::TextOptions;
use memlens::host::values::Measure;
use memlens::host::{json, text};
use proptest::prelude::*;
use serde_json::Value;
use unicode_width::UnicodeWidthChar;

use golden::check_all;
use host_samples::{all, sample};

fn options() -> TextOptions {
    TextOptions {
        time_zone: TimeZone::UTC,
        ..TextOptions::default()
    }
}

fn text_of(report: &HostReport, options: &TextOptions) -> String {
    let mut out = Vec::new();
    text::write(report, options, &mut out).expect("a vector takes all");
    String::from_utf8(out).expect("the text is UTF-8")
}

fn json_of(report: &HostReport) -> String {
    let mut out = Vec::new();
    json::write(report, &mut out).expect("a vector takes all");
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn csv_of(reports: &[HostReport]) -> String {
    let mut out = Vec::new();
    let mut csv = Csv::new(&mut out);
    for report in reports {
        csv.write(report).expect("a vector takes all");
    }
    drop(csv);
    String::from_utf8(out).expect("CSV is UTF-8")
}

fn golden(name: String, content: String) -> (String, String) {
    (format!("../golden-host/{name}"), content)
}

#[test]
fn text_is_as_blessed() {
    let plain = all();
    let mut files: Vec<_> = plain
        .iter()
        .map(|(name, report)| golden(format!("{name}.txt"), text_of(report, &options())))
        .collect();
    for width in [50, 80, 120] {
        let options = TextOptions {
            width: Some(width),
            ..options()
        };
        let text = text_of(&sample("leaking"), &options);
        files.push(golden(format!("leaking_{width}.txt"), text));
    }
    let brief = TextOptions {
        width: Some(80),
        brief: true,
        ..options()
    };
    files.push(golden(
        "leaking_brief.txt".into(),
        text_of(&sample("leaking"), &brief),
    ));
    let colour = TextOptions {
        colour: true,
        ..options()
    };
    files.push(golden(
        "leaking_colours.txt".into(),
        text_of(&sample("leaking"), &colour),
    ));
    check_all(files);
}

#[test]
fn json_is_as_blessed() {
    check_all(
        all()
            .iter()
            .map(|(name, report)| golden(format!("{name}.json"), json_of(report))),
    );
}

#[test]
fn csv_is_as_blessed() {
    check_all([golden("leaking.csv".into(), csv_of(&[sample("leaking")]))]);
}

/// No golden file is left over from a sample that is gone.
#[test]
fn every_golden_file_is_used() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden-host");
    let names: Vec<&str> = all().iter().map(|(name, _)| *name).collect();
    for entry in std::fs::read_dir(folder).expect("the golden folder") {
        let file = entry
            .expect("an entry")
            .file_name()
            .to_string_lossy()
            .into_owned();
        let stem = file.split('.').next().expect("a name");
        let known = names.contains(&stem) || stem.starts_with("leaking_");
        assert!(known, "{file} belongs to no sample");
    }
}

/// One report, one line, whatever is in it; numbers are those of the value.
#[test]
fn json_is_one_line_of_the_reports_numbers() {
    for (name, report) in all() {
        let line = json_of(&report);
        assert_eq!(line.lines().count(), 1, "{name}");
        let value: Value = serde_json::from_str(&line).expect("valid JSON");
        assert_eq!(value["schema"], json::SCHEMA);
        assert_eq!(
            value["rows"].as_array().map(Vec::len),
            Some(report.rows.len())
        );
        let total = report.machine.now.get(Figure::Total);
        assert_eq!(value["machine"]["figures"]["total"]["value"], total);
        for (row, wire) in report
            .rows
            .iter()
            .zip(value["rows"].as_array().expect("rows"))
        {
            assert_eq!(wire["figures"]["rss"]["value"], row.values.rss);
        }
    }
}

/// Every figure of the report has its line, under the names of the columns, which come once.
#[test]
fn csv_has_a_line_for_each_figure() {
    let report = sample("leaking");
    let text = csv_of(&[report.clone(), report.clone()]);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers().expect("a header").clone();
    assert_eq!(columns.len(), 11);
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    let leak: Vec<&csv::StringRecord> = rows
        .iter()
        .filter(|row| &row[2] == "process" && &row[3] == "4242" && &row[5] == "anonymous")
        .collect();
    assert_eq!(leak.len(), 2);
    let api = report
        .rows
        .iter()
        .find(|row| row.name == "api")
        .expect("is shown");
    assert_eq!(leak[0][6], api.values.anonymous.to_string());
    assert_eq!(&leak[0][10], "growing");
    let number = |cell: &str| cell.parse::<f64>().expect("a number");
    assert!(
        number(&leak[0][8]) <= number(&leak[0][7]) && number(&leak[0][7]) <= number(&leak[0][9])
    );
    let machine = rows.iter().filter(|row| &row[2] == "machine").count();
    assert_eq!(machine, 2 * Figure::ALL.len());
}

/// Adds "path.key" for every key of a value; the items of a list are one path, and the figures go by "*".
fn keys_of(value: &Value, path: &str, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            let is_map = path.ends_with("figures") || path.ends_with("holders");
            for (key, value) in object {
                let key = if is_map { "*" } else { key };
                let path = format!("{path}{}{key}", if path.is_empty() { "" } else { "." });
                keys.insert(path.clone());
                keys_of(value, &path, keys);
            }
        }
        Value::Array(items) => {
            items
                .iter()
                .for_each(|item| keys_of(item, &format!("{path}[]"), keys));
        }
        _ => {}
    }
}

/// The JSON form is a promise: every key is in the document, and nothing else.
#[test]
fn json_keys_are_those_documented() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/host.md");
    let document = std::fs::read_to_string(document).expect("docs/host.md");
    let mut keys = BTreeSet::new();
    for name in ["leaking", "quiet"] {
        keys_of(
            &serde_json::from_str(&json_of(&sample(name))).expect("valid JSON"),
            "",
            &mut keys,
        );
    }
    // Growth, figures and rows have one form wherever they stand.
    let keys: BTreeSet<String> = keys
        .into_iter()
        .filter(|key| !key.contains("growers[]"))
        .map(|key| {
            let growth = key
                .find(".growth.")
                .map(|at| format!("growth{}", &key[at + 7..]));
            let figure = key
                .find(".*.")
                .map(|at| format!("figure{}", &key[at + 2..]));
            growth.or(figure).unwrap_or(key)
        })
        .filter(|key| !key.ends_with(".*"))
        .collect();
    let (_, document) = document
        .split_once("\n## JSON\n")
        .expect("the part on JSON");
    let cells = |mark: &str| -> BTreeSet<String> {
        let cells = document
            .lines()
            .filter_map(|line| line.strip_prefix(mark)?.split('`').next());
        cells.map(str::to_owned).collect()
    };
    assert_eq!(cells("| `"), keys);
    let names = Figure::ALL
        .map(Figure::name)
        .into_iter()
        .chain(Holder::ALL.map(Holder::name))
        .chain(Measure::ALL.map(Measure::name));
    assert_eq!(cells("| figure `"), names.map(str::to_owned).collect());
    assert!(document.contains(json::SCHEMA));
}

/// A writer that fails is reported, not ignored.
#[test]
fn a_closed_output_is_an_error() {
    let report = sample("leaking");
    let mut full = [0u8; 10];
    assert!(text::write(&report, &options(), &mut &mut full[..]).is_err());
    assert!(json::write(&report, &mut &mut full[..]).is_err());
    assert!(Csv::new(&mut full[..]).write(&report).is_err());
}

/// Shortened to nothing it still says what is left out.
#[test]
fn a_report_can_be_shortened_to_its_core() {
    let mut report = sample("leaking");
    let rss: u64 = report.rows.iter().map(|row| row.values.rss).sum::<u64>() + report.rest.rss;
    let mut lines = text_of(&report, &options()).lines().count();
    while report.shorten(1) {
        let now = text_of(&report, &options()).lines().count();
        assert!(now <= lines, "grew from {lines} to {now}");
        lines = now;
    }
    assert_eq!(
        (report.rows.len(), report.cgroups.len(), report.notes.len()),
        (1, 0, 0)
    );
    assert_eq!(report.rows[0].values.rss + report.rest.rss, rss);
    assert!(text_of(&report, &options()).contains("more processes with"));
}

fn columns(line: &str) -> usize {
    line.chars().map(|letter| letter.width().unwrap_or(0)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// No line is wider than the terminal, and no control character reaches it, whatever a program calls itself.
    #[test]
    fn lines_stay_within_the_width(width in 0usize..160, name in "\\PC{0,40}|[\u{0}-\u{1f}a-z]{0,20}", brief in any::<bool>()) {
        for (_, mut report) in all() {
            for row in &mut report.rows {
                row.name.clone_from(&name);
            }
            let options = TextOptions { width: Some(width), brief, ..options() };
            let text = text_of(&report, &options);
            for line in text.split('\n') {
                prop_assert!(columns(line) <= width, "{} columns: {line:?}", columns(line));
                prop_assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }

    /// Any name gives valid JSON, and CSV that reads back.
    #[test]
    fn any_name_is_carried(name in "\\PC{0,40}|[\u{0}-\u{1f},\"a-z]{0,20}") {
        let mut report = sample("leaking");
        report.rows[0].name.clone_from(&name);
        let value: Value = serde_json::from_str(&json_of(&report)).expect("valid JSON");
        prop_assert_eq!(value["rows"][0]["name"].as_str(), Some(name.as_str()));
        let text = csv_of(&[report]);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let named = reader.records().filter(|row| row.as_ref().is_ok_and(|row| row[4] == *name)).count();
        prop_assert!(named >= Measure::ALL.len() - 1);
    }
}
