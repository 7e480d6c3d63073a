//! Recordings: what is read is what was written, whatever becomes of the end of the file.

use std::fs;
use std::path::Path;
use std::time::Duration;

use memlens::profile::{Kind, Measure, Number, Profile, Values};
use memlens::recording::{ReadError, Recording, Writer};
use memlens::render::{Format, Options};
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::samples::any::any_sample;
use crate::samples::{kernel, leaks, vm};

/// A profile without what a recording does not keep: orders of samples, tables nobody refers to, digits of estimates
/// beyond the fifth, parts of seconds of ages. Indices into tables are what they refer to.
fn canonical(profile: &Profile) -> Value {
    let mut tree = serde_json::to_value(profile).expect("a profile has a JSON form");
    let frames = tree["frames"].take();
    let modules = tree["modules"].take();
    let frame = |index: &Value| {
        let mut frame = frames[index.as_u64().expect("an index") as usize].clone();
        if let Some(module) = frame["module"].as_u64() {
            frame["module"] = modules[module as usize].clone();
        }
        frame
    };
    let stacks: Vec<Value> = tree["stacks"]
        .take()
        .as_array()
        .expect("stacks")
        .iter()
        .map(|stack| {
            let all = stack["frames"].as_array().expect("frames").iter();
            json!({"frames": all.map(frame).collect::<Vec<Value>>(), "cut": stack["cut"]})
        })
        .collect();
    refer(&mut tree, &stacks, &modules);
    let samples = tree["samples"].as_array_mut().expect("samples");
    for (sample, own) in samples.iter_mut().zip(&profile.samples) {
        let values: Values = profile.values(own);
        let shown = |(measure, value): (Measure, Number)| {
            let value = match measure.kind() {
                Kind::Age => json!(value.whole().max(0) / 1_000),
                _ => json!(value),
            };
            (measure.key().to_owned(), value)
        };
        sample["values"] = Value::Object(values.iter().map(shown).collect());
    }
    samples.sort_by_key(ToString::to_string);
    simplify(&mut tree);
    tree
}

/// Puts stacks and modules in the place of their indices.
fn refer(tree: &mut Value, stacks: &[Value], modules: &Value) {
    match tree {
        Value::Object(object) => {
            for (key, value) in object.iter_mut() {
                match (key.as_str(), value.as_u64()) {
                    ("stack", Some(index)) => *value = stacks[index as usize].clone(),
                    ("module", Some(index)) => *value = modules[index as usize].clone(),
                    _ => refer(value, stacks, modules),
                }
            }
        }
        Value::Array(values) => values
            .iter_mut()
            .for_each(|value| refer(value, stacks, modules)),
        _ => {}
    }
}

/// Ages to whole seconds, estimates to three digits, without slopes, which are kept while they are close; without nulls.
fn simplify(tree: &mut Value) {
    match tree {
        Value::Object(object) => {
            let is_close =
                |key: &str| key.starts_with("heap.growth_bytes_per_s") || key == "reports";
            object.retain(|key, value| !value.is_null() && !is_close(key));
            for (key, value) in object.iter_mut() {
                match (key.as_str(), value.as_i64()) {
                    (
                        "age_ms" | "wait_ms" | "heap.oldest_ms" | "vm.oldest_ms"
                        | "kernel.oldest_ms",
                        Some(ms),
                    ) => {
                        *value = json!((ms + 500) / 1_000 / 10);
                    }
                    _ => simplify(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(simplify),
        Value::Number(number) if number.is_f64() => {
            let text = format!("{:.2e}", number.as_f64().unwrap_or(0.0));
            *tree = json!(text);
        }
        _ => {}
    }
}

fn recorded(path: &Path, profiles: &[Profile]) {
    let mut writer = Writer::open(path).expect("a recording");
    for profile in profiles {
        writer.add(profile).expect("is written");
    }
}

fn read(path: &Path) -> Vec<Profile> {
    let recording = Recording::open(path).expect("a recording");
    let all: Vec<usize> = (0..recording.moments().len()).collect();
    let mut profiles = Vec::new();
    recording
        .profiles(&all, |_, profile| profiles.push(profile))
        .expect("is read");
    profiles
}

/// Profiles as one trace has them: each five seconds after the one before.
fn sequence(profiles: Vec<Profile>) -> Vec<Profile> {
    let after = |(place, mut profile): (u32, Profile)| {
        profile.meta.elapsed = Duration::from_secs(600) + Duration::from_secs(5) * place;
        profile
    };
    (0..).zip(profiles).map(after).collect()
}

fn all_samples() -> Vec<Profile> {
    let all = [leaks::all(), kernel::all(), vm::all()].concat();
    sequence(all.into_iter().map(|sample| sample.profile).collect())
}

fn is_same(written: &[Profile], read: &[Profile]) {
    assert_eq!(written.len(), read.len());
    for (written, read) in written.iter().zip(read) {
        assert_eq!(canonical(read), canonical(written));
    }
}

#[test]
fn what_is_read_is_what_was_written() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.memlens");
    let written = all_samples();
    recorded(&path, &written);
    is_same(&written, &read(&path));
}

/// Wherever a file is cut, what was whole before is read, and the next memlens goes on from there.
#[test]
fn a_cut_file_has_all_whole_snapshots() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.memlens");
    let written: Vec<Profile> = all_samples().into_iter().take(4).collect();
    let mut ends = Vec::new();
    let mut writer = Writer::open(&path).expect("a recording");
    for profile in &written {
        writer.add(profile).expect("is written");
        ends.push(writer.written().1);
    }
    let whole = fs::read(&path).expect("is there");
    let cut = folder.path().join("cut.memlens");
    for length in 0..whole.len() {
        fs::write(&cut, &whole[..length]).expect("is written");
        let snapshots = ends.iter().filter(|end| **end <= length as u64).count();
        match Recording::open(&cut) {
            Ok(recording) => {
                assert_eq!(recording.moments().len(), snapshots, "{length}");
                let at_an_end = ends.contains(&(length as u64));
                assert_eq!(recording.damage().is_none(), at_an_end, "{length}");
            }
            Err(_) => assert_eq!(snapshots, 0, "{length}"),
        }
    }
    let length = ends[2] as usize + 20;
    fs::write(&cut, &whole[..length]).expect("is written");
    recorded(&cut, &written[3..]);
    is_same(&written, &read(&cut));
    let recording = Recording::open(&cut).expect("a recording");
    let sessions: Vec<usize> = recording
        .moments()
        .iter()
        .map(|moment| moment.session)
        .collect();
    assert_eq!((sessions, recording.damage()), (vec![0, 0, 0, 1], None));
}

#[test]
fn what_is_no_recording_is_refused_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("notes.txt");
    fs::write(&path, "some notes").expect("is written");
    let error = Writer::open(&path).err().expect("is refused").to_string();
    assert!(
        error.ends_with("notes.txt: it is no recording; name another file"),
        "{error}"
    );
    assert_eq!(fs::read(&path).expect("is there"), b"some notes");
    let error = Recording::open(&path).expect_err("is refused");
    assert_eq!(error.to_string(), "it is no recording");

    let newer = b"\x50\x2a\x4d\x18\x14\0\0\0memlens recording 2\n";
    fs::write(&path, newer).expect("is written");
    let error = Recording::open(&path).expect_err("is refused");
    assert_eq!(
        error.to_string(),
        "it is a recording of version 2, and this memlens reads version 1: use a newer memlens"
    );
    fs::write(&path, &newer[..8]).expect("is written");
    assert!(matches!(Recording::open(&path), Err(ReadError::Frame(_))));
    fs::write(&path, "").expect("is written");
    assert!(Recording::open(&path).is_err());
}

/// Two writers would write over each other.
#[test]
fn a_file_has_one_writer() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.memlens");
    let mut writer = Writer::open(&path).expect("a recording");
    writer.add(&all_samples()[0]).expect("is written");
    let error = Writer::open(&path).err().expect("is refused").to_string();
    assert!(
        error.ends_with("a.memlens: another memlens records into it; name another file"),
        "{error}"
    );
    writer.add(&all_samples()[0]).expect("is written");
    assert_eq!(read(&path).len(), 2);
    drop(writer);
    assert!(Writer::open(&path).is_ok());
}

/// Fields and records of later versions are passed over.
#[test]
fn what_is_not_known_is_passed_over() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.memlens");
    let written = &all_samples()[..2];
    recorded(&path, &written[..1]);
    let mut file = fs::read(&path).expect("is there");
    let later = br#"{"snapshot_of_threads": {"x": [1, 2]}, "more": null}"#;
    file.extend(zstd::bulk::compress(later, 3).expect("is packed"));
    file.extend(b"\x5f\x2a\x4d\x18\x03\0\0\0abc");
    fs::write(&path, file).expect("is written");
    recorded(&path, &written[1..]);
    is_same(written, &read(&path));
}

#[test]
fn a_rendered_recording_is_one_of_one_snapshot() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("a.memlens");
    let sample = &leaks::all()[0];
    let mut out = Vec::new();
    let renderer = Format::Recording.renderer();
    renderer
        .render(&sample.profile, &Options::default(), &mut out)
        .expect("is rendered");
    fs::write(&path, out).expect("is written");
    is_same(std::slice::from_ref(&sample.profile), &read(&path));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Any profiles come back, one after the other.
    #[test]
    fn any_profiles_come_back(samples in prop::collection::vec(any_sample(), 1..4)) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.memlens");
        let written = sequence(samples.into_iter().map(|sample| sample.profile).collect());
        recorded(&path, &written);
        is_same(&written, &read(&path));
    }

    /// Damaged bytes give an error or what came before, and never a panic.
    #[test]
    fn damaged_bytes_are_noticed(place in any::<prop::sample::Index>(), bit in 0_u8..8) {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("a.memlens");
        recorded(&path, &all_samples()[..3]);
        let mut file = fs::read(&path).expect("is there");
        let place = place.index(file.len());
        file[place] ^= 1 << bit;
        fs::write(&path, file).expect("is written");
        if let Ok(recording) = Recording::open(&path) {
            let all: Vec<usize> = (0..recording.moments().len()).collect();
            let _ = recording.profiles(&all, |_, _| {});
        }
    }
}
