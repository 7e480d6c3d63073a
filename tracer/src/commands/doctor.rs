//! `memlens doctor`: gathers what the diagnosis is made of.

mod coverage;
mod runtimes;

use std::collections::BTreeMap;
use std::io::{self, Write};

use anyhow::Result;
use tracer_common::config::Admission;

use self::coverage::Coverage;
use crate::arch::Arch;
use crate::attach::allocator::AllocatorKind;
use crate::attach::plan::{Ending, PlannedFunction};
use crate::bpf::{
    KernelMemory, KernelSettings, LoadError, Method, RegisterReader, Settings, TableSize, Tracer,
};
use crate::cli::{DoctorConfig, Invocation, Outcome};
use crate::doctor::{
    AllocatorRow, Diagnosis, LeftOutRow, ProbeRow, ProbeTable, Speed, UntraceableRow,
};
use crate::engine::attach::{AttachError, ProbedFile, Prober, is_slow};
use crate::engine::target::{self, Chosen, Target};
use crate::engine::{Flow, method};
use crate::preflight::{self, Facts, Finding, State};
use crate::process::targets;
use crate::runtime::Files;
use crate::words::units::count;

/// Runs `memlens doctor`.
pub fn run(invocation: &Invocation, config: &DoctorConfig) -> Result<Outcome> {
    let facts = Facts::gather(None);
    let mut diagnosis = Diagnosis {
        findings: preflight::check(&facts),
        ..Diagnosis::default()
    };
    let is_missing = |finding: &Finding| finding.state == State::Missing;
    // Without the rights to load programs it has been said what is missing.
    if invocation.verbose > 0 && !diagnosis.findings.iter().any(is_missing) {
        diagnosis.findings.push(programs(method(&facts)));
    }
    if config.probes {
        diagnosis.probes = Some(Vec::new());
    }
    let processes = processes(config)?;
    for process in &processes {
        examine(&mut diagnosis, config, process);
    }
    if config.unwind {
        let mut coverage = Coverage::default();
        // Of a process that cannot be looked at, it has been said why.
        let reports = processes
            .iter()
            .filter_map(|process| coverage.of(process.pid, &process.comm).ok());
        diagnosis.unwind = Some(reports.collect());
    }
    if config.runtimes {
        let mut files = Files::default();
        let reports = processes
            .iter()
            .filter_map(|process| runtimes::of(&mut files, process.pid, &process.comm).ok());
        diagnosis.runtimes = Some(reports.collect());
    }
    let text = if config.json {
        diagnosis.render_json()?
    } else {
        diagnosis.render_text(invocation.color.for_stdout())
    };
    let mut out = io::stdout().lock();
    Flow::of_output(out.write_all(text.as_bytes()).and_then(|()| out.flush()))?;
    Ok(match diagnosis.is_able() {
        true => Outcome::Done(None),
        false => Outcome::Failed,
    })
}

/// Loads the programs as the kinds of trace do, and tells how much work each was for the verifier.
fn programs(method: Method) -> Finding {
    let plain = Settings {
        unwind: Some(TableSize::default()),
        method,
        ..Settings::default()
    };
    let sampled = Settings {
        sample_bytes: Some(1 << 19),
        ..plain
    };
    let calls = Settings {
        trace_calls: true,
        ..plain
    };
    let whole_host = Settings {
        admit: Admission::Calls,
        adaptive: true,
        ..sampled
    };
    let spaces = Settings {
        space_ring: 4096,
        faults: Some(0),
        ..plain
    };
    let host_spaces = Settings {
        admit: Admission::Births,
        ..spaces
    };
    let mut most: BTreeMap<String, u32> = BTreeMap::new();
    for settings in [plain, sampled, calls, whole_host, spaces, host_spaces] {
        match load(&settings) {
            Ok(tracer) => {
                for (name, verified) in tracer.verified_instructions() {
                    let known = most.entry(name).or_default();
                    *known = verified.max(*known);
                }
            }
            Err(error) => return program_finding(State::Missing, error.to_string()),
        }
    }
    match kernel_memory() {
        Ok(counts) => most.extend(counts),
        // What memlens kernel needs is not what memlens needs.
        Err(LoadError::Layout(_) | LoadError::NoTracepoint(_)) => {}
        Err(error) => return program_finding(State::Missing, error.to_string()),
    }
    // Where there is no such program, reachability says so.
    if let Ok(registers) = RegisterReader::new(std::process::id()) {
        most.extend(registers.verified_instructions());
    }
    if most.is_empty() {
        return program_finding(State::Ok, "loaded".to_owned());
    }
    let sizes: Vec<String> = most
        .iter()
        .map(|(name, verified)| format!("{name} {}", count(u64::from(*verified))))
        .collect();
    let present = format!("verified instructions: {}", sizes.join(", "));
    program_finding(State::Ok, present)
}

/// Loads the programs of `memlens kernel` with all that makes them larger, and tells the same of them.
fn kernel_memory() -> Result<BTreeMap<String, u32>, LoadError> {
    KernelMemory::verify(&KernelSettings {
        sample_bytes: Some(1 << 19),
        min_size: 1,
        max_live: 1,
        slab: true,
        pages: true,
        percpu: true,
        cache: None,
        order: None,
        movable: false,
    })
}

/// Loads what one kind of trace uses.
fn load(settings: &Settings) -> Result<Tracer, LoadError> {
    let mut tracer = Tracer::load(settings)?;
    if settings.space_ring > 0 {
        // The ring stays open until all programs that write to it are loaded.
        let _events = tracer.attach_space()?;
        if settings.faults.is_some() {
            match tracer.attach_faults() {
                // Only x86-64 has their tracepoints: nothing is missing elsewhere.
                Err(LoadError::NoPageFaults) if Arch::HOST != Arch::X86_64 => {}
                attached => attached?,
            }
        }
    }
    Ok(tracer)
}

fn program_finding(state: State, present: String) -> Finding {
    Finding {
        what: "BPF programs",
        state,
        present,
        needed: "that this kernel's verifier accepts them".to_owned(),
        remedy: None,
    }
}

fn processes(config: &DoctorConfig) -> Result<Vec<Chosen>> {
    let found = match &config.target {
        Some(Target::Pids(pids)) => target::running(targets::by_pid(pids, true), None)?,
        Some(Target::Name(name)) => {
            target::running(targets::by_name(name.as_ref(), true)?, Some(name))?
        }
        Some(Target::Command(_) | Target::Host(_)) | None => return Ok(Vec::new()),
    };
    Ok(found.processes)
}

/// Looks for the allocators of one process.
fn examine(diagnosis: &mut Diagnosis, config: &DoctorConfig, process: &Chosen) {
    let mut prober = Prober::new(&(&config.allocator).into(), false);
    let files = match prober.survey(process.pid) {
        Ok(files) if files.is_empty() => Err(prober.nothing_found(process.pid)),
        other => other,
    };
    match files {
        Ok(files) => {
            diagnosis
                .allocators
                .extend(files.iter().map(|file| allocator(process, file)));
            if let Some(tables) = &mut diagnosis.probes {
                tables.push(table(process, &prober, &files));
            }
        }
        Err(error) => diagnosis.untraceable.push(untraceable(process, &error)),
    }
}

fn untraceable(process: &Chosen, error: &AttachError) -> UntraceableRow {
    UntraceableRow {
        pid: process.pid,
        comm: process.comm.clone(),
        why: error.to_string(),
    }
}

fn allocator(process: &Chosen, file: &ProbedFile) -> AllocatorRow {
    AllocatorRow {
        pid: process.pid,
        comm: process.comm.clone(),
        file: file.path.display().to_string(),
        kind: kind(file.plan.allocator).to_owned(),
        functions: file
            .plan
            .functions
            .iter()
            .map(|function| function.name.clone())
            .collect(),
    }
}

fn kind(allocator: AllocatorKind) -> &'static str {
    match allocator {
        AllocatorKind::Glibc => "glibc",
        AllocatorKind::Musl => "musl",
        AllocatorKind::Jemalloc => "jemalloc",
        AllocatorKind::Tcmalloc => "tcmalloc",
        AllocatorKind::Mimalloc => "mimalloc",
        AllocatorKind::Unknown => "an allocator without a known name",
    }
}

fn table(process: &Chosen, prober: &Prober, files: &[std::rc::Rc<ProbedFile>]) -> ProbeTable {
    let probes = files.iter().flat_map(|file| {
        file.plan
            .functions
            .iter()
            .map(|function| probe(file, function))
    });
    let cannot = prober.left_out().iter().map(|(path, left)| LeftOutRow {
        file: path.display().to_string(),
        symbol: left.name.clone(),
        reason: left.why.clone(),
    });
    let need_none = files.iter().flat_map(|file| {
        file.plan.wrappers.iter().map(|wrapper| LeftOutRow {
            file: file.path.display().to_string(),
            symbol: wrapper.name.clone(),
            reason: format!("needs no probe: {} does its work", wrapper.target),
        })
    });
    ProbeTable {
        pid: process.pid,
        comm: process.comm.clone(),
        probes: probes.collect(),
        left_out: cannot.chain(need_none).collect(),
    }
}

fn probe(file: &ProbedFile, function: &PlannedFunction) -> ProbeRow {
    ProbeRow {
        file: file.path.display().to_string(),
        symbol: function.name.clone(),
        aliases: function.aliases.clone(),
        offset: function.entry,
        from_entry: function.site.offset,
        instruction: function.site.instruction.clone(),
        speed: if is_slow(function) {
            Speed::Slow
        } else {
            Speed::Fast
        },
        ending: match &function.ending {
            Ending::None => "not needed".to_owned(),
            Ending::Trampoline => "return probe".to_owned(),
            Ending::RetInstructions(places) => format!("{} ret instructions", places.len()),
        },
        why: match &function.ending {
            Ending::RetInstructions(_) => {
                format!(
                    "{}; a ret is single-stepped, which is slow",
                    function.site.why
                )
            }
            _ => function.site.why.clone(),
        },
    }
}
