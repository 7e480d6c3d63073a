//! A profile of heaps as OTLP: `opentelemetry.proto.profiles.v1development`, which is not stable yet. One resource for
//! each process, four profiles in it, and one dictionary for all.

use std::borrow::Cow;
use std::collections::HashMap;
use std::hash::Hash;

use opentelemetry_proto::tonic::collector::profiles::v1development::ExportProfilesServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::profiles::v1development::{
    Function, KeyValueAndUnit, Line, Link, Location, Mapping, Profile as OtlpProfile,
    ProfilesDictionary, ResourceProfiles, Sample as OtlpSample, ScopeProfiles, Stack, ValueType,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;

use super::path::{self, Step};
use crate::profile::{Frame, Measure, Profile, Sample, Source, Subject};
use crate::words::names;

/// The sample types, as all heap profiles have them.
const TYPES: [(&str, &str, Measure); 4] = [
    ("alloc_objects", "count", Measure::HeapAllocBlocks),
    ("alloc_space", "bytes", Measure::HeapAllocBytes),
    ("inuse_objects", "count", Measure::HeapLiveBlocks),
    ("inuse_space", "bytes", Measure::HeapLiveBytes),
];
/// The attribute that a build id has.
const BUILD_ID: &str = "process.executable.build_id.gnu";

/// A request to export a profile.
pub fn request(profile: &Profile) -> Vec<u8> {
    encoded(profile).encode_to_vec()
}

fn encoded(profile: &Profile) -> ExportProfilesServiceRequest {
    let mut dictionary = Dictionary::new(profile);
    let resources = (0..profile.subjects.len() as u32).filter_map(|subject| {
        let samples = profile.samples_of(Source::Heap);
        let own: Vec<&Sample> = samples.filter(|sample| sample.subject == subject).collect();
        let of = profile.subject(subject)?;
        (!own.is_empty()).then(|| resource(profile, of, &own, &mut dictionary))
    });
    ExportProfilesServiceRequest {
        resource_profiles: resources.collect(),
        dictionary: Some(dictionary.finish()),
    }
}

fn resource(
    profile: &Profile,
    subject: &Subject,
    samples: &[&Sample],
    dictionary: &mut Dictionary<'_>,
) -> ResourceProfiles {
    let text = |value: &str| Value::StringValue(value.to_owned());
    let place = &subject.place;
    let container = place.container.as_ref();
    let attributes = [
        ("service.name", Some(text(&subject.command))),
        ("host.name", Some(text(&profile.meta.host))),
        (
            "process.pid",
            subject.pid.map(|pid| Value::IntValue(i64::from(pid))),
        ),
        ("process.executable.name", Some(text(&subject.command))),
        (
            "container.id",
            container.map(|container| text(&container.id)),
        ),
        ("k8s.pod.uid", place.pod.as_deref().map(text)),
        ("systemd.unit", place.unit.as_deref().map(text)),
    ];
    let attributes = attributes.into_iter().filter_map(|(key, value)| {
        Some(KeyValue {
            key: key.to_owned(),
            value: Some(AnyValue {
                value: Some(value?),
            }),
            ..KeyValue::default()
        })
    });
    let stacks: Vec<i32> = samples
        .iter()
        .map(|sample| dictionary.stack(sample))
        .collect();
    let profiles = TYPES.map(|(name, unit, measure)| {
        let values = samples
            .iter()
            .zip(&stacks)
            .map(|(sample, stack)| OtlpSample {
                stack_index: *stack,
                values: vec![profile.whole(sample, measure).unwrap_or(0)],
                ..OtlpSample::default()
            });
        OtlpProfile {
            sample_type: Some(dictionary.value_type(name, unit)),
            samples: values.filter(|sample| sample.values != [0]).collect(),
            time_unix_nano: u64::try_from(profile.meta.time.as_nanosecond()).unwrap_or(0),
            duration_nano: u64::try_from(profile.meta.elapsed.as_nanos()).unwrap_or(u64::MAX),
            period_type: Some(dictionary.value_type("space", "bytes")),
            period: subject
                .sample_bytes
                .map_or(1, |bytes| i64::try_from(bytes).unwrap_or(i64::MAX)),
            ..OtlpProfile::default()
        }
    });
    ResourceProfiles {
        resource: Some(Resource {
            attributes: attributes.collect(),
            ..Resource::default()
        }),
        scope_profiles: vec![ScopeProfiles {
            scope: Some(InstrumentationScope {
                name: "memlens".to_owned(),
                version: profile.meta.version.clone(),
                ..InstrumentationScope::default()
            }),
            profiles: profiles.into(),
            ..ScopeProfiles::default()
        }],
        ..ResourceProfiles::default()
    }
}

/// A table whose entries stand once; the first is the zero value, as all tables of the protocol have it.
struct Table<K> {
    known: HashMap<K, i32>,
    next: i32,
}

impl<K: Eq + Hash> Table<K> {
    fn new() -> Self {
        Self {
            known: HashMap::new(),
            next: 1,
        }
    }

    /// The index of a key, and whether it is new.
    fn index(&mut self, key: K) -> (i32, bool) {
        if let Some(known) = self.known.get(&key) {
            return (*known, false);
        }
        let new = self.next;
        self.next += 1;
        self.known.insert(key, new);
        (new, true)
    }
}

/// What all profiles refer to.
struct Dictionary<'a> {
    profile: &'a Profile,
    out: ProfilesDictionary,
    strings: Table<String>,
    functions: Table<(i32, i32)>,
    mappings: Table<u32>,
    places: Table<Vec<u32>>,
    words: Table<String>,
    stacks: Table<Vec<i32>>,
}

impl<'a> Dictionary<'a> {
    fn new(profile: &'a Profile) -> Self {
        Self {
            profile,
            out: ProfilesDictionary {
                mapping_table: vec![Mapping::default()],
                location_table: vec![Location::default()],
                function_table: vec![Function::default()],
                link_table: vec![Link::default()],
                string_table: vec![String::new()],
                attribute_table: vec![KeyValueAndUnit::default()],
                stack_table: vec![Stack::default()],
            },
            strings: Table::new(),
            functions: Table::new(),
            mappings: Table::new(),
            places: Table::new(),
            words: Table::new(),
            stacks: Table::new(),
        }
    }

    fn finish(self) -> ProfilesDictionary {
        self.out
    }

    fn string(&mut self, text: &str) -> i32 {
        if text.is_empty() {
            return 0;
        }
        let (index, is_new) = self.strings.index(text.to_owned());
        if is_new {
            self.out.string_table.push(text.to_owned());
        }
        index
    }

    fn value_type(&mut self, name: &str, unit: &str) -> ValueType {
        ValueType {
            type_strindex: self.string(name),
            unit_strindex: self.string(unit),
        }
    }

    /// The stack of a sample, innermost first.
    fn stack(&mut self, sample: &Sample) -> i32 {
        let mut locations = Vec::new();
        let mut at_address: Vec<u32> = Vec::new();
        for step in path::steps(self.profile, sample).iter().rev() {
            let Step::Frame(index) = step else {
                let word = step.word().unwrap_or(Cow::Borrowed("")).into_owned();
                locations.push(self.word(word));
                continue;
            };
            // Inlined functions stand before the function that holds them.
            at_address.push(*index);
            if !self.profile.frames[*index as usize].inlined {
                locations.push(self.place(std::mem::take(&mut at_address)));
            }
        }
        if !at_address.is_empty() {
            locations.push(self.place(at_address));
        }
        let (index, is_new) = self.stacks.index(locations.clone());
        if is_new {
            self.out.stack_table.push(Stack {
                location_indices: locations,
            });
        }
        index
    }

    /// The location of what is no code.
    fn word(&mut self, word: String) -> i32 {
        let key = word.clone();
        if let Some(known) = self.words.known.get(&key) {
            return *known;
        }
        let name = self.string(&word);
        let function_index = self.function(name, 0);
        let index = self.push(Location {
            lines: vec![Line {
                function_index,
                ..Line::default()
            }],
            ..Location::default()
        });
        self.words.known.insert(key, index);
        index
    }

    /// The location of frames that share an address.
    fn place(&mut self, frames: Vec<u32>) -> i32 {
        if let Some(known) = self.places.known.get(&frames) {
            return *known;
        }
        let all = &self.profile.frames;
        let known: Vec<&Frame> = frames
            .iter()
            .filter_map(|frame| all.get(*frame as usize))
            .collect();
        let holder = known.last().copied();
        let module = holder.and_then(|frame| Some((frame.module?, frame.module_offset?)));
        let (mapping_index, address) = match module {
            Some((module, offset)) => (self.mapping(module), offset),
            None => (0, holder.map_or(0, |frame| frame.address)),
        };
        let lines = known.iter().map(|frame| self.line(frame)).collect();
        let index = self.push(Location {
            mapping_index,
            address,
            lines,
            ..Location::default()
        });
        self.places.known.insert(frames, index);
        index
    }

    fn push(&mut self, location: Location) -> i32 {
        let index = self.out.location_table.len();
        self.out.location_table.push(location);
        i32::try_from(index).unwrap_or(0)
    }

    fn line(&mut self, frame: &Frame) -> Line {
        let name = names::frame(self.profile, frame);
        let name = self.string(&name);
        let file = self.string(frame.file.as_deref().unwrap_or_default());
        Line {
            function_index: self.function(name, file),
            line: frame.line.map_or(0, i64::from),
            ..Line::default()
        }
    }

    fn function(&mut self, name: i32, filename: i32) -> i32 {
        let (index, is_new) = self.functions.index((name, filename));
        if is_new {
            self.out.function_table.push(Function {
                name_strindex: name,
                filename_strindex: filename,
                ..Function::default()
            });
        }
        index
    }

    fn mapping(&mut self, module: u32) -> i32 {
        let Some(file) = self.profile.modules.get(module as usize) else {
            return 0;
        };
        let (index, is_new) = self.mappings.index(module);
        if is_new {
            let filename_strindex = self.string(&file.path);
            let build_id = file.build_id.as_deref();
            let attributes = build_id.map(|build_id| self.build_id(build_id));
            self.out.mapping_table.push(Mapping {
                filename_strindex,
                attribute_indices: attributes.into_iter().collect(),
                ..Mapping::default()
            });
        }
        index
    }

    fn build_id(&mut self, build_id: &str) -> i32 {
        let key_strindex = self.string(BUILD_ID);
        let index = self.out.attribute_table.len();
        self.out.attribute_table.push(KeyValueAndUnit {
            key_strindex,
            value: Some(AnyValue {
                value: Some(Value::StringValue(build_id.to_owned())),
            }),
            ..KeyValueAndUnit::default()
        });
        i32::try_from(index).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::{Builder, Meta, Values};

    fn profile() -> Profile {
        let mut build = Builder::new(Meta::default());
        build.measures(Measure::of(Source::Heap));
        let module = build.module("/bin/app", Some("abcd"));
        let frame = |symbol: &str, offset| Frame {
            symbol: Some(symbol.into()),
            module: Some(module),
            module_offset: Some(offset),
            address: 0x1000 + offset,
            ..Frame::default()
        };
        let frames = [frame("inner", 16), frame("main", 32)];
        let frames = frames.map(|frame| build.frame(frame));
        for pid in [7, 8] {
            let subject = build.subject(Subject::process(pid, "app"));
            let stack = build.stack(frames.to_vec(), None);
            let values = Values::default()
                .with(Measure::HeapLiveBytes, u64::from(pid) * 100)
                .with(Measure::HeapAllocBytes, 1_000_u64);
            let sample = build.sample(Source::Heap, subject, Some(stack), &values);
            build.add(sample);
        }
        build.finish()
    }

    #[test]
    fn each_process_is_a_resource_and_the_dictionary_is_shared() {
        let bytes = request(&profile());
        let request = ExportProfilesServiceRequest::decode(bytes.as_slice()).expect("decodes");
        let dictionary = request.dictionary.expect("a dictionary");
        assert_eq!(request.resource_profiles.len(), 2);
        assert_eq!(
            dictionary.stack_table.len(),
            2,
            "one stack, and the zero value"
        );
        assert_eq!(dictionary.mapping_table.len(), 2);
        assert!(dictionary.string_table[0].is_empty());
        let text = |index: i32| dictionary.string_table[index as usize].as_str();
        let resource = &request.resource_profiles[1];
        let profiles = &resource.scope_profiles[0].profiles;
        let types: Vec<&str> = profiles
            .iter()
            .map(|profile| text(profile.sample_type.as_ref().expect("a type").type_strindex))
            .collect();
        assert_eq!(
            types,
            [
                "alloc_objects",
                "alloc_space",
                "inuse_objects",
                "inuse_space"
            ]
        );
        assert!(profiles[0].samples.is_empty(), "zeros are left out");
        let sample = &profiles[3].samples[0];
        assert_eq!(sample.values, [800]);
        let stack = &dictionary.stack_table[sample.stack_index as usize];
        let names: Vec<&str> = stack
            .location_indices
            .iter()
            .map(|location| {
                let location = &dictionary.location_table[*location as usize];
                let function = location.lines[0].function_index;
                text(dictionary.function_table[function as usize].name_strindex)
            })
            .collect();
        assert_eq!(names, ["inner", "main"]);
    }
}
