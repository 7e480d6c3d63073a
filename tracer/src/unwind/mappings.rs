//! From a process's maps and its files' tables to the mappings that the kernel searches.

use tracer_common::unwind::{Mapping, Rule};

use super::elf::Segment;
use crate::process::maps::{self, MappingName};

/// What is known of the code of a mapped file or of the `[vdso]`.
#[derive(Clone, Copy, Debug)]
pub enum Code<'a> {
    /// It has a table, and that is in the kernel.
    Table {
        /// Of the [`super::Table`].
        segments: &'a [Segment],
        /// Of the [`super::Table`].
        base: u64,
        /// Where its buckets were stored.
        first_bucket: u32,
        /// How many they are.
        buckets: u32,
    },
    /// It is generated, and has a table that counts from an address in the process.
    Generated {
        /// That address.
        base: u64,
        /// Where its buckets were stored.
        first_bucket: u32,
        /// How many they are.
        buckets: u32,
    },
    /// One rule holds in all of it: [`Rule::NO_FDE`] for code that was built without tables,
    /// [`Rule::NO_TABLE`] for a table that is damaged or not loaded.
    Uniform(Rule),
    /// Its table is being built: the mapping is left out, so that the kernel side goes by the file until it is there.
    Unknown,
}

/// First address of the kernel's half, where `[vsyscall]` is.
const KERNEL: u64 = 1 << 63;
const PAGE: u64 = 4096;

/// The executable mappings of a process, sorted; `code` is asked for each file mapping, memory without a file and the
/// `[vdso]`.
///
/// Memory without a file is code of a just-in-time compiler, most of which is walked by frame pointers. Pieces of one
/// file that lie side by side become one mapping. The result may be longer than
/// [`tracer_common::unwind::MAX_MAPPINGS`]; what is beyond is not found by the kernel.
pub fn mappings<'a>(
    maps: &[maps::Mapping],
    mut code: impl FnMut(&maps::Mapping) -> Code<'a>,
) -> Vec<Mapping> {
    let mut placed: Vec<Mapping> = Vec::new();
    let executable = |mapping: &&maps::Mapping| mapping.execute && mapping.start < KERNEL;
    for mapping in maps.iter().filter(executable) {
        let Some(next) = place(mapping, code_of(mapping, &mut code)) else {
            continue;
        };
        match placed.last_mut() {
            Some(last) if continues(last, &next) => last.end = next.end,
            _ => placed.push(next),
        }
    }
    placed.sort_by_key(|mapping| mapping.start);
    placed
}

fn code_of<'a>(
    mapping: &maps::Mapping,
    code: &mut impl FnMut(&maps::Mapping) -> Code<'a>,
) -> Code<'a> {
    match &mapping.name {
        MappingName::File { .. } => code(mapping),
        MappingName::Special(name) if name == "[vdso]" => code(mapping),
        // The page that uprobes execute from; return probes put its address into stacks.
        MappingName::Special(name) if name == "[uprobes]" => Code::Uniform(Rule::RETURN_PROBE),
        MappingName::Anonymous => code(mapping),
        MappingName::Special(_) => Code::Uniform(Rule::NO_FDE),
    }
}

fn place(mapping: &maps::Mapping, code: Code<'_>) -> Option<Mapping> {
    Some(match code {
        Code::Unknown => return None,
        Code::Uniform(rule) => Mapping::uniform(mapping.start, mapping.end, rule),
        Code::Generated {
            base,
            first_bucket,
            buckets,
        } => Mapping {
            start: mapping.start,
            end: mapping.end,
            bias: base,
            first_bucket,
            buckets,
        },
        Code::Table {
            segments,
            base,
            first_bucket,
            buckets,
        } => match segment_at(segments, mapping.offset) {
            Some(segment) => Mapping {
                start: mapping.start,
                end: mapping.end,
                bias: load_bias(mapping, segment).wrapping_add(base),
                first_bucket,
                buckets,
            },
            // A part of the file that is no code by its own program headers.
            None => Mapping::uniform(mapping.start, mapping.end, Rule::NO_TABLE),
        },
    })
}

/// AVMA minus SVMA.
const fn load_bias(mapping: &maps::Mapping, segment: &Segment) -> u64 {
    mapping
        .start
        .wrapping_sub(mapping.offset)
        .wrapping_add(segment.offset)
        .wrapping_sub(segment.address)
}

/// The executable segment that a mapping of the file shows from `offset` on. The kernel maps whole pages,
/// so that a mapping may begin before its segment, on a page that it shares with another one.
fn segment_at(segments: &[Segment], offset: u64) -> Option<&Segment> {
    let first_page = |segment: &Segment| segment.offset / PAGE * PAGE;
    let starts = segments
        .iter()
        .find(|segment| first_page(segment) == offset);
    starts.or_else(|| {
        segments.iter().find(|segment| {
            let end = segment.offset.saturating_add(segment.size);
            (first_page(segment)..end).contains(&offset)
        })
    })
}

fn continues(last: &Mapping, next: &Mapping) -> bool {
    last.end == next.start
        && last.bias == next.bias
        && last.first_bucket == next.first_bucket
        && last.buckets == next.buckets
}
