//! The outputs of a profile, against golden files and against what must hold for any profile.

mod any_profile;
mod recordings;
mod samples;

use std::path::Path;

use jiff::tz::TimeZone;
use memlens::profile::{Measure, Profile};
use memlens::render::{Format, Options, file};

use samples::golden::check_folder;
use samples::xml::{check_xml, picture_texts};
use samples::{Sample, difference, kernel, leaks, vm};

fn options() -> Options {
    Options {
        time_zone: TimeZone::UTC,
        show_blocks: true,
        ..Options::default()
    }
}

/// Options of a terminal of so many columns.
fn narrow(width: usize) -> Options {
    Options {
        width: Some(width),
        ..options()
    }
}

fn with_addresses() -> Options {
    Options {
        source: false,
        addresses: true,
        ..options()
    }
}

fn with_all_frames() -> Options {
    Options {
        all_frames: true,
        ..options()
    }
}

fn with_every_stack() -> Options {
    Options {
        every_stack: true,
        ..options()
    }
}

/// Options for a reader who has seen the notes of this sample.
fn without_notes(sample: &Sample) -> Options {
    Options {
        known_notes: sample.profile.notes.iter().cloned().collect(),
        ..options()
    }
}

fn colored() -> Options {
    Options {
        color: true,
        ..options()
    }
}

fn drawn(measure: Measure) -> Options {
    Options {
        measure: Some(measure),
        ..options()
    }
}

fn written(format: Format, profile: &Profile, options: &Options) -> String {
    let mut out = Vec::new();
    let written = format.renderer().render(profile, options, &mut out);
    written.expect("a vector takes all");
    String::from_utf8(out).expect("the output is UTF-8")
}

fn text(sample: &Sample, options: Options) -> String {
    written(Format::Text, &sample.profile, &sample.options(options))
}

fn folded(sample: &Sample, options: &Options) -> String {
    written(Format::Folded, &sample.profile, options)
}

fn svg(sample: &Sample, options: &Options) -> String {
    written(Format::Svg, &sample.profile, options)
}

/// The text, the folded stacks and the words in the picture of each.
fn outputs(samples: &[Sample]) -> Vec<(String, String)> {
    let outputs = samples.iter().flat_map(|sample| {
        let name = sample.name;
        let picture = picture_texts(&svg(sample, &options()));
        [
            (format!("{name}.txt"), text(sample, options())),
            (format!("{name}.folded"), folded(sample, &options())),
            (format!("{name}.svg.txt"), picture),
        ]
    });
    outputs.collect()
}

/// The text in terminals of so many columns.
fn texts(sample: &Sample, widths: &[usize]) -> Vec<(String, String)> {
    let text = |width: &usize| {
        let name = format!("{}_{width}.txt", sample.name);
        (name, text(sample, narrow(*width)))
    };
    widths.iter().map(text).collect()
}

fn json(sample: &Sample) -> (String, String) {
    let json = written(Format::Json, &sample.profile, &options());
    (format!("{}.json", sample.name), json)
}

fn markdown(sample: &Sample) -> (String, String) {
    let options = sample.options(options());
    let markdown = written(Format::Markdown, &sample.profile, &options);
    (format!("{}.md", sample.name), markdown)
}

#[test]
fn leaks_are_as_blessed() {
    use leaks::{all, sample};
    let mut files = outputs(&all());
    files.extend(all().iter().map(json));
    let named = [
        "one_process",
        "unknown_frames",
        "cut_stack",
        "plumbing",
        "losses",
        "host",
        "no_process",
        "verdict_leak",
    ];
    files.extend(named.map(|name| markdown(&sample(name))));
    for (name, widths) in [
        ("templates", [60, 80, 120].as_slice()),
        ("several_processes", &[40, 60]),
        ("losses", &[60]),
        ("unknown_frames", &[60]),
        ("host", &[60, 80, 120]),
        ("host_containers", &[80]),
        ("host_last", &[80]),
        ("verdict_leak", &[60, 80]),
        ("verdict_collection", &[80]),
    ] {
        files.extend(texts(&sample(name), widths));
    }
    for (file, name, options) in [
        ("addresses", "inlined_frames", with_addresses()),
        ("all_frames", "plumbing", with_all_frames()),
        ("every_stack", "verdict_leak", with_every_stack()),
        ("whole_build_ids", "unknown_frames", with_all_frames()),
        ("common_frames_all", "common_frames", with_all_frames()),
        ("known_notes", "losses", without_notes(&sample("losses"))),
        ("colors", "several_processes", colored()),
    ] {
        files.push((format!("{file}.txt"), text(&sample(name), options)));
    }
    check_folder("leaks", files);
}

#[test]
fn vm_is_as_blessed() {
    use vm::{all, sample};
    let mut files = outputs(&all());
    files.extend(["growing", "faults_sampled", "host"].map(|name| json(&sample(name))));
    files.extend(["several_processes", "host"].map(|name| markdown(&sample(name))));
    for (name, widths) in [
        ("one_process", [60, 80].as_slice()),
        ("growing", &[60, 80]),
        ("several_processes", &[40, 60, 80, 120]),
        ("corrected", &[60, 80]),
        ("losses", &[60, 80]),
        ("faults_sampled", &[60, 80]),
        ("host", &[40, 60, 80, 120, 160]),
        ("host_containers", &[60, 80]),
        ("host_users", &[60, 80, 120]),
        ("host_last", &[60, 80]),
    ] {
        files.extend(texts(&sample(name), widths));
    }
    for (file, name, options) in [
        ("addresses", "growing", with_addresses()),
        ("all_frames", "growing", with_all_frames()),
        ("known_notes", "losses", without_notes(&sample("losses"))),
        (
            "known_notes_last",
            "growing",
            without_notes(&sample("growing")),
        ),
        ("colors", "corrected", colored()),
        ("colors_faults", "faults_sampled", colored()),
        ("colors_host", "host", colored()),
    ] {
        files.push((format!("{file}.txt"), text(&sample(name), options)));
    }
    let (resident, faults) = (Measure::VmResidentBytes, Measure::FaultsCount);
    for (name, suffix, measure) in [
        ("growing", "resident", resident),
        ("several_processes", "resident", resident),
        ("host", "resident", resident),
        ("faults_seen", "faults", faults),
        ("faults_sampled", "faults", faults),
        ("faults_several", "faults", faults),
        ("growing", "faults", faults),
    ] {
        let (sample, options) = (sample(name), drawn(measure));
        let picture = picture_texts(&svg(&sample, &options));
        files.push((format!("{name}_{suffix}.folded"), folded(&sample, &options)));
        files.push((format!("{name}_{suffix}.svg.txt"), picture));
    }
    check_folder("vm", files);
}

#[test]
fn kernel_memory_is_as_blessed() {
    use kernel::{all, sample};
    let mut files = outputs(&all());
    files.push(json(&sample("all_kinds")));
    files.push(markdown(&sample("all_kinds")));
    for (name, widths) in [
        ("all_kinds", [40, 60, 80].as_slice()),
        ("slab_only", &[60]),
        ("sampled", &[60]),
        ("cut_stack", &[60]),
        ("losses", &[60, 80]),
        ("older_empty", &[60]),
    ] {
        files.extend(texts(&sample(name), widths));
    }
    for (file, name, options) in [
        ("addresses", "all_kinds", with_addresses()),
        ("known_notes", "losses", without_notes(&sample("losses"))),
        (
            "known_notes_last",
            "losses_one",
            without_notes(&sample("losses_one")),
        ),
        ("colors", "all_kinds", colored()),
        ("colors_losses", "losses", colored()),
    ] {
        files.push((format!("{file}.txt"), text(&sample(name), options)));
    }
    check_folder("kernel", files);
}

#[test]
fn differences_are_as_blessed() {
    let mut files = outputs(&difference::all());
    files.extend(difference::all().iter().map(markdown));
    files.push(page(&difference::all()[0]));
    check_folder("difference", files);
}

/// The data of the page, one line for each part.
fn page(sample: &Sample) -> (String, String) {
    let html = written(Format::Html, &sample.profile, &options());
    let begin = "id=\"data\">";
    let data = html.find(begin).map(|at| &html[at + begin.len()..]);
    let data = data.and_then(|rest| rest.split_once("</script>"));
    let (data, _) = data.expect("the page has its data");
    let data: serde_json::Value = serde_json::from_str(data).expect("the data is JSON");
    let parts = data.as_object().expect("the data is an object").iter();
    let lines = parts.map(|(key, value)| format!("{key}: {value}\n"));
    (format!("{}.page.txt", sample.name), lines.collect())
}

#[test]
fn forms_for_viewers_are_as_blessed() {
    let mut files = Vec::new();
    for name in [
        "one_process",
        "several_processes",
        "cut_stack",
        "plumbing",
        "verdict_leak",
    ] {
        let sample = leaks::sample(name);
        let speedscope = written(Format::Speedscope, &sample.profile, &options());
        files.push((format!("{name}.speedscope.txt"), speedscope));
        // The others have thousands of blocks, a line each.
        if ["one_process", "cut_stack", "plumbing"].contains(&name) {
            let heaptrack = written(Format::Heaptrack, &sample.profile, &options());
            files.push((format!("{name}.heaptrack"), heaptrack));
        }
        files.push(page(&sample));
    }
    check_folder("viewers", files);
}

/// No form fails on anything, and those that are packed are what they say.
#[test]
fn every_form_takes_every_profile() {
    let differences = difference::all().into_iter();
    for sample in all().chain(differences) {
        for format in Format::ALL {
            let mut out = Vec::new();
            let written = format
                .renderer()
                .render(&sample.profile, &options(), &mut out);
            written.expect("a vector takes all");
            let begins = |bytes: &[u8]| out.starts_with(bytes);
            match format {
                Format::Pprof => assert!(begins(&[0x1f, 0x8b]), "{}", sample.name),
                Format::Recording => assert!(begins(b"\x50\x2a\x4d\x18"), "{}", sample.name),
                _ => assert!(std::str::from_utf8(&out).is_ok(), "{}", sample.name),
            }
        }
    }
}

fn all() -> impl Iterator<Item = Sample> {
    leaks::all()
        .into_iter()
        .chain(vm::all())
        .chain(kernel::all())
}

/// JSON is the profile, in one line, whatever is in it.
#[test]
fn json_is_one_line_that_is_read_back() {
    for sample in all() {
        let line = written(Format::Json, &sample.profile, &options());
        assert_eq!(line.lines().count(), 1, "{}", sample.name);
        let read = Profile::parse(line.as_bytes()).expect("a profile");
        let again = written(Format::Json, &read, &options());
        assert_eq!(again, line, "{}", sample.name);
    }
}

/// A note that was shown before comes back in the last report, and in JSON always.
#[test]
fn notes_are_told_at_first_and_at_last() {
    let mut sample = leaks::sample("losses");
    let note = sample.profile.notes[0].clone();
    assert!(text(&sample, options()).contains(&note));
    assert!(!text(&sample, without_notes(&sample)).contains(&note));
    assert!(json(&sample).1.contains(&note));
    sample.profile.meta.last = true;
    assert!(text(&sample, without_notes(&sample)).contains(&note));
}

/// Every sample is well-formed XML with its subject in its title.
#[test]
fn pictures_are_well_formed_and_titled() {
    for sample in all() {
        let picture = svg(&sample, &options());
        check_xml(&picture).unwrap_or_else(|error| panic!("{}: {error}", sample.name));
        assert!(
            picture.contains("<svg ") && picture.contains("memlens: "),
            "{}",
            sample.name
        );
    }
}

/// A writer that fails is reported, not ignored.
#[test]
fn a_closed_output_is_an_error() {
    for name in ["one_process", "empty"] {
        let profile = leaks::sample(name).profile;
        for format in Format::ALL
            .iter()
            .filter(|format| name != "empty" || **format != Format::Folded)
        {
            let mut full = [0_u8; 10];
            let written = format
                .renderer()
                .render(&profile, &options(), &mut &mut full[..]);
            assert!(written.is_err(), "{format:?}");
        }
    }
}

/// A full disk under a picture is told as one, with the remedy.
#[test]
fn a_full_disk_is_told() {
    for name in ["one_process", "empty"] {
        let profile = leaks::sample(name).profile;
        let renderer = Format::Svg.renderer();
        let fill = |out: &mut dyn std::io::Write| renderer.render(&profile, &options(), out);
        let error = file::write_file(Path::new("/dev/full"), fill);
        let error = error.expect_err("nothing fits").to_string();
        let expected = "cannot write /dev/full: no space left on device; free some space, or name a file elsewhere";
        assert_eq!(error, expected);
    }
}
