//! A profile as a tree of objects, in which a thing keeps its place from one snapshot to the next: then only what
//! changes is recorded.
//!
//! The tree is the profile's JSON form with four differences. Tables of modules, frames and stacks are apart, and the
//! indices into them are those of the whole recording. `subjects` and `samples` are objects by the numbers of
//! [`Identities`]; `order` lists the subjects' numbers in their order, to which all other indices of subjects refer,
//! and a sample's `subject` and `also` are such numbers. A sample's values are an object by the measures' keys. Nothing
//! is null. Samples have no order: they are sorted again by what their source follows.

use std::collections::BTreeSet;

use serde_json::{Map, Value, json};

use super::patch::without_nulls;
use crate::profile::{Identities, Profile, Sample, Source};

/// Digits of numbers that are not whole: slopes and shares, which are estimates.
const DIGITS: i32 = 5;

/// Rows of values, which are objects in the tree.
const ROWS: [&str; 2] = ["values", "before"];

/// What is apart from the tree.
const TABLES: [&str; 3] = ["modules", "frames", "stacks"];

/// The tree of a profile. New things get numbers, and new entries of tables are in `identities.tables`.
///
/// # Errors
/// Those of serde; a profile has none.
pub fn of_profile(
    profile: &Profile,
    identities: &mut Identities,
) -> Result<Value, serde_json::Error> {
    let numbers = identities.number(profile);
    let mut bare = bare(profile);
    bare.stack_references().for_each(|stack| {
        *stack = numbers
            .stacks
            .get(*stack as usize)
            .copied()
            .unwrap_or(*stack);
    });
    for module in bare.sections.cut.iter_mut().map(|cut| &mut cut.module) {
        let known = module.and_then(|module| profile.modules.get(module as usize));
        *module = known.map(|known| {
            identities
                .tables
                .module(&known.path, known.build_id.as_deref())
        });
    }
    let mut tree = serde_json::to_value(bare)?;
    let keys: Vec<&str> = profile
        .measures
        .iter()
        .map(|measure| measure.key())
        .collect();
    let number = |index: &Value| {
        let index = index.as_u64().and_then(|index| usize::try_from(index).ok());
        index
            .and_then(|index| numbers.subjects.get(index))
            .map_or(Value::Null, |number| json!(number))
    };
    for sample in array(&mut tree, "samples") {
        let Value::Object(sample) = sample else {
            continue;
        };
        for row in ROWS {
            if let Some(Value::Array(values)) = sample.get_mut(row).map(Value::take) {
                let values = keys
                    .iter()
                    .zip(values)
                    .map(|(key, value)| ((*key).to_owned(), value));
                sample.insert(row.to_owned(), Value::Object(values.collect()));
            }
        }
        with_subjects(sample, number);
    }
    for (part, numbers) in [
        ("subjects", &numbers.subjects),
        ("samples", &numbers.samples),
    ] {
        let values = std::mem::take(array(&mut tree, part));
        let keyed = numbers.iter().map(ToString::to_string).zip(values);
        tree[part] = Value::Object(keyed.collect());
    }
    tree["order"] = json!(numbers.subjects);
    if let Value::Object(tree) = &mut tree {
        TABLES.iter().for_each(|table| drop(tree.remove(*table)));
    }
    round(&mut tree);
    without_nulls(&mut tree);
    Ok(tree)
}

/// The profile of a tree, with the tables of its recording.
///
/// # Errors
/// What is wrong with the tree.
pub fn to_profile(mut tree: Value, tables: &Profile) -> Result<Profile, serde_json::Error> {
    let order: Vec<Value> = std::mem::take(array(&mut tree, "order"));
    let mut subjects = object(&mut tree, "subjects");
    let taken = order
        .iter()
        .filter_map(|number| subjects.remove(&number.to_string()));
    tree["subjects"] = Value::Array(taken.collect());
    let index = |number: &Value| {
        let place = order.iter().position(|known| known == number);
        place.map_or(json!(u32::MAX), |place| json!(place))
    };
    let columns = tree.get("measures").and_then(Value::as_array);
    let keys = columns
        .into_iter()
        .flatten()
        .filter_map(|column| column.get("key")?.as_str());
    let keys: Vec<String> = keys.map(str::to_owned).collect();
    let samples = object(&mut tree, "samples")
        .into_iter()
        .map(|(_, mut sample)| {
            if let Value::Object(sample) = &mut sample {
                for row in ROWS {
                    if let Some(Value::Object(mut values)) = sample.get_mut(row).map(Value::take) {
                        let values = keys
                            .iter()
                            .map(|key| values.remove(key).unwrap_or(Value::Null));
                        sample.insert(row.to_owned(), values.collect());
                    }
                }
                with_subjects(sample, index);
            }
            sample
        });
    tree["samples"] = samples.collect();
    for table in TABLES {
        tree[table] = json!([]);
    }
    let profile: Profile = serde_json::from_value(tree)?;
    let mut profile = profile.with_tables_of(tables);
    let sources: BTreeSet<Source> = profile.samples.iter().map(|sample| sample.source).collect();
    for source in sources {
        profile.sort(source, source.level());
    }
    Ok(profile)
}

/// What of a profile is in the tree: all but its tables, and what a reader of the recording works out again.
fn bare(profile: &Profile) -> Profile {
    let sample = |sample: &Sample| Sample {
        history: Vec::new(),
        ..sample.clone()
    };
    let mut bare = Profile {
        modules: Vec::new(),
        frames: Vec::new(),
        stacks: Vec::new(),
        samples: profile.samples.iter().map(sample).collect(),
        schema: profile.schema,
        meta: profile.meta.clone(),
        complete: profile.complete,
        measures: profile.measures.clone(),
        subjects: profile.subjects.clone(),
        omitted: profile.omitted.clone(),
        losses: profile.losses.clone(),
        notes: profile.notes.clone(),
        findings: profile.findings.clone(),
        sections: profile.sections.clone(),
    };
    bare.sections.history = None;
    bare.subjects
        .iter_mut()
        .for_each(|subject| subject.history.clear());
    bare
}

/// Replaces the references of a sample to subjects.
fn with_subjects(sample: &mut Map<String, Value>, replace: impl Fn(&Value) -> Value) {
    if let Some(subject) = sample.get_mut("subject") {
        *subject = replace(subject);
    }
    let also = sample.get_mut("also").and_then(Value::as_array_mut);
    also.into_iter()
        .flatten()
        .for_each(|subject| *subject = replace(subject));
}

/// An array of the tree; an empty one is made where there is none.
fn array<'a>(tree: &'a mut Value, key: &str) -> &'a mut Vec<Value> {
    if !tree.get(key).is_some_and(Value::is_array) {
        tree[key] = json!([]);
    }
    match &mut tree[key] {
        Value::Array(values) => values,
        _ => unreachable!("it was made an array"),
    }
}

/// Takes an object out of the tree; an empty one where there is none.
fn object(tree: &mut Value, key: &str) -> Map<String, Value> {
    match tree.get_mut(key).map(Value::take) {
        Some(Value::Object(object)) => object,
        _ => Map::new(),
    }
}

/// Cuts numbers that are not whole to as many digits as an estimate has.
fn round(tree: &mut Value) {
    match tree {
        Value::Object(object) => object.values_mut().for_each(round),
        Value::Array(values) => values.iter_mut().for_each(round),
        Value::Number(number) if number.is_f64() => {
            let value = number.as_f64().unwrap_or(0.0);
            *tree = json!(rounded(value));
        }
        _ => {}
    }
}

fn rounded(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() {
        return value;
    }
    // The shortest text of so many digits reads back as the same number.
    let text = format!("{value:.*e}", DIGITS as usize - 1);
    text.parse().unwrap_or(value)
}
