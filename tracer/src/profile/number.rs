//! Values of measures: whole numbers, and rates that need not be whole.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::measure::{Kind, Measure};

/// A value on the wire: a whole number wherever it is one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Number {
    /// A whole number.
    Whole(i64),
    /// Any other number.
    Real(f64),
}

impl Number {
    /// The whole number; a real one is rounded.
    pub const fn whole(self) -> i64 {
        match self {
            Self::Whole(value) => value,
            // A cast of a float ends at the largest number.
            Self::Real(value) => value.round() as i64,
        }
    }

    /// The number, exact up to 2^53.
    pub const fn real(self) -> f64 {
        match self {
            Self::Whole(value) => value as f64,
            Self::Real(value) => value,
        }
    }

    fn plus(self, other: Self) -> Self {
        match (self, other) {
            (Self::Whole(one), Self::Whole(other)) => Self::Whole(one.saturating_add(other)),
            (one, other) => Self::Real(one.real() + other.real()),
        }
    }

    /// Two values of one measure as one value.
    pub fn joined(self, other: Self, measure: Measure) -> Self {
        match measure.kind() {
            Kind::Age if self.real() < other.real() => other,
            Kind::Age | Kind::Property => self,
            Kind::Level | Kind::Total | Kind::Change | Kind::Rate => self.plus(other),
        }
    }
}

impl From<u64> for Number {
    fn from(value: u64) -> Self {
        Self::Whole(i64::try_from(value).unwrap_or(i64::MAX))
    }
}

impl From<i64> for Number {
    fn from(value: i64) -> Self {
        Self::Whole(value)
    }
}

impl From<usize> for Number {
    fn from(value: usize) -> Self {
        Self::from(value as u64)
    }
}

impl From<f64> for Number {
    fn from(value: f64) -> Self {
        Self::Real(value)
    }
}

/// Values by measure; on the wire an object of keys. Keys of a later version are passed over.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Values(BTreeMap<Measure, Number>);

impl Values {
    /// The value of a measure, where there is one.
    pub fn get(&self, measure: Measure) -> Option<Number> {
        self.0.get(&measure).copied()
    }

    /// The whole value of a measure, where there is one.
    pub fn whole(&self, measure: Measure) -> Option<i64> {
        self.get(measure).map(Number::whole)
    }

    /// The value of an amount, which is never below zero; 0 where there is none.
    pub fn amount(&self, measure: Measure) -> u64 {
        self.whole(measure).unwrap_or(0).max(0).cast_unsigned()
    }

    /// Sets a value.
    pub fn set(&mut self, measure: Measure, value: impl Into<Number>) {
        self.0.insert(measure, value.into());
    }

    /// Sets a value, where there is one.
    pub fn set_some(&mut self, measure: Measure, value: Option<impl Into<Number>>) {
        if let Some(value) = value {
            self.set(measure, value);
        }
    }

    /// The same with a value set.
    pub fn with(mut self, measure: Measure, value: impl Into<Number>) -> Self {
        self.set(measure, value);
        self
    }

    /// Joins another value of one measure in.
    pub fn join(&mut self, measure: Measure, value: Number) {
        let joined = self
            .get(measure)
            .map_or(value, |own| own.joined(value, measure));
        self.0.insert(measure, joined);
    }

    /// Joins all other values in.
    pub fn add(&mut self, other: &Self) {
        other
            .iter()
            .for_each(|(measure, value)| self.join(measure, value));
    }

    /// All of them, in the order of the measures.
    pub fn iter(&self) -> impl Iterator<Item = (Measure, Number)> {
        self.0.iter().map(|(measure, value)| (*measure, *value))
    }

    /// Drops the values of other measures than these.
    pub fn retain(&mut self, is_wanted: impl Fn(Measure) -> bool) {
        self.0.retain(|measure, _| is_wanted(*measure));
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(Measure, Number)> for Values {
    fn from_iter<I: IntoIterator<Item = (Measure, Number)>>(values: I) -> Self {
        Self(values.into_iter().collect())
    }
}

impl Serialize for Values {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_map(self.iter().map(|(measure, value)| (measure.key(), value)))
    }
}

impl<'de> Deserialize<'de> for Values {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let values = BTreeMap::<String, Number>::deserialize(from)?;
        let known = values
            .into_iter()
            .map(|(key, value)| (Measure::from_key(&key), value));
        Ok(known
            .filter(|(measure, _)| *measure != Measure::Unknown)
            .collect())
    }
}

impl JsonSchema for Values {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Values".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        let keys: serde_json::Map<String, serde_json::Value> = Measure::ALL
            .iter()
            .map(|measure| {
                (
                    measure.key().to_owned(),
                    serde_json::json!({"type": "number"}),
                )
            })
            .collect();
        schemars::json_schema!({
            "description": "Values by the key of their measure.",
            "type": "object",
            "properties": keys,
            "additionalProperties": false,
        })
    }
}

/// How much more there is now than before; what does not fit is cut, and never wraps.
pub fn difference(now: u64, before: u64) -> i64 {
    let difference = i128::from(now) - i128::from(before);
    i64::try_from(difference).unwrap_or(if difference > 0 { i64::MAX } else { i64::MIN })
}
