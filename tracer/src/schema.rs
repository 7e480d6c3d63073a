//! The JSON Schema of everything that memlens prints as JSON (`docs/memlens-1.schema.json`), generated from the types.

use schemars::generate::SchemaSettings;
use schemars::{Schema, SchemaGenerator, json_schema};

use crate::profile::Profile;
use crate::sources::calls::Call;

/// What stands alone in an output: one of these types, which adds its own definition.
const ROOTS: &[fn(&mut SchemaGenerator) -> Schema] = &[
    SchemaGenerator::subschema_for::<Profile>,
    SchemaGenerator::subschema_for::<Call<'static>>,
];

/// The schema. Keys that are always written are required; keys that it does not name belong to a later version.
pub fn schema() -> Schema {
    let mut generator = SchemaSettings::draft2020_12()
        .for_serialize()
        .into_generator();
    let roots: Vec<Schema> = ROOTS.iter().map(|root| root(&mut generator)).collect();
    json_schema!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": crate::profile::SCHEMA,
        "description": "One object on one line of what memlens prints as JSON.",
        "oneOf": roots,
        "$defs": generator.take_definitions(true),
    })
}
