//! Profiles of heaps of which it is known how they grow and what holds them.

use memlens::analysis::verdict::{self, Stacks};
use memlens::profile::{
    Ages, Course, Form, HeldFrom, Holder, HolderLink, Measure, Profile, Reachability, RootKind,
    Source,
};

use super::leaks::{base, process, stack};
use super::{Code, Held, Sample, at, bare, frame, with_main};

/// All of them.
pub fn all() -> Vec<Sample> {
    [
        ("verdict_leak", leak()),
        ("verdict_collection", collection()),
        ("verdict_load", load()),
        ("verdict_growing", growing_unjudged()),
        ("verdict_cache", benign(Form::Saturating)),
        ("verdict_turnover", benign(Form::Turnover)),
        ("verdict_one_time_loss", one_time_loss()),
        ("verdict_stack_only", stack_only()),
        ("verdict_too_early", benign(Form::TooEarly)),
        ("verdict_taken_back", taken_back()),
        ("verdict_nothing_grows", benign(Form::Steady)),
        ("verdict_many", many()),
        ("common_frames", common_frames()),
        ("grouped_frames", tiers().group_frames(Source::Heap, 2)),
    ]
    .map(|(name, profile)| Sample::of(name, judged(profile)))
    .into()
}

/// In the order of the verdicts, and with them.
fn judged(mut profile: Profile) -> Profile {
    verdict::sort(&mut profile);
    verdict::add(&mut profile, Stacks::MostImportant);
    profile
}

/// The samples of a process, in the order of the stacks, each with how it goes on.
fn traced(stacks: Vec<(Held, Form)>) -> Profile {
    let sum = |measure| {
        stacks
            .iter()
            .map(|(held, _)| held.values.amount(measure))
            .sum()
    };
    let mut subject = process(
        4242,
        "app",
        sum(Measure::HeapLiveBytes),
        sum(Measure::HeapLiveBlocks),
    );
    subject.probe_percent = Some(0.43);
    let (held, forms): (Vec<Held>, Vec<Form>) = stacks.into_iter().unzip();
    let mut profile = base(vec![subject], &held);
    profile.meta.elapsed = at(120_000);
    for (sample, form) in profile.samples.iter_mut().zip(forms) {
        sample.course = Some(Course {
            form,
            reports: 24,
            wait: (form == Form::TooEarly).then(|| at(11_200)),
        });
    }
    profile
}

fn growing(mut held: Held, per_s: f64) -> (Held, Form) {
    held.values.set(Measure::HeapGrowthPerS, per_s);
    held.values.set(Measure::HeapGrowthPerSLow, per_s * 0.95);
    held.values.set(Measure::HeapGrowthPerSHigh, per_s * 1.05);
    held.values
        .set(Measure::HeapChangeBytes, (per_s * 5.0) as i64);
    (with_age(held, 119_000), Form::Growing)
}

fn with_age(mut held: Held, ms: u64) -> Held {
    held.values.set(Measure::HeapOldestMs, ms);
    held
}

fn with(mut held: Held, values: &[(Measure, u64)]) -> Held {
    for (measure, value) in values {
        held.values.set(*measure, *value);
    }
    held
}

fn reach() -> Reachability {
    Reachability {
        subject: 0,
        passes: 7,
        quiet_passes: 3,
        took: at(1_234),
        bytes_read: 1_181_116_007,
        blocks_judged: 4_019_510,
        blocks_young: 10,
        lost_before: 312,
        ..Reachability::default()
    }
}

fn own(function: &str, line: u32) -> Code {
    frame(
        function,
        0x10 + u64::from(line),
        "/build/app/src/app.cc",
        line,
    )
}

fn operator_new() -> Code {
    bare(
        "operator new(unsigned long)",
        0x18,
        "/usr/lib/x86_64-linux-gnu/libstdc++.so.6.0.30",
    )
}

fn session() -> Vec<Code> {
    let allocate = "std::__new_allocator<Session>::allocate(unsigned long, void const*)";
    let header = "/usr/include/c++/12/bits/new_allocator.h";
    with_main(vec![
        operator_new(),
        frame(allocate, 0x20, header, 137),
        own("Server::open(int)", 31),
        own("Server::run()", 77),
    ])
}

fn leaking(function: &str, line: u32) -> (Held, Form) {
    let frames = with_main(vec![own(function, line), own("Server::run()", 78)]);
    let held = stack(4242, 12_582_912, 9_800, frames);
    let lost = [
        (Measure::HeapLostBytes, 12_570_112),
        (Measure::HeapLostBlocks, 9_790),
        (Measure::HeapNotJudgedBytes, 12_800),
        (Measure::HeapNotJudgedBlocks, 10),
    ];
    growing(with(held, &lost), 104_857.6)
}

fn steady(line: u32) -> (Held, Form) {
    let frames = with_main(vec![own("load_table", line)]);
    (
        with_age(stack(4242, 3 << 20, 4_000, frames), 118_000),
        Form::Steady,
    )
}

/// Beside it are stacks that do not grow, one of them with young blocks only.
fn leak() -> Profile {
    let buffer = with_main(vec![own("make_buffer", 12)]);
    let young = with_age(stack(4242, 4_096, 2, buffer), 120);
    let stacks = vec![
        steady(5),
        leaking("forget", 17),
        steady(6),
        (young, Form::TooEarly),
    ];
    let mut profile = traced(stacks);
    let leaking = &mut profile.samples[1];
    leaking.freed = Ages::from_buckets(&[9_000, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 950, 0, 0, 50]);
    leaking.ages = Ages::from_buckets(&[
        0, 0, 0, 12_800, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2_570_112, 10_000_000,
    ]);
    let limits = vec!["pointers in vector registers".to_owned()];
    profile.sections.reachability = vec![Reachability { limits, ..reach() }];
    profile
}

fn global(name: &str, shared: u32, text: &str, links: Vec<HolderLink>) -> Holder {
    Holder {
        sampled: 100,
        shared,
        root: HeldFrom {
            kind: RootKind::Global,
            name: Some(name.to_owned()),
            offset: Some(0),
            module: Some("/usr/bin/app".to_owned()),
            thread: None,
        },
        links,
        more_links: 0,
        text: text.to_owned(),
    }
}

fn held_sessions() -> (Held, Form) {
    let held = stack(4242, 2_097_152, 65_536, session());
    let all = [
        (Measure::HeapHeldBytes, 2_097_152),
        (Measure::HeapHeldBlocks, 65_536),
    ];
    growing(with(held, &all), 17_476.3)
}

/// The bucket array that holds the blocks grows too.
fn collection() -> Profile {
    let rehash =
        "std::_Hashtable<int, std::pair<int const, Session> >::_M_rehash_aux(unsigned long)";
    let header = "/usr/include/c++/12/bits/hashtable.h";
    let mut frames = session();
    frames.splice(1..2, [frame(rehash, 0x90, header, 2_552)]);
    let array = [
        (Measure::HeapHeldBytes, 524_288),
        (Measure::HeapHeldBlocks, 1),
    ];
    let array = growing(with(stack(4242, 524_288, 1, frames), &array), 4_369.1);
    let mut profile = traced(vec![held_sessions(), array]);
    let link = |index: usize, function: &str, size| HolderLink {
        stack: profile.samples[index].stack,
        function: Some(function.to_owned()),
        type_name: None,
        size_min: size,
        size_max: size,
        length_min: 1,
        length_max: 3,
    };
    let links = vec![
        link(1, "_M_rehash_aux", 524_288),
        link(0, "Server::open", 32),
    ];
    let text = "global sessions in app -> 512 KiB (_M_rehash_aux) -> 1 to 3 linked blocks of 32 B (Server::open)";
    profile.samples[0].holders = vec![global("sessions", 100, text, links)];
    profile.samples[1].holders = vec![global(
        "sessions",
        1,
        "global sessions in app -> 512 KiB (_M_rehash_aux)",
        Vec::new(),
    )];
    profile.samples[1].holders[0].sampled = 1;
    profile.sections.reachability = vec![reach()];
    profile
}

fn load() -> Profile {
    let mut profile = traced(vec![held_sessions()]);
    profile.samples[0].holders = vec![
        global(
            "pool",
            12,
            "global pool in app -> 32 B (Server::open)",
            Vec::new(),
        ),
        global(
            "timers",
            9,
            "global timers in app -> 32 B (Server::open)",
            Vec::new(),
        ),
    ];
    profile.sections.reachability = vec![reach()];
    profile
}

fn growing_unjudged() -> Profile {
    traced(vec![growing(
        stack(4242, 2_097_152, 65_536, session()),
        17_476.3,
    )])
}

/// One stack that goes on like that, and one that does not grow.
fn benign(form: Form) -> Profile {
    let mut profile = traced(vec![
        (
            with_age(stack(4242, 20_971_520, 20_000, session()), 119_000),
            form,
        ),
        (
            steady(5).0,
            if form == Form::TooEarly {
                form
            } else {
                Form::Steady
            },
        ),
    ]);
    if form == Form::Turnover {
        let totals = &mut profile.subjects[0].totals;
        totals.set(Measure::HeapOldFreeBytes, 20_900_000_u64);
        totals.set(Measure::HeapOldFreeBlocks, 19_900_u64);
    }
    profile
}

fn one_time_loss() -> Profile {
    let frames = with_main(vec![own("read_config", 9)]);
    let lost = [
        (Measure::HeapLostBytes, 360),
        (Measure::HeapLostBlocks, 12),
        (Measure::HeapLostWithBytes, 60),
        (Measure::HeapLostWithBlocks, 2),
        (Measure::HeapHeldBytes, 2_580),
        (Measure::HeapHeldBlocks, 86),
    ];
    let held = with_age(with(stack(4242, 3_000, 100, frames), &lost), 119_000);
    let mut profile = traced(vec![(held, Form::Steady), steady(5)]);
    profile.sections.reachability = vec![reach()];
    profile
}

fn stack_only() -> Profile {
    let frames = with_main(vec![own("parse", 9)]);
    let only = [
        (Measure::HeapStackOnlyBytes, 1 << 20),
        (Measure::HeapStackOnlyBlocks, 64),
    ];
    let held = with_age(with(stack(4242, 1 << 20, 64, frames), &only), 119_000);
    let mut profile = traced(vec![(held, Form::Steady)]);
    let text = "stack of thread 4243 -> 16 KiB (parse)";
    profile.samples[0].holders = vec![global("", 100, text, Vec::new())];
    profile.samples[0].holders[0].root = HeldFrom {
        kind: RootKind::Stack,
        thread: Some(4_243),
        ..HeldFrom::default()
    };
    profile.sections.reachability = vec![reach()];
    profile
}

/// Blocks that were called lost have been freed since.
fn taken_back() -> Profile {
    let mut profile = traced(vec![leaking("swap_list", 17)]);
    profile.sections.reachability = vec![Reachability {
        freed_after_lost: 7,
        ..reach()
    }];
    profile
}

/// More stacks of one kind than are told one by one, and a note on what is read badly.
fn many() -> Profile {
    let lines = [17_u32, 18, 19, 20, 21];
    let mut profile = traced(lines.map(|line| leaking("forget", line)).into());
    profile.sections.reachability = vec![reach()];
    profile.sections.reachability[0].estimated_false = 2.0;
    profile
}

/// Neighbors that differ in their inner frames alone; the third one differs from the second one further out.
fn common_frames() -> Profile {
    let outer = |line| {
        vec![
            own("handle", line),
            own("dispatch", 60),
            own("Server::run()", 78),
        ]
    };
    let stack = |function: &str, line| {
        let inner = vec![own(function, 9)];
        stack(4242, 4_096, 4, with_main([inner, outer(line)].concat()))
    };
    base(
        vec![process(4242, "app", 16_384, 16)],
        &[
            stack("parse", 40),
            stack("copy", 40),
            stack("keep", 40),
            stack("keep", 41),
        ],
    )
}

/// A leak through several tiers of a just-in-time compiler.
fn tiers() -> Profile {
    let native = || {
        [
            bare("node::Buffer::New", 0x30, "/usr/bin/node"),
            bare("v8::Invoke", 0x40, "/usr/bin/node"),
        ]
    };
    let tier = |name: &str, bytes, blocks| {
        let generated = bare(name, 0x10, "[anon]");
        let frames = with_main([native().as_slice(), &[generated]].concat());
        growing(stack(4242, bytes, blocks, frames), bytes as f64 / 120.0)
    };
    traced(vec![
        tier("~handle /srv/app.js:10", 120_000, 12),
        tier("^handle /srv/app.js:10", 360_000, 36),
        tier("*handle /srv/app.js:10", 1_200_000, 120),
    ])
}
