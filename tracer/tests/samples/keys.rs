//! The keys of a section of the JSON form, and those that a document lists.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::Value;

/// Adds the path of every key of a value; the items of a list have one path, those of a map by name have "*". What has
/// a form of its own, described elsewhere (`apart`), is not entered.
pub fn keys_of(
    value: &Value,
    path: &str,
    maps: &[&str],
    apart: &[&str],
    keys: &mut BTreeSet<String>,
) {
    match value {
        Value::Object(object) => {
            for (key, value) in object {
                let name = if maps.contains(&path) { "*" } else { key };
                let path = format!("{path}.{name}");
                if name != "*" {
                    keys.insert(path.clone());
                }
                if !apart.contains(&name) {
                    keys_of(value, &path, maps, apart, keys);
                }
            }
        }
        Value::Array(items) => {
            let path = format!("{path}[]");
            items
                .iter()
                .for_each(|item| keys_of(item, &path, maps, apart, keys));
        }
        _ => {}
    }
}

/// The part under "## JSON" of a document in `docs`.
pub fn json_part(document: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../docs")
        .join(document);
    let text = std::fs::read_to_string(path).expect("the document");
    let (_, text) = text.split_once("\n## JSON\n").expect("the part on JSON");
    text.split("\n## ")
        .next()
        .expect("the part on JSON")
        .to_owned()
}

/// The keys in the first column of the tables of a text.
pub fn documented(text: &str) -> BTreeSet<String> {
    let cells = text
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split('|').next());
    let keys = cells.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    keys.map(str::to_owned).collect()
}
