//! The outputs of `memlens host`, against golden files and against what must hold for any profile.

#[path = "samples/golden.rs"]
mod golden;
mod host_samples;
#[path = "samples/keys.rs"]
mod keys;

use std::collections::BTreeSet;

use jiff::tz::TimeZone;
use memlens::profile::machine::{Figure, Holder};
use memlens::profile::{Measure, Profile};
use memlens::render::csv::Csv;
use memlens::render::{Format, Options, Render};
use proptest::prelude::*;
use unicode_width::UnicodeWidthChar;

use golden::check_folder;
use host_samples::{all, sample};
use keys::{documented, json_part, keys_of};

fn options() -> Options {
    Options {
        time_zone: TimeZone::UTC,
        ..Options::default()
    }
}

fn rendered(profile: &Profile, renderer: &dyn Render, options: &Options) -> String {
    let mut out = Vec::new();
    renderer
        .render(profile, options, &mut out)
        .expect("a vector takes all");
    String::from_utf8(out).expect("the output is UTF-8")
}

fn text_of(profile: &Profile, options: &Options) -> String {
    rendered(profile, Format::Text.renderer(), options)
}

fn json_of(profile: &Profile) -> String {
    rendered(profile, Format::Json.renderer(), &options())
}

fn csv_of(profiles: &[Profile]) -> String {
    let profiles = profiles.iter().enumerate();
    let parts = profiles.map(|(index, profile)| {
        let csv = Csv { header: index == 0 };
        rendered(profile, &csv, &options())
    });
    parts.collect()
}

fn golden_texts() -> Vec<(String, String)> {
    let mut files: Vec<_> = all()
        .iter()
        .map(|(name, profile)| (format!("{name}.txt"), text_of(profile, &options())))
        .collect();
    let narrow = |width| Options {
        width: Some(width),
        ..options()
    };
    let color = Options {
        color: true,
        ..options()
    };
    for (suffix, options) in [
        ("50", narrow(50)),
        ("80", narrow(80)),
        ("120", narrow(120)),
        ("colors", color),
    ] {
        let text = text_of(&sample("leaking"), &options);
        files.push((format!("leaking_{suffix}.txt"), text));
    }
    files
}

#[test]
fn profiles_are_as_blessed() {
    let mut files = golden_texts();
    let profiles = all();
    files.extend(
        profiles
            .iter()
            .map(|(name, profile)| (format!("{name}.json"), json_of(profile))),
    );
    files.push(("leaking.csv".into(), csv_of(&[sample("leaking")])));
    check_folder("host", files);
}

/// One profile, one line, and what is read back says the same.
#[test]
fn what_is_written_is_read_back() {
    for (name, profile) in all() {
        let line = json_of(&profile);
        assert_eq!(line.lines().count(), 1, "{name}");
        let read = Profile::parse(line.as_bytes()).expect("a profile");
        assert_eq!(json_of(&read), line, "{name}");
        assert_eq!(
            text_of(&read, &options()),
            text_of(&profile, &options()),
            "{name}"
        );
    }
}

/// Every figure of the profile has its line, under the names of the columns, which come once.
#[test]
fn csv_has_a_line_for_each_figure() {
    let profile = sample("leaking");
    let text = csv_of(&[profile.clone(), profile.clone()]);
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let columns = reader.headers().expect("a header").clone();
    assert_eq!(columns.len(), 11);
    let rows: Vec<csv::StringRecord> = reader.records().map(|row| row.expect("a row")).collect();
    let leak: Vec<&csv::StringRecord> = rows
        .iter()
        .filter(|row| &row[2] == "process" && &row[3] == "4242" && &row[5] == "anonymous")
        .collect();
    assert_eq!(leak.len(), 2);
    let api = profile.process(4242).expect("is shown");
    let anonymous = api.totals.amount(Measure::ProcessAnonymousBytes);
    assert_eq!(leak[0][6], anonymous.to_string());
    assert_eq!(&leak[0][10], "growing");
    let number = |cell: &str| cell.parse::<f64>().expect("a number");
    assert!(
        number(&leak[0][8]) <= number(&leak[0][7]) && number(&leak[0][7]) <= number(&leak[0][9])
    );
    let machine = rows.iter().filter(|row| &row[2] == "machine").count();
    assert_eq!(machine, 2 * Figure::ALL.len());
}

/// Every key of the section is in the document, and nothing else.
#[test]
fn keys_are_those_documented() {
    let mut keys = BTreeSet::new();
    for name in ["leaking", "quiet"] {
        let value = serde_json::to_value(&sample(name).sections).expect("serialize");
        let maps = ["machine.figures", "machine.holders"];
        let apart = ["rest", "growers", "growth"];
        keys_of(&value["machine"], "machine", &maps, &apart, &mut keys);
    }
    let document = json_part("host.md");
    let documented = documented(&document);
    let only_in_one: Vec<&String> = documented.symmetric_difference(&keys).collect();
    assert!(only_in_one.is_empty(), "{only_in_one:?}");
    let figures = Figure::ALL.iter().map(|figure| figure.name());
    for name in figures.chain(Holder::ALL.iter().map(|holder| holder.name())) {
        assert!(
            document.contains(&format!("`{name}`")),
            "{name} is not in the document"
        );
    }
}

/// A writer that fails is reported, not ignored.
#[test]
fn a_closed_output_is_an_error() {
    let profile = sample("leaking");
    let csv = Csv { header: true };
    for renderer in [Format::Text.renderer(), Format::Json.renderer(), &csv] {
        let mut full = [0u8; 10];
        assert!(
            renderer
                .render(&profile, &options(), &mut &mut full[..])
                .is_err()
        );
    }
}

fn columns(line: &str) -> usize {
    line.chars().map(|letter| letter.width().unwrap_or(0)).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// No line is wider than the terminal, and no control character reaches it, whatever a program calls itself.
    #[test]
    fn lines_stay_within_the_width(width in 0usize..160, name in "\\PC{0,40}|[\u{0}-\u{1f}a-z]{0,20}") {
        for (_, mut profile) in all() {
            for subject in &mut profile.subjects {
                subject.command.clone_from(&name);
            }
            let options = Options { width: Some(width), ..options() };
            let text = text_of(&profile, &options);
            for line in text.split('\n') {
                prop_assert!(columns(line) <= width, "{} columns: {line:?}", columns(line));
                prop_assert!(!line.contains(char::is_control), "{line:?}");
            }
        }
    }

    /// Any name gives valid JSON, and CSV that reads back.
    #[test]
    fn any_name_is_carried(name in "\\PC{0,40}|[\u{0}-\u{1f},\"a-z]{0,20}") {
        let mut profile = sample("leaking");
        profile.subjects[0].command.clone_from(&name);
        let read = Profile::parse(json_of(&profile).as_bytes()).expect("a profile");
        prop_assert_eq!(&read.subjects[0].command, &name);
        let figures = profile.subjects[0].totals.iter().count();
        let text = csv_of(&[profile]);
        let mut reader = csv::Reader::from_reader(text.as_bytes());
        let named = reader.records().filter(|row| row.as_ref().is_ok_and(|row| row[4] == *name)).count();
        prop_assert!(named >= figures);
    }
}
