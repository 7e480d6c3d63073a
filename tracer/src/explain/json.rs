//! The explanation for programs: one JSON object on one line. Its form is a promise, written down in `docs/explain.md`.

use std::io::{self, Write};

use serde::{Deserialize, Serialize};

use super::diff::Change;
use super::growth::{Growth, json::WireGrowth};
use super::value::Explanation;
use crate::report::json::write_line;

/// Name and version of the form; the number changes when a reader could break.
pub const SCHEMA: &str = "memlens.explain/1";

#[derive(Serialize)]
struct Document<'a> {
    schema: &'static str,
    #[serde(flatten)]
    explanation: &'a Explanation,
    #[serde(skip_serializing_if = "Option::is_none")]
    change: Option<&'a Change>,
    #[serde(skip_serializing_if = "Option::is_none")]
    growth: Option<WireGrowth<'a>>,
}

#[derive(Deserialize)]
struct Head {
    schema: String,
}

/// Writes the explanation as one line.
///
/// # Errors
/// Those of `out`.
pub fn write(
    explanation: &Explanation,
    change: Option<&Change>,
    growth: Option<&Growth>,
    out: &mut impl Write,
) -> io::Result<()> {
    let document = Document {
        schema: SCHEMA,
        explanation,
        change,
        growth: growth.map(WireGrowth::of),
    };
    write_line(&document, out)
}

/// Reads what [`write`] wrote.
///
/// # Errors
/// What is wrong with it, in words.
pub fn parse(text: &[u8]) -> Result<Explanation, String> {
    let head: Head = serde_json::from_slice(text).map_err(|error| error.to_string())?;
    if head.schema != SCHEMA {
        return Err(format!("its schema is {:?}, not {SCHEMA:?}", head.schema));
    }
    serde_json::from_slice(text).map_err(|error| error.to_string())
}
