//! The questions that tests ask of a report, and what is found wrong with one.

use memlens::profile::{
    Builder, CutReason, Detail, Frame, KernelKind, KernelObject, LossKey, Losses, Mapper, Measure,
    Meta, Profile, Region, RegionKind, Source, Subject, Touched, Values,
};
use tracer_common::loss::Loss;

use super::*;
use crate::address_space::PAGE;

/// So many bytes in so many blocks, of which a tenth was released before.
fn heap(live: Live) -> Values {
    let released = Live::new(live.bytes / 10, live.blocks / 10);
    Values::default()
        .with(Measure::HeapLiveBytes, live.bytes)
        .with(Measure::HeapLiveBlocks, live.blocks)
        .with(Measure::HeapAllocBytes, live.bytes + released.bytes)
        .with(Measure::HeapAllocBlocks, live.blocks + released.blocks)
        .with(Measure::HeapFreeBytes, released.bytes)
        .with(Measure::HeapFreeBlocks, released.blocks)
}

/// A profile of these measures with every counter at zero.
fn begun(source: Source) -> Builder {
    let mut build = Builder::new(Meta::default());
    build.measures(Measure::of(source));
    build.profile.losses = LossKey::all().map(|key| (key, 0)).collect();
    build
}

fn stack(build: &mut Builder, names: &[&str], cut: Option<CutReason>) -> u32 {
    let frames = names.iter().map(|name| {
        let symbol = Some(build.string(name));
        let module = Some(build.module("/bin/app", Some("ab")));
        build.frame(Frame {
            symbol,
            module,
            address: 0x1000 + name.len() as u64,
            inlined: name.starts_with("inlined"),
            ..Frame::default()
        })
    });
    let frames = frames.collect::<Vec<_>>();
    build.stack(frames, cut)
}

/// Two processes: one holds 1,000 bytes by two functions, the other 500 by one.
fn leaks() -> Builder {
    let mut build = begun(Source::Heap);
    for (pid, stacks) in [
        (7, &[("leak_a", 600, 6), ("app::leak_b(int)", 400, 4)][..]),
        (8, &[("leak_a", 500, 5)]),
    ] {
        let subject = build.subject(Subject::process(pid, "app"));
        for (function, bytes, blocks) in stacks {
            let values = heap(Live::new(*bytes, *blocks));
            build.profile.subjects[subject as usize].totals.add(&values);
            let names = [function, "inlined_one", "main"];
            let stack = stack(&mut build, &names, None);
            let sample = build.sample(Source::Heap, subject, Some(stack), &values);
            build.add(sample);
        }
    }
    build
}

fn report(profile: &Profile) -> Result<Report> {
    Report::parse(&serde_json::to_string(profile)?)
}

/// The error of a check.
fn error<T>(checked: Result<T>) -> String {
    match checked {
        Ok(_) => panic!("the check passed"),
        Err(error) => format!("{error:#}"),
    }
}

#[test]
fn a_report_is_asked_by_process_and_by_function() -> Result<()> {
    let report = report(&leaks().finish())?;
    report.check_exact(7, Live::new(1_000, 10))?;
    report.check_exact(8, Live::new(500, 5))?;
    report.check_process(8, Live::new(500, 5))?;
    report.check_function("leak_a", Live::new(1_100, 11))?;
    report.check_function("leak_b", Live::new(400, 4))?;
    report.check_function_of(7, "leak_a", Live::new(600, 6))?;
    assert_eq!(report.heap_stacks_total(), 3);
    assert_eq!(report.totals().allocated(), Live::new(1_650, 15));
    assert!(report.has_row(7) && !report.has_row(9));
    let first = report.first_stack()?;
    assert_eq!((first.pid(), first.pids()), (Some(7), vec![7]));
    assert!(first.has_run(&["inlined_one", "main"]) && !first.has_run(&["leak_a", "main"]));
    assert_eq!(first.addresses(), [0x1006, 0x1004]);
    let frame = first.frames().next().context("no frame")?;
    assert_eq!(
        (first.path(frame), first.build_id(frame)),
        ("/bin/app", Some("ab"))
    );
    Ok(())
}

#[test]
fn what_a_process_holds_must_be_what_is_expected() -> Result<()> {
    let report = report(&leaks().finish())?;
    let wrong = Live::new(999, 10);
    assert!(error(report.check_exact(7, wrong)).contains("999"));
    assert!(error(report.check_process(7, wrong)).contains("999"));
    assert!(error(report.check_function("leak_a", wrong)).contains("999"));
    assert!(error(report.check_function_of(8, "leak_a", wrong)).contains("999"));
    assert!(error(report.check_exact(9, wrong)).contains("no row for PID 9"));
    Ok(())
}

#[test]
fn a_row_that_does_not_balance_is_found() -> Result<()> {
    let mut build = leaks();
    build.profile.subjects[1]
        .totals
        .set(Measure::HeapFreeBytes, 1_u64);
    assert!(error(report(&build.finish())?.check_balance()).contains("does not balance"));
    let mut build = leaks();
    build.profile.samples.pop();
    let told = error(report(&build.finish())?.check_balance());
    assert!(told.contains("the stacks hold"), "{told}");
    Ok(())
}

#[test]
fn each_loss_but_expected_ones_makes_a_report_incomplete() -> Result<()> {
    for key in LossKey::all() {
        let mut build = leaks();
        build.profile.losses.add(key, 1);
        let checked = report(&build.finish())?.check_complete();
        let is_expected = key.severity() == Severity::Coverage;
        assert_eq!(checked.is_ok(), is_expected, "{}", key.key());
    }
    let mut build = leaks();
    build.profile.complete = false;
    assert!(report(&build.finish())?.check_complete().is_err());
    Ok(())
}

#[test]
fn a_report_has_every_counter_of_its_sources() {
    let mut build = leaks();
    build.profile.losses = Losses::default();
    assert!(error(report(&build.finish())).contains("no counter live_map_full_blocks"));
    let mut build = begun(Source::Kernel);
    build.profile.losses = Losses::default();
    assert!(error(report(&build.finish())).contains("no counter kernel.live_map_full_blocks"));
}

#[test]
fn what_is_not_as_the_schema_says_is_no_report() -> Result<()> {
    let mut json = serde_json::to_value(leaks().finish())?;
    json["subjects"][0]["totals"]["heap.live_bytes"] = "many".into();
    let told = error(Report::parse(&json.to_string()));
    assert!(
        told.contains("/subjects/0/totals/heap.live_bytes"),
        "{told}"
    );
    assert!(error(Report::parse("memlens: tracing")).contains("not JSON"));
    Ok(())
}

#[test]
fn losses_and_notes_are_sentences() -> Result<()> {
    let mut build = leaks();
    build
        .profile
        .losses
        .add(LossKey::Trace(Loss::LiveMapFullBlocks), 3);
    build.profile.notes.push("a file has gone".to_owned());
    let report = report(&build.finish())?;
    report.check_says(&["3 blocks", "--max-live"])?;
    report.check_says(&["has gone"])?;
    assert!(error(report.check_says(&["3 blocks", "has gone"])).contains("no sentence"));
    Ok(())
}

/// Mapped, resident, without access, unmapped again.
fn pages(amounts: [u64; 4]) -> Values {
    let measures = [
        Measure::VmMappedBytes,
        Measure::VmResidentBytes,
        Measure::VmReservedBytes,
        Measure::VmUnmappedTotalBytes,
    ];
    let values = measures.into_iter().zip(amounts);
    values.fold(Values::default(), |values, (measure, pages)| {
        values.with(measure, pages * PAGE)
    })
}

#[test]
fn address_spaces_are_asked_in_pages() -> Result<()> {
    let mut build = begun(Source::AddressSpace);
    let subject = build.subject(Subject {
        totals: pages([15, 3, 2, 0]),
        ..Subject::process(7, "app")
    });
    let mapper = stack(&mut build, &["map", "main"], None);
    for (stack, amounts, kind) in [
        (Some(mapper), [13, 3, 0, 4], RegionKind::Anonymous),
        (None, [2, 0, 2, 0], RegionKind::File),
    ] {
        let mut sample = build.sample(Source::AddressSpace, subject, stack, &pages(amounts));
        sample.detail = Some(Detail::Region(Region {
            kinds: vec![kind],
            ..Region::default()
        }));
        build.add(sample);
    }
    let whole = report(&build.profile)?;
    assert_eq!(whole.pages_of("map"), [13, 3, 0, 4]);
    assert_eq!(
        (whole.pages_in(7, "map"), whole.pages_in(8, "map")),
        (13, 0)
    );
    whole.check_maps((15 * PAGE, 2 * PAGE))?;
    whole.check_mapped(7, (15 * PAGE, 2 * PAGE))?;
    assert!(whole.check_maps((14 * PAGE, 2 * PAGE)).is_err());
    let others = whole.unmapped_by_calls();
    assert_eq!(others[0].kinds, [RegionKind::File]);
    assert_eq!(others.len(), 1);
    build.profile.subjects[0]
        .totals
        .set(Measure::VmGoneBytes, PAGE);
    let corrected = report(&build.finish())?;
    assert!(error(corrected.check_complete()).contains("was corrected"));
    assert!(corrected.check_mapped(7, (15 * PAGE, 2 * PAGE)).is_err());
    Ok(())
}

#[test]
fn page_faults_are_asked_by_function() -> Result<()> {
    let mut build = begun(Source::PageFaults);
    let subject = build.subject(Subject::process(7, "app"));
    let touching = stack(&mut build, &["touch", "main"], Some(CutReason::TooDeep));
    let values = Values::default()
        .with(Measure::FaultsCount, 9_u64)
        .with(Measure::FaultsMajor, 1_u64)
        .with(Measure::FaultsNewBytes, 8 * PAGE);
    let mut sample = build.sample(Source::PageFaults, subject, Some(touching), &values);
    sample.detail = Some(Detail::Touched(vec![Touched {
        kind: None,
        file: None,
        mapper: Mapper::Before,
        faults: 9,
        major: 1,
        new_bytes: 8 * PAGE,
    }]));
    build.add(sample);
    let report = report(&build.finish())?;
    assert_eq!(report.faults_of("touch"), [9, 1, 8]);
    assert_eq!(report.faults_of("other"), [0; 3]);
    let rows = report.fault_stacks("main");
    assert_eq!(rows[0].touched().len(), 1);
    assert_eq!(rows[0].cut(), Some(CutReason::TooDeep));
    Ok(())
}

#[test]
fn the_kernels_memory_is_asked_by_cache_and_function() -> Result<()> {
    let mut build = begun(Source::Kernel);
    let subject = build.subject(Subject::default());
    for (what, function, blocks) in [
        ("filp", "do_open.isra.0", 3_u64),
        ("filp", "do_pipe", 2),
        ("dentry", "do_open.isra.0", 4),
    ] {
        let stack = stack(&mut build, &[function, "entry"], None);
        let values = Values::default()
            .with(Measure::KernelLiveBytes, blocks * 64)
            .with(Measure::KernelLiveBlocks, blocks);
        let mut sample = build.sample(Source::Kernel, subject, Some(stack), &values);
        sample.detail = Some(Detail::Kernel(KernelObject {
            kind: KernelKind::Slab,
            what: what.to_owned(),
            size: Some(64),
            backing: None,
        }));
        build.add(sample);
    }
    let report = report(&build.finish())?;
    let held = |functions: &[&str]| report.held_by_kernel("filp", functions);
    assert_eq!(held(&["do_open|do_pipe", "entry"]), Live::new(320, 5));
    assert_eq!(held(&["do_open"]), Live::new(192, 3));
    let by_cache = report.of_kernel_function("do_open");
    let by_cache: Vec<(&str, u64)> = by_cache
        .iter()
        .map(|(what, blocks)| (what.as_str(), *blocks))
        .collect();
    assert_eq!(by_cache, [("dentry", 4), ("filp", 3)]);
    Ok(())
}
