//! The committed JSON Schema is that of the types, and what is printed keeps to it.

#[path = "../../tests/src/schema.rs"]
mod committed;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use memlens::profile::{
    Builder, Frame, Measure, Meta, Profile, Region, Sample, Source, Subject, Values,
};
use serde_json::Value;

#[test]
fn the_schema_is_as_blessed() {
    let schema = memlens::schema::schema();
    let text = serde_json::to_string_pretty(&schema).expect("a schema is JSON") + "\n";
    if std::env::var_os("MEMLENS_BLESS").is_some() {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/memlens-1.schema.json");
        std::fs::write(path, text).expect("the schema can be written");
    } else {
        assert!(
            text == committed::COMMITTED,
            "docs/memlens-1.schema.json is not that of the types: run `cargo xtask schema`"
        );
    }
}

/// A profile with a stack.
fn profile() -> Profile {
    let mut build = Builder::new(Meta::default());
    build.measures([Measure::HeapLiveBytes]);
    let subject = build.subject(Subject::process(7, "app"));
    let frame = build.frame(Frame::default());
    let stack = build.stack(vec![frame], None);
    let values = Values::default().with(Measure::HeapLiveBytes, 5_u64);
    let sample = build.sample(Source::Heap, subject, Some(stack), &values);
    build.add(Sample {
        detail: Some(memlens::profile::Detail::Region(Region::default())),
        ..sample
    });
    build.finish()
}

#[test]
fn a_profile_is_valid() {
    let json = serde_json::to_value(profile()).expect("a profile is JSON");
    assert_eq!(committed::check(&json), Ok(()));
}

/// What is wrong, a change that makes it so, and what is said.
type Broken = (&'static str, fn(&mut Value), &'static str);

#[test]
fn what_is_wrong_is_said_with_its_place() {
    let valid = serde_json::to_value(profile()).expect("a profile is JSON");
    let broken: [Broken; 4] = [
        (
            "/samples/0/values/0",
            |json| json["samples"][0]["values"][0] = "5".into(),
            "\"5\"",
        ),
        (
            "/stacks/0/frames/0",
            |json| json["stacks"][0]["frames"][0] = (-1).into(),
            "minimum",
        ),
        (
            "/schema",
            |json| json["schema"] = "memlens/2".into(),
            "memlens/1",
        ),
        (
            "/meta",
            |json| {
                drop(
                    json["meta"]
                        .as_object_mut()
                        .expect("an object")
                        .remove("last"),
                )
            },
            "last",
        ),
    ];
    for (place, break_it, word) in broken {
        let mut json = valid.clone();
        break_it(&mut json);
        let error = committed::check(&json).expect_err(place);
        assert!(
            error.starts_with(&format!("at {place:?}:")) && error.contains(word),
            "{place}: {error}"
        );
    }
}

/// JSON files below a folder.
fn json_files(folder: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).expect("the folder can be read") {
        let path = entry.expect("its entry can be read").path();
        if path.is_dir() {
            files.extend(json_files(&path));
        } else if path
            .extension()
            .is_some_and(|extension| extension == "json")
        {
            files.push(path);
        }
    }
    files
}

#[test]
fn golden_json_is_valid() {
    let files = json_files(&Path::new(env!("CARGO_MANIFEST_DIR")).join("tests"));
    assert!(files.len() > 20, "only {} files", files.len());
    for path in files {
        let text = std::fs::read_to_string(&path).expect("the file can be read");
        for line in text.lines() {
            let json: Value = serde_json::from_str(line).expect("the file holds JSON");
            let checked = committed::check(&json);
            assert_eq!(checked, Ok(()), "{}", path.display());
        }
    }
}

/// Names of all properties in a schema.
fn properties(schema: &Value, names: &mut BTreeSet<String>) {
    match schema {
        Value::Object(fields) => {
            if let Some(Value::Object(properties)) = fields.get("properties") {
                names.extend(properties.keys().cloned());
            }
            fields.values().for_each(|field| properties(field, names));
        }
        Value::Array(items) => items.iter().for_each(|item| properties(item, names)),
        _ => {}
    }
}

/// What a text has between backticks.
fn code_spans(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

fn document(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(name);
    std::fs::read_to_string(path).expect("the document can be read")
}

/// Sections of one command each are described with the command.
#[test]
fn the_documents_name_every_key_and_no_other() {
    let schema: Value = serde_json::from_str(committed::COMMITTED).expect("the schema is JSON");
    let mut keys = BTreeSet::new();
    properties(&schema, &mut keys);
    let own = document("json.md");
    let apart = ["host.md", "explain.md", "hunt.md"].map(document).concat();
    let all = own.clone() + &apart;
    let is_key = |char: char| char.is_ascii_alphanumeric() || char == '_' || char == '.';
    let words = code_spans(&all).flat_map(|span| span.split(|char| !is_key(char)));
    // A word with dots is a key, or a path of keys.
    let named: BTreeSet<&str> = words
        .flat_map(|word| word.split('.').chain([word]))
        .collect();
    let missing: Vec<_> = keys
        .iter()
        .filter(|key| !named.contains(key.as_str()))
        .collect();
    assert!(missing.is_empty(), "no document names {missing:?}");
    // A first cell is of keys, or of a path of keys.
    let rows = own.lines().filter_map(|line| line.strip_prefix("| "));
    for span in rows.flat_map(|row| code_spans(row.split(" | ").next().unwrap_or_default())) {
        let plain = span.replace("[]", "");
        let is_path = plain.split('.').all(|part| keys.contains(part));
        assert!(keys.contains(&plain) || is_path, "{span} is in no profile");
    }
}
