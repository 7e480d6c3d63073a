//! A profile for speedscope (<https://www.speedscope.app/file-format-schema.json>): one of its profiles for each process
//! and figure.

use std::io::{self, Write};

use serde::Serialize;

use super::path::{self, Step};
use super::{Options, Render};
use crate::profile::{Measure, Profile, Sample, Source, Unit};
use crate::words::{measure, names};

const SCHEMA: &str = "https://www.speedscope.app/file-format-schema.json";

/// The renderer. Of a difference it shows what has grown, as widths cannot be negative.
pub struct Speedscope;

impl Render for Speedscope {
    fn render(&self, profile: &Profile, _: &Options, out: &mut dyn Write) -> io::Result<()> {
        serde_json::to_writer(&mut *out, &file(profile))?;
        writeln!(out)
    }
}

/// A file of speedscope.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct File {
    #[serde(rename = "$schema")]
    schema: &'static str,
    name: String,
    active_profile_index: usize,
    exporter: String,
    shared: Shared,
    profiles: Vec<Sampled>,
}

#[derive(Serialize)]
struct Shared {
    frames: Vec<FrameName>,
}

/// A function; equal ones are one to speedscope.
#[derive(Serialize, PartialEq, Eq, Hash, Clone)]
struct FrameName {
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    file: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    line: Option<u32>,
}

/// Stacks with weights, outermost frame first.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Sampled {
    r#type: &'static str,
    name: String,
    unit: &'static str,
    start_value: i64,
    end_value: i64,
    samples: Vec<Vec<usize>>,
    weights: Vec<i64>,
}

/// The figures of a source that widths can be.
const fn measures(source: Source) -> &'static [Measure] {
    match source {
        Source::Heap => &[
            Measure::HeapLiveBytes,
            Measure::HeapLiveBlocks,
            Measure::HeapAllocBytes,
        ],
        Source::AddressSpace => &[Measure::VmMappedBytes, Measure::VmResidentBytes],
        Source::PageFaults => &[Measure::FaultsNewBytes, Measure::FaultsCount],
        Source::Kernel => &[
            Measure::KernelLiveBytes,
            Measure::KernelLiveBlocks,
            Measure::KernelAllocBytes,
        ],
        Source::Process => &[],
    }
}

fn file(profile: &Profile) -> File {
    let mut frames: Vec<FrameName> = profile
        .frames
        .iter()
        .map(|frame| FrameName {
            name: names::frame(profile, frame),
            file: frame.file.as_deref().map(str::to_owned),
            line: frame.line,
        })
        .collect();
    let paths: Vec<Vec<usize>> = profile
        .samples
        .iter()
        .map(|sample| path_of(profile, sample, &mut frames))
        .collect();
    let subjects = 0..u32::try_from(profile.subjects.len()).unwrap_or(u32::MAX);
    let figures = profile.measures.iter().copied();
    let figures = figures.filter(|measure| measures(measure.source()).contains(measure));
    let profiles = figures.flat_map(|figure| {
        let of = |subject| sampled(profile, subject, figure, &paths);
        subjects.clone().filter_map(of).collect::<Vec<_>>()
    });
    let profiles: Vec<Sampled> = profiles.collect();
    File {
        schema: SCHEMA,
        name: format!("memlens: {}", names::subject(profile)),
        active_profile_index: 0,
        exporter: format!("memlens {}", profile.meta.version),
        shared: Shared { frames },
        profiles,
    }
}

/// The steps of a sample as indices of frames; those that are no frames are added.
fn path_of(profile: &Profile, sample: &Sample, frames: &mut Vec<FrameName>) -> Vec<usize> {
    let steps = path::steps(profile, sample);
    let place = |step: &Step<'_>| match step {
        Step::Frame(frame) => *frame as usize,
        step => {
            let name = FrameName {
                name: step.word().unwrap_or_default().into_owned(),
                file: None,
                line: None,
            };
            let added = &frames[profile.frames.len()..];
            let known = added.iter().position(|frame| *frame == name);
            known.map_or_else(
                || {
                    frames.push(name);
                    frames.len() - 1
                },
                |known| profile.frames.len() + known,
            )
        }
    };
    steps.iter().map(place).collect()
}

/// The stacks of one subject by one figure; `None` if there are none.
fn sampled(
    profile: &Profile,
    subject: u32,
    figure: Measure,
    paths: &[Vec<usize>],
) -> Option<Sampled> {
    let samples = profile.samples.iter().zip(paths).filter(|(sample, _)| {
        sample.subject == subject
            && sample.source == figure.source()
            && !sample.is_backing()
            && profile.amount(sample, figure) > 0
    });
    let (samples, weights): (Vec<_>, Vec<_>) = samples
        .map(|(sample, path)| {
            let weight = profile.whole(sample, figure).unwrap_or(0);
            (path.clone(), weight)
        })
        .unzip();
    let sum: i64 = weights
        .iter()
        .fold(0, |sum, weight| sum.saturating_add(*weight));
    let unit = match figure.unit() {
        Unit::Bytes => "bytes",
        _ => "none",
    };
    (!samples.is_empty()).then(|| Sampled {
        r#type: "sampled",
        name: format!(
            "{}: {}",
            names::subject_at(profile, subject),
            measure::words(figure, sum.max(0).cast_unsigned())
        ),
        unit,
        start_value: 0,
        end_value: sum,
        samples,
        weights,
    })
}
