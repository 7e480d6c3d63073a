//! Checks JSON against the committed schema, compiled once.
//!
//! Also a module of `tracer/tests`: it depends on nothing else of this crate.

use std::sync::LazyLock;

use jsonschema::Validator;
use serde_json::Value;

/// The schema that readers of the output have.
pub const COMMITTED: &str = include_str!(concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/../docs/memlens-1.schema.json"
));

/// One validator for each kind of object that stands alone: an error of `oneOf` itself would not say what is wrong.
static VALIDATORS: LazyLock<Vec<Validator>> = LazyLock::new(|| {
    let schema: Value = serde_json::from_str(COMMITTED).expect("the schema is JSON");
    let roots = schema["oneOf"].as_array().expect("the schema has roots");
    let validator = |root: &Value| {
        let alone = serde_json::json!({"$ref": root["$ref"], "$defs": schema["$defs"]});
        jsonschema::validator_for(&alone).expect("the schema is valid")
    };
    roots.iter().map(validator).collect()
});

/// Whether an object is one that memlens may print.
///
/// # Errors
/// The first thing that is wrong with it, and where; by the kind of object that it is nearest to.
pub fn check(json: &Value) -> Result<(), String> {
    let mut nearest: Option<(usize, String)> = None;
    for validator in VALIDATORS.iter() {
        let mut errors = validator.iter_errors(json);
        let Some(first) = errors.next() else {
            return Ok(());
        };
        let count = 1 + errors.count();
        if nearest.as_ref().is_none_or(|(least, _)| count < *least) {
            let what = first.to_string();
            nearest = Some((
                count,
                format!("at {:?}: {what:.300}", first.instance_path().as_str()),
            ));
        }
    }
    let (_, error) = nearest.expect("the schema has roots");
    Err(error)
}
