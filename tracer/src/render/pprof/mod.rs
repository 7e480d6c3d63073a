//! A profile as pprof: `profile.proto` in gzip, which `go tool pprof`, Parca, Pyroscope and speedscope read.

mod proto;
mod tables;
#[cfg(test)]
mod tests;

use std::io::{self, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use prost::Message;

use self::tables::Tables;
use super::{Options, Render};
use crate::profile::{Detail, Measure, Number, Profile, Sample, Source};
use crate::words::complete;
use crate::words::loss::sentences;

/// The renderer: a sample for each sample with a value.
///
/// Heaps and the kernel's memory have the four sample types of Go's heap profiles, by which every viewer knows them. Of
/// a difference, the earlier values are samples of their own, negative and with the label that pprof's `-diff_base`
/// gives them, so that shares are of the earlier total there too.
pub struct Pprof;

impl Render for Pprof {
    fn render(&self, profile: &Profile, _: &Options, out: &mut dyn Write) -> io::Result<()> {
        let encoded = encoded(profile).encode_to_vec();
        let mut out = GzEncoder::new(out, Compression::default());
        out.write_all(&encoded)?;
        out.finish().map(drop)
    }
}

/// A column of values: its name, its unit, where it comes from.
type Column = (&'static str, &'static str, Measure);

/// The columns of a source; the one that viewers show first is the last but those of memory in use.
const fn columns(source: Source) -> &'static [Column] {
    match source {
        Source::Heap => &[
            ("alloc_objects", "count", Measure::HeapAllocBlocks),
            ("alloc_space", "bytes", Measure::HeapAllocBytes),
            ("inuse_objects", "count", Measure::HeapLiveBlocks),
            ("inuse_space", "bytes", Measure::HeapLiveBytes),
        ],
        Source::Kernel => &[
            ("alloc_objects", "count", Measure::KernelAllocBlocks),
            ("alloc_space", "bytes", Measure::KernelAllocBytes),
            ("inuse_objects", "count", Measure::KernelLiveBlocks),
            ("inuse_space", "bytes", Measure::KernelLiveBytes),
        ],
        Source::AddressSpace => &[
            ("mapped_total_space", "bytes", Measure::VmMappedTotalBytes),
            ("mapped_ranges", "count", Measure::VmRanges),
            ("resident_space", "bytes", Measure::VmResidentBytes),
            ("mapped_space", "bytes", Measure::VmMappedBytes),
        ],
        Source::PageFaults => &[
            ("faults", "count", Measure::FaultsCount),
            ("major_faults", "count", Measure::FaultsMajor),
            ("new_space", "bytes", Measure::FaultsNewBytes),
        ],
        Source::Process => &[],
    }
}

/// Marks the earlier samples of a difference, as pprof does itself.
const BASE: &str = "pprof::base";

fn encoded(profile: &Profile) -> proto::Profile {
    let columns = all_columns(profile);
    let mut tables = Tables::new(profile);
    let value_type = |tables: &mut Tables<'_>, name, unit| proto::ValueType {
        r#type: tables.string(name),
        unit: tables.string(unit),
    };
    let sample_type = columns
        .iter()
        .map(|(name, unit, _)| value_type(&mut tables, name, unit))
        .collect();
    let shown = columns
        .iter()
        .find(|(.., measure)| *measure == profile.main_source().level());
    let default_sample_type = shown.map_or(0, |(name, ..)| tables.string(name));
    let period_type = value_type(&mut tables, "space", "bytes");
    let mut samples = Vec::new();
    for sample in profile.samples.iter().filter(|sample| !sample.is_backing()) {
        let now = values(&columns, |measure| profile.after(sample, measure));
        let before = values(&columns, |measure| profile.before(sample, measure));
        let before = before.map(|before| before.iter().map(|value| -value).collect());
        for (value, is_base) in [(now, false), (before, true)] {
            if let Some(value) = value {
                samples.push(proto::Sample {
                    location_id: tables.locations(sample),
                    value,
                    label: labels(&mut tables, profile, sample, is_base),
                });
            }
        }
    }
    let comment = comments(profile);
    let comment = comment.iter().map(|text| tables.string(text)).collect();
    let proto = proto::Profile {
        sample_type,
        sample: samples,
        time_nanos: i64::try_from(profile.meta.time.as_nanosecond()).unwrap_or(0),
        duration_nanos: i64::try_from(profile.meta.elapsed.as_nanos()).unwrap_or(i64::MAX),
        period_type: Some(period_type),
        period: period(profile),
        comment,
        default_sample_type,
        ..proto::Profile::default()
    };
    tables.fill(proto)
}

/// The columns of all sources that have samples, those of the first one first. A name stands once.
fn all_columns(profile: &Profile) -> Vec<Column> {
    let sources = [
        Source::Heap,
        Source::Kernel,
        Source::AddressSpace,
        Source::PageFaults,
    ];
    let mut all: Vec<Column> = Vec::new();
    for source in sources.into_iter().filter(|source| profile.has(*source)) {
        let known: Vec<&str> = all.iter().map(|(name, ..)| *name).collect();
        let new = columns(source)
            .iter()
            .filter(|(name, ..)| !known.contains(name));
        all.extend(new);
    }
    all
}

/// The values of a sample; `None` if all are zero.
fn values(columns: &[Column], value: impl Fn(Measure) -> Option<Number>) -> Option<Vec<i64>> {
    let values = columns
        .iter()
        .map(|(.., measure)| value(*measure).map_or(0, Number::whole));
    let values: Vec<i64> = values.collect();
    values.iter().any(|value| *value != 0).then_some(values)
}

/// Whose a sample is, and what kind of memory. PIDs are numbers: as strings, each would be a series of its own in
/// Pyroscope.
fn labels(
    tables: &mut Tables<'_>,
    profile: &Profile,
    sample: &Sample,
    is_base: bool,
) -> Vec<proto::Label> {
    let mut labels = Vec::new();
    let mut text = |tables: &mut Tables<'_>, key: &str, value: &str| {
        if !value.is_empty() {
            labels.push(proto::Label {
                key: tables.string(key),
                str: tables.string(value),
                num: 0,
            });
        }
    };
    let subject = profile.subject(sample.subject);
    if let Some(subject) = subject {
        text(tables, "comm", &subject.command);
        let container = subject.place.container.as_ref();
        let container = container.map(ToString::to_string).unwrap_or_default();
        text(tables, "container", &container);
        text(
            tables,
            "unit",
            subject.place.unit.as_deref().unwrap_or_default(),
        );
    }
    match &sample.detail {
        Some(Detail::Kernel(object)) => text(tables, "kind", &object.what),
        Some(Detail::Region(region)) => {
            let kinds = region.kinds.iter().map(|kind| kind.name());
            text(tables, "kind", &kinds.collect::<Vec<_>>().join(", "));
        }
        _ => {}
    }
    if is_base {
        text(tables, BASE, "true");
    }
    if let Some(pid) = subject.and_then(|subject| subject.pid) {
        labels.push(proto::Label {
            key: tables.string("pid"),
            str: 0,
            num: i64::from(pid),
        });
    }
    labels
}

/// Mean bytes between two samples, or 1 where everything is followed. Values are scaled already.
fn period(profile: &Profile) -> i64 {
    let sections = &profile.sections;
    let heap = sections.heap.as_ref().and_then(|heap| heap.sampling);
    let kernel = sections.kernel.as_ref().and_then(|kernel| kernel.sampling);
    let interval = heap
        .or(kernel)
        .map_or(1, |sampling| sampling.interval_bytes);
    i64::try_from(interval.max(1)).unwrap_or(i64::MAX)
}

/// What a viewer is to say of the whole: whether it is complete, what was found, what was lost, what is not covered.
fn comments(profile: &Profile) -> Vec<String> {
    let (mark, why) = complete::verdict(profile);
    let found = profile.findings.iter().map(|finding| finding.text.clone());
    let lost = sentences(profile).into_iter().map(|lost| lost.text);
    let from = format!(
        "memlens {} on {}, Linux {}",
        profile.meta.version, profile.meta.host, profile.meta.kernel
    );
    [from, format!("{mark} {why}")]
        .into_iter()
        .chain(found)
        .chain(lost)
        .chain(profile.notes.iter().cloned())
        .collect()
}
