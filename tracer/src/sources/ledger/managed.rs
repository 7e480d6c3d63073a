//! Looks for the heaps of language runtimes in a process, and for what they publish.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::path::PathBuf;

use super::memory::{ProcessMemory, ReadError};
use super::rows::is_plain_anonymous;
use super::runtime::hsperf::Counters;
use super::runtime::{RuntimeKind, by_file, cpython, go, hotspot, hsperf, ruby, v8};
use super::symbols;
use crate::process::files;
use crate::process::info::ProcessInfo;
use crate::process::maps::{MappedFile, Mapping, MappingName, executable_files};
use crate::profile::ledger::{LanguageRuntime, PublishedFigure, Purpose, Range, Row, RowName};

/// Where Go asks for its heap on 64-bit Linux, and how far it grows from there before it is taken for something else.
const GO_HEAP: std::ops::Range<u64> = 0xc0_0000_0000..0xe0_0000_0000;
/// Most bytes of a file of performance counters.
const MOST_COUNTERS: u64 = 4 << 20;

/// What a runtime's heap is called in the ledger.
const fn heap_name(kind: RuntimeKind) -> &'static str {
    match kind {
        RuntimeKind::Python => "Python object arenas",
        RuntimeKind::Node => "V8 heap",
        RuntimeKind::Java => "Java heap",
        RuntimeKind::Go => "Go heap",
        RuntimeKind::Ruby => "Ruby heap",
        RuntimeKind::Dotnet => ".NET heap",
    }
}

/// The runtimes whose files are mapped; Go shows by where its heap lies.
pub fn kinds(mappings: &[Mapping]) -> BTreeSet<RuntimeKind> {
    let files = executable_files(mappings);
    let mut kinds: BTreeSet<_> = files
        .iter()
        .filter_map(|file| by_file(&file.path))
        .collect();
    if is_go(mappings) {
        kinds.insert(RuntimeKind::Go);
    }
    kinds
}

/// Whether a process is one of Go's: its heap begins where Go always wants it, or has the name that Go gives it. V8
/// chooses addresses of that size by chance, but not this very one.
fn is_go(mappings: &[Mapping]) -> bool {
    let begins = |mapping: &Mapping| {
        matches!(&mapping.name, MappingName::Special(_)) || mapping.start == GO_HEAP.start
    };
    mappings
        .iter()
        .any(|mapping| is_go_heap(mapping) && begins(mapping))
}

/// Whether a mapping is where Go puts its heap.
fn is_go_heap(mapping: &Mapping) -> bool {
    match &mapping.name {
        MappingName::Special(name) => name.starts_with("[anon: Go:"),
        MappingName::Anonymous => is_plain_anonymous(mapping) && GO_HEAP.contains(&mapping.start),
        MappingName::File { .. } => false,
    }
}

/// Looks at every runtime: what is known of each, and where their heaps lie.
///
/// # Errors
/// [`ReadError`], but only where nothing can be read any more.
pub fn look(
    memory: &mut ProcessMemory,
    info: &ProcessInfo,
    mappings: &[Mapping],
    kinds: &BTreeSet<RuntimeKind>,
) -> Result<(Vec<LanguageRuntime>, Vec<Range>), ReadError> {
    let anonymous: Vec<(u64, u64)> = mappings
        .iter()
        .filter(|mapping| is_plain_anonymous(mapping))
        .map(|mapping| (mapping.start, mapping.end))
        .collect();
    let mut runtimes = Vec::new();
    let mut labels = Vec::new();
    for kind in kinds {
        let mut runtime = LanguageRuntime {
            name: kind.words().to_owned(),
            ..LanguageRuntime::default()
        };
        let ranges = match kind {
            RuntimeKind::Python => python(&mut runtime, memory, &anonymous)?,
            RuntimeKind::Node => v8::pages(memory, &anonymous)?,
            RuntimeKind::Java => java(&mut runtime, memory, info, mappings)?,
            RuntimeKind::Go => {
                go_counters(&mut runtime, memory, info, mappings);
                go_heap(mappings)
            }
            RuntimeKind::Ruby => ruby::pages(memory, &anonymous)?,
            RuntimeKind::Dotnet => Vec::new(),
        };
        let row = RowName {
            kind: Purpose::RuntimeHeap,
            name: Some(heap_name(*kind).to_owned()),
        };
        let label = |(start, end)| Range::new(start, end, row.clone());
        labels.extend(ranges.into_iter().map(label));
        runtimes.push(runtime);
    }
    Ok((runtimes, labels))
}

/// Once the ledger's rows are there: how much of each runtime's heap is in memory.
pub fn settle(runtimes: &mut [LanguageRuntime], rows: &[Row], kinds: &BTreeSet<RuntimeKind>) {
    for (runtime, kind) in runtimes.iter_mut().zip(kinds) {
        let is_heap = |name: &str| {
            name == heap_name(*kind)
                || *kind == RuntimeKind::Go && name.starts_with("Go:")
                || *kind == RuntimeKind::Ruby && name.starts_with("Ruby:")
        };
        let is_heap = |row: &&Row| {
            row.row.kind == Purpose::RuntimeHeap && row.row.name.as_deref().is_some_and(is_heap)
        };
        let heap: Vec<u64> = rows
            .iter()
            .filter(is_heap)
            .map(|row| row.resident_bytes)
            .collect();
        runtime.heap_resident_bytes = (!heap.is_empty()).then(|| heap.iter().sum());
        if heap.is_empty() {
            runtime.unreadable = Some(format!(
                "its heap was not recognised among the anonymous memory; {}",
                kind.how_to_ask()
            ));
        }
    }
}

fn python(
    runtime: &mut LanguageRuntime,
    memory: &mut ProcessMemory,
    anonymous: &[(u64, u64)],
) -> Result<Vec<(u64, u64)>, ReadError> {
    let found = cpython::arenas(memory, anonymous)?;
    if found.pools > 0 {
        runtime.objects_bytes = Some(found.used);
        runtime.name = format!("{}, {} arenas", runtime.name, found.arenas);
    }
    Ok(found.ranges)
}

/// Go's own counters, where its program has debug information.
fn go_counters(
    runtime: &mut LanguageRuntime,
    memory: &mut ProcessMemory,
    info: &ProcessInfo,
    mappings: &[Mapping],
) {
    let program = executable_files(mappings)
        .into_iter()
        .find(|file| info.exe.as_deref() == Some(&file.path));
    let counters = program.and_then(|program| {
        let image = files::open(info.pid, &program).and_then(|opened| files::bytes(&opened));
        go::counters(memory, &image.ok()?, &program)
    });
    let heap = mappings.iter().filter(|mapping| is_go_heap(mapping));
    let mapped = heap.map(|mapping| mapping.end - mapping.start).sum();
    let Some(counters) = counters.filter(|counters| counters.fit(mapped)) else {
        runtime.unreadable = Some(format!(
            "used and free within it are not readable, because the program has no debug information of Go 1.19 or \
             newer; {}",
            RuntimeKind::Go.how_to_ask()
        ));
        return;
    };
    runtime.objects_bytes = Some(counters.live);
    runtime.figures = [
        ("spans in use", counters.in_use),
        ("free, kept", counters.free),
        ("free, given back", counters.released),
    ]
    .map(|(name, bytes)| PublishedFigure::new(name, bytes))
    .to_vec();
}

/// Go's heap, where the kernel's names do not tell it already.
fn go_heap(mappings: &[Mapping]) -> Vec<(u64, u64)> {
    mappings
        .iter()
        .filter(|mapping| is_go_heap(mapping) && mapping.name == MappingName::Anonymous)
        .map(|mapping| (mapping.start, mapping.end))
        .collect()
}

fn java(
    runtime: &mut LanguageRuntime,
    memory: &mut ProcessMemory,
    info: &ProcessInfo,
    mappings: &[Mapping],
) -> Result<Vec<(u64, u64)>, ReadError> {
    if let Some(counters) = counters(info) {
        publish(runtime, &counters);
    }
    let jvm = executable_files(mappings)
        .into_iter()
        .find(|file| file.path.ends_with("libjvm.so"));
    let heap = jvm.and_then(|jvm| java_heap(memory, info.pid, &jvm, mappings).transpose());
    match heap {
        Some(Ok(range)) => Ok(vec![range]),
        Some(Err(error)) if error.is_final() => Err(error),
        _ => Ok(Vec::new()),
    }
}

/// The counters that a JVM publishes. It names its files by the PID in its own namespace.
fn counters(info: &ProcessInfo) -> Option<Counters> {
    let folder = PathBuf::from(format!("/proc/{}/root/tmp", info.pid));
    let name = info.ns_pid.to_string();
    let folders = std::fs::read_dir(folder).ok()?.filter_map(Result::ok);
    folders
        .filter(|entry| {
            entry
                .file_name()
                .to_string_lossy()
                .starts_with("hsperfdata_")
        })
        .find_map(|entry| {
            let file = File::open(entry.path().join(&name)).ok()?;
            let mut bytes = Vec::new();
            file.take(MOST_COUNTERS).read_to_end(&mut bytes).ok()?;
            hsperf::parse(&bytes)
        })
}

fn publish(runtime: &mut LanguageRuntime, counters: &Counters) {
    if let Some(version) = counters.text("java.property.java.vm.version") {
        runtime.name = format!("{} {version}", runtime.name);
    }
    runtime.objects_bytes = counters.heap("used");
    runtime.unreadable = Some(native_of_java(counters));
    let figures = [
        ("heap committed", counters.heap("capacity")),
        ("heap used", counters.heap("used")),
        (
            "metaspace committed",
            counters.number("sun.gc.metaspace.capacity"),
        ),
        ("metaspace used", counters.number("sun.gc.metaspace.used")),
        (
            "class space used",
            counters.number("sun.gc.compressedclassspace.used"),
        ),
    ];
    runtime.figures = figures
        .into_iter()
        .filter_map(|(name, bytes)| Some(PublishedFigure::new(name, bytes?)))
        .collect();
}

/// How to learn what the JVM's native memory is for: its own accounting has to be asked for when it starts.
fn native_of_java(counters: &Counters) -> String {
    let words = counters.text("java.rt.vmArgs").unwrap_or_default();
    let setting = words
        .split_whitespace()
        .filter_map(|word| word.strip_prefix("-XX:NativeMemoryTracking="))
        .next_back();
    match setting {
        Some("summary" | "detail") => {
            "its native memory by purpose cannot be read without its help; tracking is on, so ask it: jcmd PID \
             VM.native_memory"
        }
        _ => {
            "its native memory by purpose is not tracked: start it with -XX:NativeMemoryTracking=summary, then ask it: \
             jcmd PID VM.native_memory"
        }
    }
    .to_owned()
}

/// The address range of a JVM's heap, by the table in its library.
fn java_heap(
    memory: &mut ProcessMemory,
    pid: u32,
    jvm: &MappedFile,
    mappings: &[Mapping],
) -> Result<Option<(u64, u64)>, ReadError> {
    let opened = files::open(pid, jvm).and_then(|opened| files::bytes(&opened));
    let Ok(image) = opened else { return Ok(None) };
    let Some(addresses) = symbols::exported(&image, jvm, hotspot::SYMBOLS) else {
        return Ok(None);
    };
    let constant = |address: u64, length: usize| {
        let mapping = mappings.iter().find(|mapping| mapping.contains(address))?;
        let offset = mapping
            .file_offset(address)
            .filter(|_| mapping.file == jvm.id)?;
        let offset = usize::try_from(offset).ok()?;
        image.get(offset..offset.checked_add(length)?)
    };
    hotspot::heap(memory, addresses, constant)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::maps;

    #[test]
    fn a_go_heap_is_known_by_name_or_address() {
        let text = b"\
c000000000-c000400000 rw-p 00000000 00:00 0 \n\
c000400000-c004000000 ---p 00000000 00:00 0 \n\
7f0000000000-7f0000001000 rw-p 00000000 00:00 0                  [anon: Go: heap]\n\
7f0000001000-7f0000002000 rw-p 00000000 00:00 0 \n";
        let mappings = maps::parse(text).expect("parses");
        assert!(is_go(&mappings) && !is_go(&mappings[3..]));
        let heap: Vec<bool> = mappings.iter().map(is_go_heap).collect();
        assert_eq!(heap, [true, false, true, false]);
        assert_eq!(go_heap(&mappings), [(0xc0_0000_0000, 0xc0_0040_0000)]);
    }
}
