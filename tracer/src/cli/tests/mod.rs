//! Command lines as tables: what they come to.

mod documents;
mod mistakes;

use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::*;
use crate::engine::target::Target;
use crate::process::scope::{Exclude, Scope, User};
use crate::profile::Grouping;
use crate::profile::machine::{By, Of, Order as RowOrder};
use crate::render::Format;
use crate::sources::address_space::SpaceOrder;
use crate::sources::heap::Order;

/// Lines of a terminal that is not small.
const SCREEN: usize = 48;

fn parsed(line: &str) -> Result<Invocation, CliError> {
    parse_from(line.split_whitespace())
}

fn command(line: &str) -> Command {
    parsed(line).expect(line).command
}

/// Makes a function that reads a command line of one command.
macro_rules! reader {
    ($name:ident $variant:ident $config:ty) => {
        fn $name(line: &str) -> $config {
            match command(&format!("memlens {line}")) {
                Command::$variant(config) => config,
                other => panic!("{line}: {other:?}"),
            }
        }
    };
}

reader!(leaks Leaks Box<LeaksConfig>);
reader!(vm Vm Box<VmConfig>);
reader!(kernel Kernel Box<KernelConfig>);
reader!(host Host HostConfig);
reader!(top Top Box<TopConfig>);
reader!(hunt Hunt HuntConfig);
reader!(explain Explain ExplainConfig);
reader!(doctor Doctor DoctorConfig);

fn pids(pids: &[u32]) -> Target {
    Target::Pids(pids.to_vec())
}

#[test]
fn the_definition_is_consistent() {
    definition().debug_assert();
}

#[test]
fn a_plain_command_line_takes_the_defaults() {
    assert_eq!(*leaks("leaks -p 1"), LeaksConfig::of(pids(&[1])));
    let everything = Target::Host(Scope::default());
    assert_eq!(*leaks("leaks --all"), LeaksConfig::of(everything.clone()));
    assert_eq!(*vm("vm -p 1"), VmConfig::of(pids(&[1])));
    assert_eq!(*vm("vm --all"), VmConfig::of(everything));
}

#[test]
fn the_defaults_are_as_documented() {
    let config = LeaksConfig::of(pids(&[1]));
    assert_eq!(config.schedule.interval, Duration::from_secs(5));
    assert_eq!(
        (config.schedule.count, config.output.shown.top),
        (None, Some(10))
    );
    assert_eq!(
        (config.sort, config.output.shown.source),
        (Order::Verdict, true)
    );
    let walk = Walk {
        stack_depth: 127,
        native: false,
        no_interpreters: false,
        unwind: Unwind::Auto,
        unwind_memory: 256 << 20,
    };
    assert_eq!((config.walk, config.max_live), (walk, 2_097_152));
    let budget = HostWideConfig::default().cpu_budget_percent;
    assert_eq!(budget, Some(5.0));
    let Command::Demo(demo) = command("memlens demo") else {
        panic!("not demo");
    };
    assert_eq!(demo.duration, Duration::from_secs(10));
    assert_eq!(demo.svg, PathBuf::from("memlens-demo.svg"));
}

#[test]
fn targets_are_told_apart() {
    let cases = [
        ("leaks -p 3,1 --pid 3 2 7", pids(&[3, 1])),
        (
            "leaks -n redis-server 2",
            Target::Name("redis-server".into()),
        ),
        (
            "leaks 1 2 -- ./prog -p 9 -- --json",
            Target::Command(
                ["./prog", "-p", "9", "--", "--json"]
                    .map(OsString::from)
                    .into(),
            ),
        ),
    ];
    for (line, target) in cases {
        let config = leaks(line);
        assert_eq!(config.target, target, "{line}");
        assert!(
            config.output.outputs == Outputs::default() && config.host.is_none(),
            "{line}"
        );
    }
}

/// A bare word is the process where nothing else says what to trace, and it is no time.
#[test]
fn bare_words_are_a_process_and_times() {
    let cases = [
        ("leaks 4242", pids(&[4242]), 5, None),
        (
            "leaks 4242,4243,4242 10 3",
            pids(&[4242, 4243]),
            10,
            Some(3),
        ),
        ("leaks nginx", Target::Name("nginx".into()), 5, None),
        (
            "leaks nginx 1m 2 --older 1m",
            Target::Name("nginx".into()),
            60,
            Some(2),
        ),
        ("leaks -p 4242 10 3", pids(&[4242]), 10, Some(3)),
        (
            "leaks 10 3 -n 4242",
            Target::Name("4242".into()),
            10,
            Some(3),
        ),
        ("leaks --all 10", Target::Host(Scope::default()), 10, None),
    ];
    for (line, target, seconds, count) in cases {
        let config = leaks(line);
        assert_eq!(config.target, target, "{line}");
        assert_eq!(config.schedule.interval.as_secs(), seconds, "{line}");
        assert_eq!(
            config.schedule.count,
            count.and_then(NonZeroU64::new),
            "{line}"
        );
    }
    assert_eq!(vm("vm nginx 10").target, Target::Name("nginx".into()));
    assert_eq!(top("top 4242").target, Some(pids(&[4242])));
    let config = top("top 500ms 3");
    assert_eq!(
        (config.target, config.interval),
        (None, Duration::from_millis(500))
    );
    assert_eq!(
        doctor("doctor nginx --probes").target,
        Some(Target::Name("nginx".into()))
    );
    assert_eq!(
        explain("explain nginx").target,
        Target::Name("nginx".into())
    );
    let Command::Trace(config) = command("memlens trace nginx") else {
        panic!("not trace");
    };
    assert_eq!(config.target, Target::Name("nginx".into()));
    let Command::Record(config) = command("memlens record nginx 1m -o a.memlens") else {
        panic!("not record");
    };
    assert_eq!(config.target, Some(Target::Name("nginx".into())));
    let Command::Record(config) = command("memlens record 1m 3 -o a.memlens") else {
        panic!("not record");
    };
    assert_eq!(
        (config.target, config.schedule.interval.as_secs()),
        (None, 60)
    );
}

/// What `-h` shows of a command fits a screen, and says how to see the rest.
#[test]
fn the_short_help_is_short() {
    let mut command = definition().term_width(100);
    command.build();
    for sub in command.get_subcommands_mut() {
        let name = sub.get_name().to_owned();
        let text = sub.render_help().to_string();
        let lines = text.lines().count();
        assert!(lines <= SCREEN, "{name} -h has {lines} lines:\n{text}");
        let is_hidden = |arg: &clap::Arg| arg.is_hide_short_help_set() && arg.get_id() != "color";
        let hides = sub.get_arguments().any(is_hidden);
        assert_eq!(text.contains("'--help' explains"), hides, "{name}");
    }
    assert!(command.render_help().to_string().lines().count() <= SCREEN);
}

#[test]
fn a_hunt_takes_a_pid_a_name_or_nothing() {
    let plain = hunt("hunt");
    assert_eq!((plain.target, plain.time), (None, Duration::from_secs(60)));
    assert_eq!(
        (plain.slowdown, plain.outputs.stdout()),
        (10.0, Format::Text)
    );
    for line in ["hunt 42", "hunt -p 42", "hunt --for 10m 42"] {
        assert_eq!(hunt(line).target, Some(pids(&[42])), "{line}");
    }
    for line in ["hunt redis-server", "hunt -n redis-server"] {
        let name = Target::Name("redis-server".into());
        assert_eq!(hunt(line).target, Some(name), "{line}");
    }
    assert_eq!(hunt("hunt -n 42").target, Some(Target::Name("42".into())));
    assert_eq!(hunt("hunt --for 10m").time, Duration::from_secs(600));
    for line in [
        "hunt 1 2",
        "hunt 0",
        "hunt -1",
        "hunt --for 0",
        "hunt -p 1 -n x",
    ] {
        assert!(parsed(&format!("memlens {line}")).is_err(), "{line}");
    }
}

#[test]
fn arguments_of_a_command_need_not_be_unicode() {
    use std::os::unix::ffi::OsStringExt;
    let odd = OsString::from_vec(vec![b'x', 0xff]);
    let words = ["memlens", "trace", "--", "prog"].map(OsString::from);
    let parsed = parse_from(words.into_iter().chain([odd.clone()])).expect("is accepted");
    match parsed.command {
        Command::Trace(config) => {
            assert_eq!(config.target, Target::Command(vec!["prog".into(), odd]))
        }
        other => panic!("not trace: {other:?}"),
    }
}

#[test]
fn the_whole_host_is_a_target_with_its_parts() {
    let words = "--cgroup /sys/fs/cgroup/system.slice/ --user www-data --exclude 812 --exclude java \
                 --exclude /user.slice --by container";
    let target = Target::Host(Scope {
        cgroup: Some("/system.slice".into()),
        user: Some(User::Name("www-data".into())),
        exclude: vec![
            Exclude::Pid(812),
            Exclude::Name("java".into()),
            Exclude::Cgroup("/user.slice".into()),
        ],
    });
    let config = leaks(&format!(
        "leaks {words} --per-process 3 --cpu-budget off --young --max-processes 50"
    ));
    let settings = HostWideConfig {
        by: Grouping::Container,
        per_process: 3,
        cpu_budget_percent: None,
        young: true,
        max_processes: 50,
    };
    assert_eq!((&config.target, config.host), (&target, Some(settings)));
    let config = vm(&format!("vm {words}"));
    assert_eq!(
        (&config.target, config.by),
        (&target, Some(Grouping::Container))
    );
}

#[test]
fn the_cpu_budget_is_a_share_of_the_machine() {
    for (word, percent) in [("2.5", Some(2.5)), ("100%", Some(100.0)), ("OFF", None)] {
        let host = leaks(&format!("leaks --all --cpu-budget {word}")).host;
        assert_eq!(
            host.and_then(|host| host.cpu_budget_percent),
            percent,
            "{word}"
        );
    }
}

#[test]
fn every_option_of_bcc_memleak_has_its_word() {
    let config = leaks(
        "leaks -p 1 -T 3 --sort age --older 250 -z 16 -Z 64KiB -a -O /lib/x.so -S je_ --stack-depth 20",
    );
    assert_eq!(
        (config.output.shown.top, config.sort),
        (Some(3), Order::Age)
    );
    assert_eq!(config.older, Duration::from_millis(250));
    assert_eq!(
        config.sizes,
        SizeRange {
            min: 16,
            max: 65_536
        }
    );
    assert!(config.show_allocs);
    assert_eq!(config.allocator.object, Some("/lib/x.so".into()));
    assert_eq!(config.allocator.prefix, Some("je_".into()));
    assert_eq!(config.walk.stack_depth, 20);
}

/// Format and name of each file, and the form on standard output.
fn outputs(line: &str) -> (Vec<(Format, String)>, Format) {
    let outputs = leaks(line).output.outputs;
    let name = |path: &Path| path.to_string_lossy().into_owned();
    let files = outputs.files().map(|(format, path)| (format, name(path)));
    (files.collect(), outputs.stdout())
}

#[test]
fn outputs_are_told_by_their_endings() {
    let file = |format, name: &str| (format, name.to_owned());
    let (files, stdout) = outputs("leaks -p 1 -o a.pb.gz --output b/c.md --svg d.txt");
    let expected = [
        file(Format::Svg, "d.txt"),
        file(Format::Pprof, "a.pb.gz"),
        file(Format::Markdown, "b/c.md"),
    ];
    assert_eq!((files, stdout), (expected.to_vec(), Format::Text));
    // A form is for the files whose endings do not say, or else for standard output.
    let (files, stdout) = outputs("leaks -p 1 -o heap --format pprof -o b.svg");
    let expected = [file(Format::Pprof, "heap"), file(Format::Svg, "b.svg")];
    assert_eq!((files, stdout), (expected.to_vec(), Format::Text));
    let (files, stdout) = outputs("leaks -p 1 --format folded -o b.svg");
    assert_eq!(
        (files, stdout),
        (vec![file(Format::Svg, "b.svg")], Format::Folded)
    );
    assert_eq!(
        outputs("leaks -p 1 -o - --format pprof"),
        (Vec::new(), Format::Pprof)
    );
    assert_eq!(outputs("leaks -p 1 --json -o x.json").1, Format::Json);
    assert!(parse_from("memlens leaks -p 1 --json --format svg".split(' ')).is_err());
}

#[test]
fn every_word_has_its_setting() {
    let config = leaks(
        "leaks -p 1 -T 0 --older 1m --sample-bytes 512KiB --fail-over 0 --unwind fp --unwind-memory 1M --no-source 250ms 4",
    );
    assert_eq!(
        (config.output.shown.top, config.output.shown.source),
        (None, false)
    );
    assert_eq!(config.older, Duration::from_secs(60));
    assert_eq!(config.sample_bytes, NonZeroU64::new(524_288));
    assert_eq!(config.fail_over, Some(0));
    assert_eq!(
        (config.walk.unwind, config.walk.unwind_memory),
        (Unwind::Fp, 1 << 20)
    );
    assert_eq!(config.schedule.interval, Duration::from_millis(250));
    assert_eq!(config.schedule.count, NonZeroU64::new(4));
    let config = leaks("leaks -p 1 --combined --fail-over 1M --sort growth -z 16");
    assert!(config.combined);
    let config = leaks("leaks -p 1 --fail-on leak --group-frames 5 --sort bytes");
    assert_eq!(
        (config.fail_on, config.group_frames),
        (Some(FailOn::Leak), Some(5))
    );
    assert_eq!(
        leaks("leaks -p 1 --fail-on lost").fail_on,
        Some(FailOn::Lost)
    );
    assert_eq!(leaks("leaks -p 1 --sort verdict").sort, Order::Verdict);

    let config = kernel("kernel 2 3 --order 0 --movable --older 30s --top 0");
    assert_eq!(config.schedule.interval, Duration::from_secs(2));
    assert_eq!((config.order, config.movable), (Some(0), true));
    assert_eq!(
        (config.older, config.output.shown.top),
        (Duration::from_secs(30), None)
    );
    assert_eq!(kernel("kernel --slab filp").slab.as_deref(), Some("filp"));

    let config = host("host 1m 3 --by name --sort size --of swap -T 0 --window 1m --csv a.csv");
    assert_eq!(
        (config.by, config.schedule.count),
        (By::Name, NonZeroU64::new(3))
    );
    assert_eq!(
        (config.view.order, config.view.of, config.view.top),
        (RowOrder::Size, Of::Swap, None)
    );
    assert_eq!(config.window, Some(Duration::from_secs(60)));
    assert!(!config.json);
    assert_eq!(config.csv, Some("a.csv".into()));

    let config = top("top 2s 5 --by container --older 30s -- ./prog -x");
    let command = ["./prog", "-x"].map(OsString::from);
    assert_eq!(config.target, Some(Target::Command(command.into())));
    assert_eq!(
        (config.interval, config.older),
        (Duration::from_secs(2), Duration::from_secs(30))
    );
    assert_eq!(
        (config.by, config.count),
        (By::Container, NonZeroU64::new(5))
    );
    let config = top("top --user root --max-processes 9");
    assert_eq!(config.host.map(|host| host.max_processes), Some(9));
    let config = top("top");
    assert_eq!(
        (config.target, config.interval),
        (None, Duration::from_secs(1))
    );

    let config = doctor("doctor -p 7 --probes --unwind");
    assert_eq!(config.target, Some(pids(&[7])));
    assert!(config.probes && config.unwind);
    assert_eq!(doctor("doctor").target, None);
}

#[test]
fn page_faults_are_followed_where_they_are_asked_for() {
    assert_eq!(vm("vm -p 1").faults, None);
    assert_eq!(vm("vm -p 1 --faults").faults, Some(0));
    let config = vm("vm -p 1 --faults --sample-faults 1 --width faults --sort age");
    assert_eq!(
        (config.faults, config.width, config.sort),
        (Some(1), Width::Faults, SpaceOrder::Age)
    );
}

#[test]
fn the_process_to_explain_is_named_in_three_ways() {
    for line in [
        "explain 4242",
        "explain -p 4242",
        "explain --json --pid=4242",
    ] {
        assert_eq!(explain(line).target, pids(&[4242]), "{line}");
    }
    let config = explain("explain -n redis-server --trace 1m");
    assert_eq!(config.target, Target::Name("redis-server".into()));
    assert_eq!(config.trace, Some(Duration::from_secs(60)));
    assert_eq!(
        explain("explain 1 --diff a.json").diff,
        Some("a.json".into())
    );
}

#[test]
fn options_for_all_commands_stand_anywhere() {
    for line in [
        "memlens --color never -v doctor",
        "memlens doctor -v --color never",
    ] {
        let invocation = parsed(line).expect(line);
        assert_eq!((invocation.color, invocation.verbose), (Color::Never, 1));
    }
}

/// Each word of the types that `words` translates, and no variant without one.
#[test]
fn every_word_of_the_command_line_is_that_of_json() {
    use clap::ValueEnum;
    fn words<T: ValueEnum>() -> Vec<String> {
        let values = T::value_variants().iter().filter_map(T::to_possible_value);
        values.map(|value| value.get_name().to_owned()).collect()
    }
    fn keys<T: ValueEnum + serde::Serialize>() -> Vec<String> {
        let keys = T::value_variants().iter().map(serde_json::to_value);
        keys.map(|key| key.expect("a key").as_str().expect("text").to_owned())
            .collect()
    }
    assert_eq!(words::<Of>(), keys::<Of>());
    assert_eq!(words::<By>(), keys::<By>());
    assert_eq!(words::<RowOrder>(), keys::<RowOrder>());
    assert_eq!(words::<Grouping>(), keys::<Grouping>());
}

/// Every argument of every command has a help, every command has examples but demo, and no line of help leaves a
/// 100-column terminal.
#[test]
fn help_is_complete_and_narrow() {
    let mut command = definition().term_width(100);
    command.build();
    let mut texts = vec![command.render_long_help().to_string()];
    for sub in command.get_subcommands_mut() {
        for arg in sub.get_arguments() {
            assert!(arg.get_help().is_some(), "{} has no help", arg.get_id());
        }
        let text = sub.render_long_help().to_string();
        let is_plain = ["demo", "help"].contains(&sub.get_name());
        assert_eq!(text.contains("\nExamples:\n"), !is_plain, "{text}");
        texts.push(text);
    }
    for line in texts.iter().flat_map(|text| text.lines()) {
        assert!(line.chars().count() <= 100, "{line}");
    }
    assert!(texts[0].contains("Exit codes: 0 done, 1 leaks found"));
}

#[test]
fn a_color_that_was_chosen_wins() {
    assert!(Color::Always.for_stdout());
    assert!(!Color::Never.for_stdout());
}

#[test]
fn commands_are_known_by_name() {
    assert!(has_command("leaks") && has_command("host"));
    assert!(!has_command("leeks") && !has_command(""));
}

#[test]
fn a_command_line_can_be_pasted_back() {
    let words = ["memlens", "leaks", "-n", "it's a", "--", "./a", ""];
    assert_eq!(
        command_line(words),
        r"memlens leaks -n 'it'\''s a' -- ./a ''"
    );
}
