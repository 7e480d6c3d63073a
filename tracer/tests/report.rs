//! The dresses of the report, against golden files and against what must hold for any report.

mod samples;

use std::collections::BTreeSet;
use std::path::Path;

use jiff::tz::TimeZone;
use memlens::report::json::JsonOptions;
use memlens::report::text::TextOptions;
use memlens::report::{Report, file, folded, json, svg, text};
use proptest::prelude::*;
use serde_json::Value;
use unicode_width::UnicodeWidthChar;

use samples::any::any_report;
use samples::golden::check_all;
use samples::sample;
use samples::xml::check_xml;

fn options() -> TextOptions {
    TextOptions {
        time_zone: TimeZone::UTC,
        ..TextOptions::default()
    }
}

fn text_of(report: &Report, options: &TextOptions) -> String {
    let mut out = Vec::new();
    text::write(report, options, &mut out).expect("a vector takes all");
    String::from_utf8(out).expect("the text is UTF-8")
}

fn json_of(report: &Report, blocks: bool) -> String {
    let mut out = Vec::new();
    json::write(report, JsonOptions { blocks }, &mut out).expect("a vector takes all");
    String::from_utf8(out).expect("JSON is UTF-8")
}

fn folded_of(report: &Report) -> String {
    let mut out = Vec::new();
    folded::write(report, &mut out).expect("a vector takes all");
    String::from_utf8(out).expect("names are UTF-8")
}

fn svg_of(report: &Report) -> String {
    let mut out = Vec::new();
    svg::write(report, &mut out).expect("a vector takes all");
    String::from_utf8(out).expect("SVG is UTF-8")
}

#[test]
fn text_is_as_blessed() {
    let mut files: Vec<(String, String)> = samples::all()
        .iter()
        .map(|(name, report)| {
            let mut options = options();
            options.show_blocks = true;
            (format!("{name}.txt"), text_of(report, &options))
        })
        .collect();
    for (name, width) in [
        ("templates", 60),
        ("templates", 80),
        ("templates", 120),
        ("several_processes", 40),
        ("several_processes", 60),
        ("losses", 60),
        ("unknown_frames", 60),
        ("host", 60),
        ("host", 80),
        ("host", 120),
        ("host_containers", 80),
        ("host_last", 80),
    ] {
        let mut options = options();
        options.width = Some(width);
        files.push((
            format!("{name}_{width}.txt"),
            text_of(&sample(name), &options),
        ));
    }
    let mut plain = options();
    plain.source = false;
    plain.addresses = true;
    files.push((
        "addresses.txt".into(),
        text_of(&sample("inlined_frames"), &plain),
    ));
    let mut all = options();
    all.all_frames = true;
    files.push(("all_frames.txt".into(), text_of(&sample("plumbing"), &all)));
    let mut again = options();
    again.known_notes.extend(sample("losses").notes);
    files.push(("known_notes.txt".into(), text_of(&sample("losses"), &again)));
    let mut coloured = options();
    coloured.colour = true;
    files.push((
        "colours.txt".into(),
        text_of(&sample("several_processes"), &coloured),
    ));
    check_all(files);
}

#[test]
fn json_is_as_blessed() {
    check_all(samples::all().iter().map(|(name, report)| {
        let blocks = matches!(*name, "blocks" | "everything");
        (format!("{name}.json"), json_of(report, blocks))
    }));
}

#[test]
fn folded_is_as_blessed() {
    let files = samples::all();
    check_all(
        files
            .iter()
            .map(|(name, report)| (format!("{name}.folded"), folded_of(report))),
    );
}

/// No golden file is left over from a sample that is gone.
#[test]
fn every_golden_file_is_used() {
    let names: BTreeSet<&str> = samples::all().iter().map(|(name, _)| *name).collect();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for entry in std::fs::read_dir(folder).expect("the golden folder") {
        let path = entry.expect("an entry").path();
        let stem = path
            .file_stem()
            .expect("a name")
            .to_string_lossy()
            .into_owned();
        let sample = stem
            .trim_end_matches(|c: char| c.is_ascii_digit())
            .trim_end_matches('_');
        let known = names.contains(stem.as_str())
            || names.contains(sample)
            || ["addresses", "all_frames", "colours", "known_notes"].contains(&sample);
        assert!(known, "{} belongs to no sample", path.display());
    }
}

/// One report, one line, whatever is in it; numbers are those of the value.
#[test]
fn json_is_one_line_of_the_reports_numbers() {
    for (name, report) in samples::all() {
        let line = json_of(&report, true);
        assert_eq!(line.lines().count(), 1, "{name}");
        let value: Value = serde_json::from_str(&line).expect("valid JSON");
        assert_eq!(value["schema"], json::SCHEMA);
        assert_eq!(value["complete"], report.complete(), "{name}");
        assert_eq!(value["totals"]["live_bytes"], report.live_bytes(), "{name}");
        assert_eq!(
            value["stacks"].as_array().map(Vec::len),
            Some(report.stacks.len())
        );
        assert_eq!(value["loss"].as_object().map(|loss| loss.len()), Some(17));
    }
}

/// A note that was shown before comes back in the last report, and in JSON always.
#[test]
fn notes_are_told_at_first_and_at_last() {
    let mut report = sample("losses");
    let mut options = options();
    let has_note = |text: &str| text.contains(&sample("losses").notes[0]);
    assert!(has_note(&text_of(&report, &options)));
    options.known_notes.extend(report.notes.iter().cloned());
    assert!(!has_note(&text_of(&report, &options)));
    assert!(has_note(&json_of(&report, false)));
    report.last = true;
    assert!(has_note(&text_of(&report, &options)));
}

/// Blocks are there only when asked for.
#[test]
fn json_has_blocks_when_asked() {
    let report = sample("blocks");
    let parse =
        |blocks| -> Value { serde_json::from_str(&json_of(&report, blocks)).expect("JSON") };
    assert!(parse(false)["stacks"][0].get("blocks").is_none());
    assert_eq!(parse(true)["stacks"][0]["blocks"][0]["size"], 10_000);
    assert_eq!(parse(true)["stacks"][1]["blocks"], serde_json::json!([]));
}

/// Paths that are not UTF-8 still give JSON.
#[test]
fn json_takes_any_path() {
    use std::os::unix::ffi::OsStringExt;
    let mut report = sample("one_process");
    let path = std::ffi::OsString::from_vec(b"/opt/\xff\xfe.so".to_vec());
    report.stacks[0].frames[0].module = Some(path.into());
    let value: Value = serde_json::from_str(&json_of(&report, false)).expect("valid JSON");
    assert_eq!(
        value["stacks"][0]["frames"][0]["module"],
        "/opt/\u{fffd}\u{fffd}.so"
    );
}

/// Adds "path.key" for every key of a value; the items of a list are one path.
fn keys_of(value: &Value, path: &str, keys: &mut BTreeSet<String>) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let path = format!("{path}{}{key}", if path.is_empty() { "" } else { "." });
                keys.insert(path.clone());
                keys_of(value, &path, keys);
            }
        }
        Value::Array(items) => items
            .iter()
            .for_each(|item| keys_of(item, &format!("{path}[]"), keys)),
        _ => {}
    }
}

/// The stacks of `--per-process` have the keys of all stacks, which are documented once.
fn without_process_stacks(keys: BTreeSet<String>) -> BTreeSet<String> {
    const BELOW: &str = "host.process_stacks[].stacks[].";
    let (below, mut rest): (BTreeSet<String>, BTreeSet<String>) =
        keys.into_iter().partition(|key| key.starts_with(BELOW));
    rest.extend(below.iter().map(|key| key.replace(BELOW, "stacks[].")));
    rest
}

/// Keys that `docs/json.md` lists: the first cells of its tables, below headings with their path.
fn documented_keys(document: &str) -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    let mut path = String::new();
    for line in document.lines() {
        if let Some(heading) = line.strip_prefix("## ") {
            path = heading
                .split('`')
                .nth(1)
                .map_or(String::new(), |path| format!("{path}."));
        }
        if let Some(key) = line
            .strip_prefix("| `")
            .and_then(|rest| rest.split('`').next())
        {
            keys.insert(format!("{path}{key}"));
        }
    }
    keys
}

#[test]
fn json_keys_are_those_documented() {
    let document = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/json.md");
    let document = std::fs::read_to_string(document).expect("docs/json.md");
    let mut keys = BTreeSet::new();
    for name in [
        "everything",
        "empty",
        "host",
        "host_containers",
        "host_last",
    ] {
        let value = serde_json::from_str(&json_of(&sample(name), true)).expect("valid JSON");
        keys_of(&value, "", &mut keys);
    }
    assert_eq!(documented_keys(&document), without_process_stacks(keys));
    assert!(document.contains(json::SCHEMA));
}

/// Every sample is well-formed XML with the process or the number of processes in its title.
#[test]
fn svg_is_well_formed_and_titled() {
    for (name, report) in samples::all() {
        let picture = svg_of(&report);
        check_xml(&picture).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(
            picture.contains("<svg ") && picture.contains("memlens: "),
            "{name}"
        );
    }
    let picture = svg_of(&sample("one_process"));
    assert!(picture.contains("memlens: victim (4242), 30.5 KiB live in 8 blocks"));
    assert!(
        picture.contains("<title>leak_in_loop (30,000 bytes, 96.77%)</title>"),
        "{picture}"
    );
    assert!(picture.contains("30.3 KiB are in this picture"));
    let picture = svg_of(&sample("several_processes"));
    assert!(picture.contains("<title>redis-server-991 (12,884,902 bytes, 100.00%)</title>"));
    assert!(svg_of(&sample("empty")).contains("no live memory to draw"));
}

/// Names that a program chose cannot break the picture.
#[test]
fn svg_escapes_names() {
    for mut report in [sample("one_process"), sample("empty")] {
        report.processes[0].comm = "<a&b>\"\x01]]>".into();
        if let Some(stack) = report.stacks.first_mut() {
            stack.frames[0].symbol = Some("f<\x02a && 'b'> 12".into());
        }
        check_xml(&svg_of(&report)).expect("well-formed");
    }
}

/// A writer that fails is reported, not ignored.
#[test]
fn a_closed_output_is_an_error() {
    let report = sample("one_process");
    let mut full = [0u8; 10];
    assert!(text::write(&report, &options(), &mut &mut full[..]).is_err());
    assert!(json::write(&report, JsonOptions::default(), &mut &mut full[..]).is_err());
    assert!(folded::write(&report, &mut &mut full[..]).is_err());
    assert!(svg::write(&report, &mut &mut full[..]).is_err());
    assert!(svg::write(&sample("empty"), &mut &mut full[..]).is_err());
}

fn columns(line: &str) -> usize {
    line.chars().map(|letter| letter.width().unwrap_or(0)).sum()
}

/// A full disk under a picture is told as one, with the remedy.
#[test]
fn a_full_disk_is_told() {
    for report in [sample("one_process"), sample("empty")] {
        let full = Path::new("/dev/full");
        let error = file::write_file(full, |mut out| svg::write(&report, &mut out));
        let error = error.expect_err("nothing fits").to_string();
        let expected = "cannot write /dev/full: no space left on device; free some space, or name a file elsewhere";
        assert_eq!(error, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// No line is wider than the terminal, and no control character reaches it.
    #[test]
    fn lines_stay_within_the_width(
        report in any_report(),
        width in 0usize..140,
        source in any::<bool>(),
        addresses in any::<bool>(),
    ) {
        let options = TextOptions {
            width: Some(width), source, addresses, show_blocks: true, ..options()
        };
        let text = text_of(&report, &options);
        for line in text.split('\n') {
            prop_assert!(columns(line) <= width, "{} columns: {line:?}", columns(line));
            prop_assert!(!line.contains(char::is_control), "{line:?}");
        }
    }

    /// Colours change nothing but the look.
    #[test]
    fn colours_are_only_added(report in any_report(), width in prop::option::of(1usize..140)) {
        let plain = text_of(&report, &TextOptions { width, ..options() });
        let coloured = text_of(&report, &TextOptions { width, colour: true, ..options() });
        let stripped = ["\x1b[0m", "\x1b[1m", "\x1b[2m"]
            .iter()
            .fold(coloured, |text, sequence| text.replace(sequence, ""));
        prop_assert_eq!(stripped, plain);
    }

    /// Folded lines parse back: as many frames as went in, and a sum of all live bytes.
    #[test]
    fn folded_lines_parse_back(report in any_report()) {
        let folded = folded_of(&report);
        let mut sum = 0u64;
        let mut seen = BTreeSet::new();
        for line in folded.lines() {
            let (stack, value) = line.rsplit_once(' ').expect("a value");
            sum += value.parse::<u64>().expect("a number");
            let frames: Vec<&str> = stack.split(';').collect();
            prop_assert!(frames.iter().all(|frame| !frame.is_empty()), "{line:?}");
            prop_assert!(seen.insert(stack.to_owned()), "twice: {line:?}");
            let last = stack.rsplit(' ').next().filter(|_| stack.contains(' '));
            prop_assert!(last.is_none_or(|word| word.parse::<f64>().is_err()), "{line:?}");
        }
        prop_assert_eq!(sum, report.stacks.iter().map(|stack| stack.live_bytes).sum::<u64>());
        let expected: BTreeSet<usize> = report.stacks.iter().filter(|stack| stack.live_bytes > 0)
            .map(|stack| {
                let root = usize::from(report.processes.len() > 1 || report.host.is_some());
                let cut = usize::from(stack.truncated.is_some());
                root + (cut + stack.frames.len()).max(1)
            }).collect();
        let found: BTreeSet<usize> = seen.iter().map(|stack| stack.split(';').count()).collect();
        prop_assert_eq!(found, expected);
    }

    /// Any report gives valid JSON and a well-formed picture.
    #[test]
    fn any_report_gives_json_and_a_picture(report in any_report()) {
        let value: Value = serde_json::from_str(&json_of(&report, true)).expect("valid JSON");
        prop_assert_eq!(value["stacks"].as_array().map(Vec::len), Some(report.stacks.len()));
        prop_assert_eq!(check_xml(&svg_of(&report)), Ok(()));
    }
}
