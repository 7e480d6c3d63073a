//! Forms on the wire that serde does not have by itself: times, durations in milliseconds, addresses, the schema's
//! name.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::time::Duration;

use schemars::{JsonSchema, SchemaGenerator, json_schema};
use serde::de::value::StrDeserializer;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{SCHEMA, Schema};

/// Whole milliseconds of a duration.
pub fn milliseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// A time as RFC 3339 with milliseconds.
pub mod time {
    use super::*;
    use jiff::Timestamp;

    pub fn serialize<S: Serializer>(time: &Timestamp, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{time:.3}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Timestamp, D::Error> {
        let text = Cow::<str>::deserialize(from)?;
        text.parse().map_err(D::Error::custom)
    }
}

/// A duration as whole milliseconds.
pub mod millis {
    use super::*;

    pub fn serialize<S: Serializer>(duration: &Duration, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_u64(milliseconds(*duration))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Duration, D::Error> {
        u64::deserialize(from).map(Duration::from_millis)
    }
}

/// Durations as whole milliseconds.
pub mod all_millis {
    use super::*;

    pub fn serialize<S: Serializer>(durations: &[Duration], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(durations.iter().map(|duration| milliseconds(*duration)))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Duration>, D::Error> {
        let millis = Vec::<u64>::deserialize(from)?;
        Ok(millis.into_iter().map(Duration::from_millis).collect())
    }
}

/// A duration as whole milliseconds, or null.
pub mod optional_millis {
    use super::*;

    pub fn serialize<S: Serializer>(duration: &Option<Duration>, to: S) -> Result<S::Ok, S::Error> {
        duration.map(milliseconds).serialize(to)
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Duration>, D::Error> {
        Ok(Option::<u64>::deserialize(from)?.map(Duration::from_millis))
    }
}

/// An address as text, `"0x..."`: many readers keep numbers as doubles, which hold 53 bits.
pub mod address {
    use super::*;

    pub fn serialize<S: Serializer>(address: &u64, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(&format_args!("{address:#x}"))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<u64, D::Error> {
        parse(&Cow::<str>::deserialize(from)?).map_err(D::Error::custom)
    }

    pub(super) fn parse(text: &str) -> Result<u64, String> {
        let digits = text
            .strip_prefix("0x")
            .ok_or_else(|| format!("{text:?} is no address"))?;
        u64::from_str_radix(digits, 16).map_err(|error| format!("{text:?}: {error}"))
    }
}

/// An address as text, or null.
pub mod optional_address {
    use super::*;

    pub fn serialize<S: Serializer>(address: &Option<u64>, to: S) -> Result<S::Ok, S::Error> {
        match address {
            Some(address) => super::address::serialize(address, to),
            None => to.serialize_none(),
        }
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
        let text = Option::<Cow<str>>::deserialize(from)?;
        text.map(|text| super::address::parse(&text))
            .transpose()
            .map_err(D::Error::custom)
    }
}

/// A map by enum; keys that this version does not know are passed over.
pub fn known_keys<'de, D, K, V>(from: D) -> Result<BTreeMap<K, V>, D::Error>
where
    D: Deserializer<'de>,
    K: DeserializeOwned + Ord,
    V: DeserializeOwned,
{
    let map = BTreeMap::<String, V>::deserialize(from)?;
    let known = map.into_iter().filter_map(|(key, value)| {
        let key = StrDeserializer::<serde::de::value::Error>::new(&key);
        Some((K::deserialize(key).ok()?, value))
    });
    Ok(known.collect())
}

impl Serialize for Schema {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(SCHEMA)
    }
}

impl<'de> Deserialize<'de> for Schema {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = Cow::<str>::deserialize(from)?;
        match name == SCHEMA {
            true => Ok(Self),
            false => Err(D::Error::custom(format!(
                "its schema is {name:?}, not {SCHEMA:?}"
            ))),
        }
    }
}

impl JsonSchema for Schema {
    fn schema_name() -> Cow<'static, str> {
        "Schema".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> schemars::Schema {
        json_schema!({"description": "Name and version of the form.", "const": SCHEMA})
    }
}
